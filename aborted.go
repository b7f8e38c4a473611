package leat

import (
	"cmp"
	"math"
	"slices"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/log"
)

// abortedTxns tells a committed reader which batches are of aborted
// transactions. It asks the log for a stretch of offsets at a time, and only when
// it meets a transactional batch.
type abortedTxns struct {
	from, upto int64              // the stretch that list is of
	list       []index.AbortedTxn // by producer id, then first offset
}

// abortedWindow bounds the list that is held, and is long enough that asking
// costs nothing beside reading.
const abortedWindow = 1 << 20

// contains tells whether b, which lies below the last stable offset, is of an
// aborted transaction: whether one of its producer's spans it.
func (a *abortedTxns) contains(l *log.Log, b codec.Batch) (bool, error) {
	first, last := b.BaseOffset(), b.LastOffset()
	if first < a.from || last >= a.upto {
		if err := a.load(l, first, last); err != nil {
			return false, err
		}
	}
	id := b.ProducerID()
	i, _ := slices.BinarySearchFunc(a.list, id, func(t index.AbortedTxn, id int64) int {
		// The first that begins beyond the batch: those before may span it.
		return cmp.Or(cmp.Compare(t.ProducerID, id), compareAfter(t.FirstOffset, first))
	})
	if i == 0 {
		return false, nil
	}
	t := &a.list[i-1]
	return t.ProducerID == id && t.FirstOffset <= first && last <= t.LastOffset, nil
}

// compareAfter orders what is at or below at before it, so that a search ends
// behind an equal one.
func compareAfter(v, at int64) int {
	if v <= at {
		return -1
	}
	return 1
}

func (a *abortedTxns) load(l *log.Log, first, last int64) (err error) {
	upto := last + 1
	if first < math.MaxInt64-abortedWindow {
		upto = max(upto, min(first+abortedWindow, l.LastStableOffset()))
	}
	a.from, a.upto = 0, 0
	a.list, err = l.AbortedTxns(first, upto, a.list[:0])
	if err != nil {
		return err
	}
	slices.SortFunc(a.list, func(x, y index.AbortedTxn) int {
		return cmp.Or(cmp.Compare(x.ProducerID, y.ProducerID), cmp.Compare(x.FirstOffset, y.FirstOffset))
	})
	a.from, a.upto = first, upto
	return nil
}
