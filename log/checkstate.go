package log

import (
	"errors"
	"fmt"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/segment"
)

// stateJudge compares producer snapshots with the batches between them. The state
// is replayed as in recovery; where nothing told what it was, it is taken from the
// next snapshot that can be read.
type stateJudge struct {
	list []int64 // offsets of the snapshots to come
	// exact: the state at some offset before was known. thin: since then offsets
	// were missing, so that batches may be gone that a snapshot knew. sparse: they
	// were somewhere in the log.
	exact, thin, sparse bool
	// fresh is the state that the batches alone give, where snapshots know more: what
	// was before the first segment, or in batches that compaction took. A recovery or
	// an import of the whole log goes on with this one. nil: they are the same, or
	// there was damage.
	fresh   *Producers
	aborted []byte // what the segment's transaction index is by that
}

func (s *stateJudge) begin(j *judge) {
	s.list = j.snapshots
	base := j.segs[0].Base()
	if s.exact = base == 0; !s.exact { // else nothing was before
		s.fresh = NewProducers()
	}
	for len(s.list) > 0 && s.list[0] < base {
		if !j.crashed {
			j.found(j.inFile(Notice, FindingLeftover, segment.FileName(s.list[0], segment.SnapshotSuffix), "a snapshot of before the log's beginning"))
		}
		s.list = s.list[1:]
	}
}

// lose is called when batches are gone.
func (s *stateJudge) lose() { s.exact, s.thin, s.fresh = false, false, nil }

// batch is called with every sound batch, once before has been.
func (s *stateJudge) batch(j *judge, b codec.Batch) {
	if s.fresh == nil || b.ProducerID() < 0 {
		return
	}
	if err := j.l.noteProducer(s.fresh, b, func(t abortedTxn) error {
		s.aborted = t.Append(s.aborted)
		return nil
	}); err != nil {
		s.fresh = nil
	}
}

// before is called when the state of all batches below an offset is known, and the
// next batch has that offset or a higher one.
func (s *stateJudge) before(j *judge, offset int64) {
	s.sparse = s.sparse || s.thin
	for len(s.list) > 0 && s.list[0] <= offset {
		at := s.list[0]
		s.list = s.list[1:]
		s.compare(j, at, offset)
	}
}

// end is called behind the last batch.
func (s *stateJudge) end(j *judge, next int64) {
	s.before(j, next)
	for _, at := range s.list {
		severity := Damage
		if j.crashed {
			severity = Notice
		}
		j.found(j.inFile(severity, FindingSnapshot, segment.FileName(at, segment.SnapshotSuffix), "it is of offset %d, and the log ends at %d", at, next))
	}
	s.list = nil
}

// compare looks at one snapshot. The state is that of offset next; they differ
// only where a batch lies across the snapshot, or none between the two.
func (s *stateJudge) compare(j *judge, at, next int64) {
	name := segment.FileName(at, segment.SnapshotSuffix)
	severity := j.grade(j.crashed && at >= j.mark)
	list, err := j.l.readSnapshot(at)
	switch {
	case errors.Is(err, ErrSnapshot), errors.Is(err, errTooLarge):
		j.found(j.inFile(severity, FindingSnapshot, name, "%v", err))
		return
	case err != nil:
		j.failed(err)
		return
	}
	for i := range list {
		if p := &list[i]; p.LastOffset >= at || p.CurrentTxnFirstOffset >= at {
			j.found(j.inFile(severity, FindingSnapshot, name, "producer %d has offset %d in it", p.ProducerID, max(p.LastOffset, p.CurrentTxnFirstOffset)))
			return
		}
	}
	if at < next && at > 0 && !s.between(j, at) {
		return // inside of a batch: nobody takes one there, and nothing can be compared
	}
	if s.exact && !s.thin {
		if what := s.differs(j.l.producers, list, j.segs[0].Base()); what != "" {
			j.found(j.inFile(severity, FindingSnapshot, name, "%s", what))
		}
		return
	}
	if s.exact && s.fresh == nil {
		s.fresh, j.l.producers = j.l.producers, NewProducers()
	}
	j.l.producers.Load(list, 0, noOffset)
	s.exact, s.thin = true, false
}

// between tells whether the offset lies in the gap before the next batch.
func (s *stateJudge) between(j *judge, at int64) bool { return at >= j.indexes.next }

// differs says what of a snapshot the log contradicts. Producers that the log
// knows and the snapshot does not may have expired, unless a transaction is open;
// and where only snapshots tell of them, another may know less.
func (s *stateJudge) differs(p *Producers, list []ProducerSnapshot, base int64) string {
	known := byID(p)
	seen := known
	if s.fresh != nil {
		seen = byID(s.fresh)
	}
	for _, got := range list {
		want, ok := known[got.ProducerID]
		if !ok {
			return fmt.Sprintf("producer %d is in it, which has written nothing", got.ProducerID)
		}
		if got.CoordinatorEpoch == -1 {
			want.CoordinatorEpoch = -1 // it was forgotten, and has come back
		}
		if got.LastOffset == -1 { // with a marker only
			want.LastSequence, want.LastOffset, want.OffsetDelta = -1, -1, 0
		}
		if s.fresh != nil && want.CurrentTxnFirstOffset >= 0 && want.CurrentTxnFirstOffset < base {
			want.CurrentTxnFirstOffset = got.CurrentTxnFirstOffset
		}
		if alone, ok := seen[got.ProducerID]; got != want && (!ok || got != alone) {
			return fmt.Sprintf("it says of a producer %+v, and the log %+v", got, want)
		}
		delete(seen, got.ProducerID)
	}
	for _, want := range seen {
		if want.CurrentTxnFirstOffset >= 0 {
			return fmt.Sprintf("producer %d is not in it, whose transaction is open since offset %d", want.ProducerID, want.CurrentTxnFirstOffset)
		}
	}
	return ""
}

func byID(p *Producers) map[int64]ProducerSnapshot {
	m := make(map[int64]ProducerSnapshot, len(p.byID))
	for _, k := range p.Snapshot() {
		m[k.ProducerID] = k
	}
	return m
}
