package main

import (
	"errors"
	"io"
	"math"

	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/log"
)

// maxSidecar is far above segment.index.bytes (10 MiB by default), and the size
// of what a million producers leave in a snapshot.
const maxSidecar = 64 << 20

// sidecar is what a file other than a .log has in it. One of the lists is set,
// by the kind of the file.
type sidecar struct {
	preallocated bool // unused space follows the entries of an index
	offsets      index.Offsets
	times        index.Times
	txns         index.Txns
	producers    []log.ProducerSnapshot
	epochs       []log.EpochEntry
	text         string
}

// sidecar prints the entries that are there, and reports what is wrong with them
// in themselves. Whether they fit the log is not looked at.
func (d *dumper) sidecar(f file, r io.ReaderAt) error {
	if f.size > maxSidecar {
		d.report(f.path, -1, "%d bytes: too large for what it should be", f.size)
		return nil
	}
	data := make([]byte, f.size)
	if n, err := r.ReadAt(data, 0); n < len(data) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		d.report(f.path, int64(n), "%v", cause(err))
		return nil
	}
	s, err := parseSidecar(f, data)
	if s != nil {
		d.print.open(f)
		d.print.sidecar(f, s)
	}
	if err != nil {
		d.report(f.path, -1, "%v", err)
	}
	return d.goOn()
}

// parseSidecar gives an error and what could be read in spite of it, if
// anything.
func parseSidecar(f file, data []byte) (*sidecar, error) {
	s := &sidecar{}
	var err error
	switch f.kind {
	case offsetIndex:
		all := index.OpenOffsets(f.base, data)
		s.offsets = all.Written()
		if s.preallocated = s.offsets.Len() < all.Len(); s.preallocated {
			err = s.offsets.Check(math.MaxInt64, math.MaxInt64)
		} else {
			err = all.Check(math.MaxInt64, math.MaxInt64) // with what a last entry has too little
		}
	case timeIndex:
		all := index.OpenTimes(f.base, data)
		s.times = all.Written()
		if s.preallocated = s.times.Len() < all.Len(); s.preallocated {
			err = s.times.Check(math.MaxInt64)
		} else {
			err = all.Check(math.MaxInt64)
		}
	case txnIndex:
		s.txns = index.OpenTxns(data)
		err = s.txns.Check(f.base, math.MaxInt64)
	case snapshotFile:
		if s.producers, err = log.ParseSnapshot(data); err != nil {
			return nil, err
		}
	case epochsFile:
		s.text = string(data)
		s.epochs, err = log.ParseEpochEntries(data)
		if err == nil {
			_, err = log.ParseEpochs(data) // refuses those out of order as well
		}
	case offsetsFile:
		s.text = string(data)
		_, err = log.ParseOffsetCheckpoint(data)
	case textFile:
		s.text = string(data)
	default:
		return nil, errors.New("not a file that dump knows")
	}
	return s, err
}
