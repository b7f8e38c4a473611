package log

import (
	"cmp"
	"slices"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/index"
)

// cleanedTxns knows, batch by batch, which transactions the cleaner is in
// (Kafka's CleanedTransactionMetadata). Data of an aborted one goes at once. A
// marker can go when nothing of its transaction was met on the way to it, so it
// outlives its data by one cleaning at least.
type cleanedTxns struct {
	// aborted are those that are not begun yet, by their first offset.
	aborted []index.AbortedTxn
	// open are the aborted ones that the cleaner is in, by producer.
	open map[int64]*openAbort
	// committed are the producers of which transactional data was met since their
	// last COMMIT marker.
	committed map[int64]struct{}
}

type openAbort struct {
	txn  index.AbortedTxn
	data bool // a batch of it was met
}

func newCleanedTxns() *cleanedTxns {
	return &cleanedTxns{open: make(map[int64]*openAbort), committed: make(map[int64]struct{})}
}

// add takes what the transaction indexes list. One may come twice, of segments
// that it spans.
func (t *cleanedTxns) add(list []index.AbortedTxn) {
	if len(list) == 0 {
		return
	}
	t.aborted = append(t.aborted, list...)
	slices.SortStableFunc(t.aborted, func(a, b index.AbortedTxn) int { return cmp.Compare(a.FirstOffset, b.FirstOffset) })
}

// begin enters the transactions that begin up to an offset.
func (t *cleanedTxns) begin(upTo int64) {
	n := 0
	for n < len(t.aborted) && t.aborted[n].FirstOffset <= upTo {
		if a := t.aborted[n]; t.open[a.ProducerID] == nil {
			t.open[a.ProducerID] = &openAbort{txn: a}
		}
		n++
	}
	t.aborted = t.aborted[n:]
}

// data takes a batch of data, and tells whether it was aborted.
func (t *cleanedTxns) data(b codec.Batch) (aborted bool) {
	t.begin(b.LastOffset())
	if !b.IsTransactional() {
		return false
	}
	if a := t.open[b.ProducerID()]; a != nil {
		a.data = true
		return true
	}
	t.committed[b.ProducerID()] = struct{}{}
	return false
}

// control takes a control batch, and tells whether it can be discarded. Of an
// ABORT marker that cannot, the transaction is returned: it belongs into the new
// transaction index.
func (t *cleanedTxns) control(b codec.Batch) (discard bool, aborted *index.AbortedTxn, err error) {
	t.begin(b.LastOffset())
	c, ok, err := codec.DecodeControl(b)
	switch {
	case err != nil:
		return false, nil, err
	case !ok:
		return true, nil, nil // emptied before
	case c.Type == codec.ControlAbort:
		a := t.open[b.ProducerID()]
		delete(t.open, b.ProducerID())
		if a != nil && a.data {
			return false, &a.txn, nil
		}
		return true, nil, nil
	case c.Type == codec.ControlCommit:
		_, met := t.committed[b.ProducerID()]
		delete(t.committed, b.ProducerID())
		return !met, nil, nil
	}
	return false, nil, nil
}
