package log

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/leatlog/leat/codec"
)

// cachedBatches is how many of a producer's newest batches are remembered, as
// in Kafka: a client sends up to five at once, and may repeat any of them.
const cachedBatches = 5

// ErrTxnState is Kafka's INVALID_TXN_STATE: a producer wrote data outside of its
// open transaction, or in one that nobody coordinates.
var ErrTxnState = errors.New("leat: invalid transaction state")

// Producers is what a partition knows of the producers that wrote to it: epochs
// and last sequences, and which transactions are open. It is Kafka's
// ProducerStateManager without its files. It follows from the log alone: load
// the newest snapshot, and Update with every batch from its offset on.
//
// It is not safe for concurrent use: the writer of the partition owns it and
// publishes the last stable offset where readers find it.
type Producers struct {
	byID map[int64]*producerEntry
	// open has the producers with an open transaction, the earliest first.
	open openTxns
	// closed are the completed transactions whose marker is not yet below the
	// high watermark, oldest marker first, as far as they can still hold the
	// last stable offset back (see complete).
	closed   []closedTxn
	logStart int64
}

type producerEntry struct {
	id               int64
	epoch            int16
	coordinatorEpoch int32
	lastTimestamp    int64
	txnFirst         int64 // first offset of the open transaction, -1 if none is open
	slot             int   // in Producers.open, -1 if no transaction is open
	batches          [cachedBatches]producerBatch
	count            int // of batches in use, the oldest first
}

type producerBatch struct {
	lastSequence, offsetDelta int32
	lastOffset, timestamp     int64
}

type closedTxn struct{ first, marker int64 }

// CompletedTxn is a transaction that a marker has ended.
type CompletedTxn struct {
	ProducerID  int64
	FirstOffset int64 // of its first batch
	LastOffset  int64 // of the marker
	Aborted     bool
}

// ProducerBatch is a batch that a producer is known to have written.
type ProducerBatch struct {
	FirstSequence, LastSequence int32
	FirstOffset, LastOffset     int64
	Timestamp                   int64 // greatest of the batch, in milliseconds
}

// ProducerState is what is known of one producer, a copy.
type ProducerState struct {
	ProducerID            int64
	ProducerEpoch         int16
	CoordinatorEpoch      int32 // of the last marker, -1 if there was none
	LastTimestamp         int64 // of the last batch or marker, in milliseconds
	CurrentTxnFirstOffset int64 // -1 if no transaction is open
	Batches               []ProducerBatch
}

// NewProducers is the state of an empty log.
func NewProducers() *Producers {
	return &Producers{} // the map comes with the first producer: most partitions have none
}

// Update notes a batch that is in the log, by the rules for replicated and
// recovered data (Kafka's AppendOrigin.REPLICATION): whoever appended it has
// checked sequences and epochs, so they are taken as they are. Batches must come
// in the order of their offsets.
//
// control is what the record of a control batch says, nil for a data batch and
// for a control batch that the cleaner has emptied. A marker that ends an open
// transaction returns it; if it is aborted, it belongs into the transaction
// index with LastStableAfter. On an error nothing has changed.
//
// A batch without a producer id costs a comparison.
func (p *Producers) Update(b codec.Batch, control *codec.Control) (*CompletedTxn, error) {
	id := b.ProducerID()
	if id < 0 {
		return nil, nil
	}
	if b.IsControl() {
		if control == nil {
			return nil, nil
		}
		return p.updateMarker(id, b, control)
	}
	return nil, p.updateData(id, b)
}

func (p *Producers) updateData(id int64, b codec.Batch) error {
	e := p.byID[id]
	transactional := b.IsTransactional()
	if e != nil && e.txnFirst >= 0 && !transactional {
		return fmt.Errorf("%w: producer %d wrote data at offset %d outside of its transaction open since offset %d",
			ErrTxnState, id, b.BaseOffset(), e.txnFirst)
	}
	if e == nil {
		e = p.add(id)
	}
	e.setEpoch(b.ProducerEpoch())
	e.remember(producerBatch{
		lastSequence: b.LastSequence(),
		offsetDelta:  b.LastOffsetDelta(),
		lastOffset:   b.LastOffset(),
		timestamp:    b.MaxTimestamp(),
	})
	e.lastTimestamp = b.MaxTimestamp()
	if transactional && e.txnFirst < 0 {
		e.txnFirst = b.BaseOffset()
		heap.Push(&p.open, e)
	}
	return nil
}

func (p *Producers) updateMarker(id int64, b codec.Batch, control *codec.Control) (*CompletedTxn, error) {
	if !control.IsMarker() {
		return nil, fmt.Errorf("%w: control record of type %d at offset %d by producer %d is no transaction marker",
			ErrTxnState, control.Type, b.BaseOffset(), id)
	}
	e := p.byID[id]
	if e == nil {
		e = p.add(id)
	}
	e.setEpoch(b.ProducerEpoch())
	e.coordinatorEpoch = control.CoordinatorEpoch
	e.lastTimestamp = b.MaxTimestamp()
	if e.txnFirst < 0 {
		return nil, nil
	}
	done := &CompletedTxn{
		ProducerID:  id,
		FirstOffset: e.txnFirst,
		LastOffset:  b.BaseOffset(),
		Aborted:     control.Type == codec.ControlAbort,
	}
	p.close(e)
	p.complete(closedTxn{done.FirstOffset, done.LastOffset})
	return done, nil
}

