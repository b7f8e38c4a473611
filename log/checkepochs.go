package log

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/segment"
)

// epochJudge compares the leader epochs in batches, which nothing else protects,
// with leader-epoch-checkpoint. Every batch has the epoch of the last entry at or
// below its offset. Below the first entry nothing can be told: the history there
// was cut off, with the head of the log, or with epochs that turned out to be of
// nobody (KAFKA_RULES 4.10).
type epochJudge struct {
	known bool // the file is there and can be read
	told  []EpochEntry
	n     int // of the entries that begin at or below the batches so far

	below struct { // the last batch below the first entry that has an epoch
		seen  bool
		epoch int32
		base  int64
	}
	start int64 // the log start offset
}

// readEpochs judges the file by itself.
func (j *judge) readEpochs() {
	e := &j.epochs
	e.start = max(j.out.Base, j.opening.st.StartOffset) // which dropDeleted takes from the marks, too
	b, err := readAll(j.l.env.fsys, segment.Join(j.l.dir, epochsName), maxSidecar)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		j.found(j.inFile(Notice, FindingEpochs, epochsName, "the file is missing: the leader epochs of batches cannot be checked"))
		return
	case errors.Is(err, errTooLarge):
		j.found(j.inFile(Damage, FindingEpochs, epochsName, "%v", err))
		return
	case err != nil:
		return // sidecars has met it
	case len(b) == 0:
		j.found(j.inFile(Notice, FindingEpochs, epochsName, "the file is empty: the leader epochs of batches cannot be checked"))
		return
	}
	told, err := ParseEpochs(b)
	if err != nil {
		j.found(j.inFile(Damage, FindingEpochs, epochsName, "%v", err))
		return
	}
	if !Tidy(b) {
		j.found(j.inFile(Notice, FindingEpochs, epochsName, "it can be read, and is not as anybody writes it"))
	}
	e.known, e.told = true, told.Entries()
}

// Tidy tells whether a checkpoint is written as Kafka and Leat write them: fields
// with a single space between, every line ended. Others may read the same.
func Tidy(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	if b[len(b)-1] != '\n' {
		return false
	}
	for line := range bytes.SplitSeq(b[:len(b)-1], []byte("\n")) {
		if !bytes.Equal(bytes.Join(bytes.Fields(line), []byte(" ")), line) {
			return false
		}
	}
	return true
}

func (e *epochJudge) batch(j *judge, pos int64, b codec.Batch) {
	base, epoch := b.BaseOffset(), b.LeaderEpoch()
	wrong := func(format string, args ...any) {
		f := Finding{Severity: Damage, Kind: FindingEpoch, Path: j.seg.Path(), Position: pos, End: pos + int64(len(b)),
			Offset: base, Next: b.NextOffset(), What: fmt.Sprintf(format, args...)}
		j.found(f)
	}
	if epoch < -1 {
		wrong("the batch has leader epoch %d, which is none", epoch)
		return
	}
	if !e.known {
		return
	}
	if j.crashed && epoch >= 0 && b.NextOffset() > j.mark {
		if x, ok := (&Epochs{list: e.told[e.n:]}).Disproved(b); ok {
			j.found(j.inFile(Notice, FindingEpochs, epochsName, "epoch %d, from offset %d on, is of a truncation that did not come to cut", x.Epoch, x.StartOffset))
			e.told = slices.DeleteFunc(e.told, func(y EpochEntry) bool { return x == y })
		}
	}
	for ; e.n < len(e.told) && e.told[e.n].StartOffset <= b.LastOffset(); e.n++ {
		t := e.told[e.n]
		if t.StartOffset <= base {
			continue
		}
		// The start of the log may lie inside of a batch, and the first entry is cut
		// to it.
		if e.n > 0 || t.StartOffset > e.start {
			j.found(j.inFile(Damage, FindingEpochs, epochsName, "epoch %d begins at offset %d, inside of the batch of %d to %d", t.Epoch, t.StartOffset, base, b.LastOffset()))
			e.known = false
			return
		}
		if epoch >= 0 && epoch != t.Epoch {
			wrong("the batch has leader epoch %d, and at offset %d of it epoch %d held (%s)", epoch, t.StartOffset, t.Epoch, epochsName)
		}
		return
	}
	if e.n == 0 {
		if epoch >= 0 && base >= e.start {
			e.below.seen, e.below.epoch, e.below.base = true, epoch, base
		}
		return
	}
	t := e.told[e.n-1]
	switch {
	case epoch == t.Epoch, epoch == -1: // a wrapper may have given none
	case j.crashed && base >= j.mark && epoch > e.told[len(e.told)-1].Epoch:
		// It began just before the crash, and recovery notes it.
	default:
		wrong("the batch has leader epoch %d, and at its offset epoch %d held, from %d on (%s)", epoch, t.Epoch, t.StartOffset, epochsName)
	}
}

// end is called behind the last batch.
func (e *epochJudge) end(j *judge, next int64) {
	if !e.known {
		return
	}
	switch n := len(e.told); {
	case n > 0 && e.told[n-1].StartOffset > next:
		f := j.inFile(j.grade(j.crashed), FindingEpochs, epochsName, "epoch %d begins at offset %d, and the log ends at %d", e.told[n-1].Epoch, e.told[n-1].StartOffset, next)
		j.found(f)
	case e.below.seen && n == 0:
		j.found(j.inFile(j.grade(j.crashed), FindingEpochs, epochsName, "it names no epoch, and batches have epoch %d, up to offset %d", e.below.epoch, e.below.base))
	case e.below.seen && e.below.epoch == e.told[0].Epoch:
		j.found(j.inFile(Notice, FindingEpochs, epochsName, "epoch %d begins at offset %d, and the batch of offset %d before it has it already",
			e.told[0].Epoch, e.told[0].StartOffset, e.below.base))
	}
}
