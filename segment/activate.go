package segment

import (
	"errors"
	"fmt"
	"io"

	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
)

// Indexes gives the indexes that the scan rebuilt, as they belong into files.
func (r *Scan) Indexes() (offsets index.Offsets, times index.Times, txns index.Txns) {
	return r.w.offsets.View(), r.w.times.View(), r.w.txns.View()
}

// AbortedTxn adds an entry to the transaction index that the scan rebuilds.
func (r *Scan) AbortedTxn(t index.AbortedTxn) error { return r.w.txns.Append(t) }

// Finish gives the time index its final entry, as Kafka's recovery does.
func (r *Scan) Finish() error { return r.w.times.MaybeAppend(r.w.maxTime, r.w.maxTimeAt, true) }

// Replaced says that another file of the same content has taken the place of the
// one that was scanned.
func (r *Scan) Replaced() { r.id, r.linked = vfs.FileID{}, false }

// Activate makes the segment the active one, to be appended to behind what the
// scan found valid. It rests: the file, which must hold nothing but zeros there,
// is opened by the first append.
func (s *Segment) Activate(r *Scan) error {
	if err := s.ownScanned(r); err != nil {
		return err
	}
	if r.id == (vfs.FileID{}) {
		f, err := s.fsys.Open(s.name(LogSuffix), vfs.ReadOnly)
		if err != nil {
			return fmt.Errorf("segment %d: %w", s.base, err)
		}
		if r.id, err = f.ID(); err == nil {
			r.size, err = f.Size()
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	w := r.w
	w.sinceIndex = 0 // as in Kafka
	w.next = r.Next
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settleLocked(r)
	s.mu.rest = w.rest(r.id, max(s.cfg.Bytes, r.size), r.filed)
	return nil
}

// settleLocked takes over what a scan found. A parked view goes: it was made for
// a file that did not change. s.mu is held.
func (s *Segment) settleLocked(r *Scan) {
	if v := s.maps.take(s); v != nil {
		s.maps.drop(v)
	}
	s.maxTime.Store(r.w.maxTime)
	s.size.Store(r.Valid)
}

func (s *Segment) settle(r *Scan) {
	s.mu.Lock()
	s.settleLocked(r)
	s.mu.Unlock()
}

// Damaged makes the segment readable around the damage that a scan found, with
// the indexes that it made. Nothing on disk changes.
func (s *Segment) Damaged(r *Scan) {
	s.settle(r)
	s.damaged.Store(r)
}

// Resume makes what Scan would find of a segment that was closed cleanly, from
// its indexes and the few batches behind the last entry, so that a clean open
// reads next to nothing. An index that does not fit is an error: scan instead.
func (s *Segment) Resume() (r *Scan, err error) {
	if err := s.Pin(); err != nil {
		return nil, err
	}
	defer s.Unpin()
	v := s.mu.view
	defer vfs.Recover(v.path, v.data, &err, vfs.SetFault())
	var buf Buffer
	size := s.size.Load()
	r = &Scan{Next: s.base, w: s.newWriter(nil, size), id: v.id, linked: v.linked, size: size}
	if size == 0 {
		return r, nil
	}
	x, err := s.loaded()
	if err != nil {
		return nil, err
	}
	txns, err := s.Txns()
	if err != nil {
		return nil, err
	}
	w := r.w
	if w.maxTime, w.maxTimeAt, err = s.largest(x, &buf); err != nil {
		return nil, err
	}
	last, pos := x.offsets.Last()
	if pos > 0 {
		if err := s.proveEntry(last, pos, &buf); err != nil {
			return nil, err
		}
	}
	for {
		b, err := s.BatchAt(pos, r.Next, &buf)
		if err == io.EOF {
			break
		}
		if err == nil {
			err = b.Check()
		}
		if err != nil {
			return nil, err
		}
		if b.BaseOffset() < r.Next {
			return nil, fmt.Errorf("batch of offset %d where %d is next: %w", b.BaseOffset(), r.Next, ErrInvalidOffset)
		}
		r.Next = b.NextOffset()
		pos += int64(len(b))
	}
	r.Valid = pos
	first, err := s.BatchAt(0, s.base, &buf)
	if err != nil {
		return nil, err
	}
	w.firstTime = first.MaxTimestamp()
	w.offsets.Load(x.offsets)
	w.times.Load(x.times)
	w.txns.Load(txns)
	w.atLimit = w.offsets.Full() || w.times.Full()
	r.filed = !x.ours
	return r, nil
}

// Sealed gives a scanned segment that is not the last its rebuilt indexes and
// writes their files.
func (s *Segment) Sealed(r *Scan) error {
	s.settle(r)
	files := []struct {
		suffix string
		b      []byte
	}{
		{IndexSuffix, r.w.offsets.Bytes()},
		{TimeSuffix, r.w.times.Bytes()},
		{TxnSuffix, r.w.txns.Bytes()},
	}
	for _, f := range files {
		if f.suffix == TxnSuffix && len(f.b) == 0 {
			if err := s.dropFile(TxnSuffix); err != nil {
				return err
			}
			continue
		}
		if err := s.writeIndex(f.suffix, f.b); err != nil {
			return err
		}
	}
	return nil
}