// add makes room for a producer not known yet.
func (p *Producers) add(id int64) *producerEntry {
	e := &producerEntry{id: id, epoch: -1, coordinatorEpoch: -1, lastTimestamp: -1, txnFirst: -1, slot: -1}
	if p.byID == nil {
		p.byID = map[int64]*producerEntry{}
	}
	p.byID[id] = e
	return e
}

// close ends the open transaction of a producer.
func (p *Producers) close(e *producerEntry) {
	heap.Remove(&p.open, e.slot)
	e.txnFirst = -1
}

// complete keeps a transaction until the high watermark has passed its marker.
// Only the least first offset of those kept matters, and markers come in order,
// so one that begins later than the new one can never matter again: it would go
// first. What is left rises in both fields.
func (p *Producers) complete(t closedTxn) {
	keep := len(p.closed)
	for keep > 0 && p.closed[keep-1].first >= t.first {
		keep--
	}
	p.closed = append(p.closed[:keep], t)
}

// OnHighWatermark forgets completed transactions whose marker lies below the
// high watermark. Call it whenever that has risen, during a long replay, too.
func (p *Producers) OnHighWatermark(hw int64) {
	n := 0
	for n < len(p.closed) && p.closed[n].marker < hw {
		n++
	}
	if n == len(p.closed) {
		p.closed = p.closed[:0] // keeps the room: with a high watermark that follows closely this is every time
		return
	}
	p.closed = p.closed[n:]
}

// TruncateHead notes that the log now starts at an offset. Producers stay known
// after their last batch is gone, as in Kafka, and so do open transactions;
// completed ones below the start go.
func (p *Producers) TruncateHead(start int64) {
	p.logStart = max(p.logStart, start)
	p.OnHighWatermark(start)
}

// FirstUnstable is the least offset of a transaction that is open, or completed
// by a marker not yet below the high watermark given to OnHighWatermark. It is
// not below the log start.
func (p *Producers) FirstUnstable() (offset int64, ok bool) {
	offset = math.MaxInt64
	if len(p.open) > 0 {
		offset, ok = p.open[0].txnFirst, true
	}
	if len(p.closed) > 0 {
		offset, ok = min(offset, p.closed[0].first), true
	}
	if !ok {
		return 0, false
	}
	return max(offset, p.logStart), true
}

// Deciding reports whether a transaction has ended whose marker OnHighWatermark
// has not seen below the high watermark.
func (p *Producers) Deciding() bool { return len(p.closed) > 0 }

// LastStableOffset is the offset below which a read-committed reader may read,
// for a high watermark that OnHighWatermark has seen.
func (p *Producers) LastStableOffset(hw int64) int64 {
	if first, ok := p.FirstUnstable(); ok && first < hw {
		return first
	}
	return hw
}

// LastStableAfter is the last stable offset to write into the transaction index
// with an aborted transaction, asked right after the Update that returned it:
// where the earliest other open transaction begins, else the offset behind the
// marker.
func (p *Producers) LastStableAfter(t CompletedTxn) int64 {
	if len(p.open) > 0 { // the producer's own is not among them any more
		return p.open[0].txnFirst
	}
	return t.LastOffset + 1
}

// Load replaces everything by what a snapshot lists, but for the log start.
// Producers that are expired are left out; see Expire.
func (p *Producers) Load(list []ProducerSnapshot, nowMs, expirationMs int64) {
	clear(p.byID)
	p.open, p.closed = nil, nil
	for _, s := range list {
		if old := p.byID[s.ProducerID]; old != nil {
			p.remove(old) // ParseSnapshot lets none of those pass
		}
		e := p.add(s.ProducerID)
		e.epoch = s.ProducerEpoch
		e.coordinatorEpoch = s.CoordinatorEpoch
		e.lastTimestamp = s.Timestamp
		if s.LastOffset >= 0 {
			e.remember(producerBatch{s.LastSequence, s.OffsetDelta, s.LastOffset, s.Timestamp})
		}
		if s.CurrentTxnFirstOffset >= 0 {
			e.txnFirst = s.CurrentTxnFirstOffset
			heap.Push(&p.open, e)
		}
		if e.expired(nowMs, expirationMs) {
			p.remove(e)
		}
	}
}

// Snapshot is what a snapshot file keeps, sorted by producer id. Of each
// producer's batches that is the newest only.
func (p *Producers) Snapshot() []ProducerSnapshot {
	list := make([]ProducerSnapshot, 0, len(p.byID))
	for _, e := range p.byID {
		s := ProducerSnapshot{
			ProducerID:            e.id,
			ProducerEpoch:         e.epoch,
			LastSequence:          -1,
			LastOffset:            -1,
			Timestamp:             e.lastTimestamp,
			CoordinatorEpoch:      e.coordinatorEpoch,
			CurrentTxnFirstOffset: e.txnFirst,
		}
		if e.count > 0 {
			last := e.batches[e.count-1]
			s.LastSequence, s.LastOffset, s.OffsetDelta = last.lastSequence, last.lastOffset, last.offsetDelta
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b ProducerSnapshot) int { return cmp.Compare(a.ProducerID, b.ProducerID) })
	return list
}

// Expire forgets the producers without an open transaction whose last batch or
// marker is expirationMs old, or older, and says how many they were.
func (p *Producers) Expire(nowMs, expirationMs int64) int {
	before := len(p.byID)
	for _, e := range p.byID {
		if e.expired(nowMs, expirationMs) {
			p.remove(e)
		}
	}
	return before - len(p.byID)
}

func (p *Producers) remove(e *producerEntry) {
	if e.slot >= 0 {
		p.close(e)
	}
	delete(p.byID, e.id)
}

// Len is the number of producers known.
func (p *Producers) Len() int { return len(p.byID) }

// OpenTxns is the number of open transactions.
func (p *Producers) OpenTxns() int { return len(p.open) }

// Producer is what is known of one producer.
func (p *Producers) Producer(id int64) (ProducerState, bool) {
	e := p.byID[id]
	if e == nil {
		return ProducerState{}, false
	}
	return e.state(), true
}

// Active lists what is known of all producers, sorted by id.
func (p *Producers) Active() []ProducerState {
	list := make([]ProducerState, 0, len(p.byID))
	for _, e := range p.byID {
		list = append(list, e.state())
	}
	slices.SortFunc(list, func(a, b ProducerState) int { return cmp.Compare(a.ProducerID, b.ProducerID) })
	return list
}

func (e *producerEntry) state() ProducerState {
	s := ProducerState{
		ProducerID:            e.id,
		ProducerEpoch:         e.epoch,
		CoordinatorEpoch:      e.coordinatorEpoch,
		LastTimestamp:         e.lastTimestamp,
		CurrentTxnFirstOffset: e.txnFirst,
		Batches:               make([]ProducerBatch, 0, e.count),
	}
	for _, b := range e.batches[:e.count] {
		s.Batches = append(s.Batches, b.public())
	}
	return s
}

func (b producerBatch) public() ProducerBatch {
	return ProducerBatch{
		FirstSequence: b.firstSequence(),
		LastSequence:  b.lastSequence,
		FirstOffset:   b.lastOffset - int64(b.offsetDelta),
		LastOffset:    b.lastOffset,
		Timestamp:     b.timestamp,
	}
}

// setEpoch forgets the batches of another epoch: sequences begin anew.
func (e *producerEntry) setEpoch(epoch int16) {
	if e.epoch != epoch {
		e.epoch, e.count = epoch, 0
	}
}

func (e *producerEntry) remember(b producerBatch) {
	if e.count == cachedBatches {
		copy(e.batches[:], e.batches[1:])
		e.count--
	}
	e.batches[e.count] = b
	e.count++
}

// expired compares without wrapping around: timestamps are the producers' own.
func (e *producerEntry) expired(nowMs, expirationMs int64) bool {
	return e.txnFirst < 0 && expirationMs >= 0 && e.lastTimestamp <= expiryLimit(nowMs, expirationMs)
}

// expiryLimit is a - b for b >= 0, math.MinInt64 instead of wrapping around.
func expiryLimit(a, b int64) int64 {
	if a < math.MinInt64+b {
		return math.MinInt64
	}
	return a - b
}

// firstSequence goes back over the wrap from 2147483647 to 0.
func (b producerBatch) firstSequence() int32 {
	if b.lastSequence < 0 {
		return -1
	}
	return (b.lastSequence - b.offsetDelta) & math.MaxInt32
}

// openTxns is a heap by first offset. It keeps each producer's slot, so that a
// marker ends a transaction anywhere in it in logarithmic time: a log made to
// hold a million open transactions must not take a million times as long.
type openTxns []*producerEntry

func (o openTxns) Len() int { return len(o) }
func (o openTxns) Less(i, j int) bool {
	return o[i].txnFirst < o[j].txnFirst
}

func (o openTxns) Swap(i, j int) {
	o[i], o[j] = o[j], o[i]
	o[i].slot, o[j].slot = i, j
}

func (o *openTxns) Push(x any) {
	e := x.(*producerEntry)
	e.slot = len(*o)
	*o = append(*o, e)
}

func (o *openTxns) Pop() any {
	last := len(*o) - 1
	e := (*o)[last]
	(*o)[last] = nil
	e.slot = -1
	*o = (*o)[:last]
	return e
}
