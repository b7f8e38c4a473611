package leat

import (
	"context"
	"sync"
	"time"

	"github.com/leatlog/leat/log"
)

// lane is the way of a producer's records into one partition. Records gather in
// batches; one goroutine at a time, which has the role of the sender, takes what
// is due, puts it into the log, and waits until it is durable. What comes
// meanwhile goes with its next turn, and shares its sync. Then callbacks are
// called by one goroutine at a time, in the role of the caller, so that one that
// blocks does not keep records from being stored. An idle lane has neither.
type lane struct {
	producer *Producer
	topic    *producerTopic
	part     *Partition
	run      func()  // send, made once
	calling  calling // of who has that role

	// placing is held while records are copied into the log. It is taken with mu
	// held, so that who has seen a batch leave the queue can wait for that.
	placing sync.Mutex

	mu struct {
		sync.Mutex
		queue   []*pending // gathering; of these, only the last may take more
		spare   []*pending // memory for the next queue
		stored  []*pending // whose callbacks are to be called; one with sequence n comes before n+1
		async   int        // records in queue that have a callback
		sending bool
		calling bool
		armed   bool // the timer runs
		retired bool

		next, finished int64 // sequences of batches: begun, and done with
		flushing       []flushing
		timer          *time.Timer
		stuck          int // bytes since the sticky partitioner came here
		stuckRecords   int
	}
}

// pending is a batch of a lane, on its way. What gathers is guarded by the
// lane's lock; then it is the sender's, and then the caller's.
type pending struct {
	sequence int64
	records  []Record // as the log takes them
	entries  []entry  // the same
	bytes    int
	limit    int
	async    int   // of entries, those with a callback
	cost     int64 // their part of MaxBuffered
	full     bool  // takes no more
	due      bool  // to be sent: full, lingered for, waited for
	deadline time.Time
	partial  bool // more of the same sequence follows: see halve

	placed log.Placed
	log    *log.Log // that it is in
	err    error
}

// entry is whom to tell of a record: a callback, or one who waits.
type entry struct {
	record *Record
	done   func(*Record, error)
	waiter *waiter
}

type flushing struct {
	sequence int64
	done     chan struct{}
}

func newLane(p *Producer, t *producerTopic, part *Partition) *lane {
	l := &lane{producer: p, topic: t, part: part}
	l.run = l.send
	return l
}

// What has become of a record that was to be added.
type laneAnswer uint8

const (
	laneTook    laneAnswer = iota
	laneDone               // the batch to stay for is done: choose another partition
	laneRetired            // the topic is deleted
)

// add takes a record of a size. sticky: because the producer stays with this partition.
func (l *lane) add(e entry, size int, sticky bool) (laneAnswer, error) {
	p := l.producer
	n := size + recordFrame
	l.lock()
	defer l.mu.Unlock()
	switch {
	case l.mu.retired:
		return laneRetired, nil
	case p.closed.Load():
		return laneTook, ErrClosed
	case sticky && l.leaveLocked():
		l.mu.stuck, l.mu.stuckRecords = 0, 0
		if l.topic.topic.count() > 1 {
			return laneDone, nil
		}
	}
	b := l.openLocked(n)
	b.records = append(b.records, *e.record)
	b.entries = append(b.entries, e)
	if b.bytes += n; b.bytes >= b.limit || len(b.records) == p.cfg.BatchRecords {
		b.full, b.due = true, true
	}
	if sticky {
		l.mu.stuck += n
		l.mu.stuckRecords++
	}
	if e.waiter != nil {
		b.due = true // by who waits, when he has added all
		return laneTook, nil
	}
	b.async++
	b.cost += p.room.clamp(recordCost(size))
	l.mu.async++
	l.startLocked()
	return laneTook, nil
}

// lock is mu.Lock by one who will hold it for nanoseconds, as the others then do:
// to be parked and woken costs many times what a few looks more do, which the
// mutex leaves out when other goroutines are ready to run.
func (l *lane) lock() {
	for range 100 {
		if l.mu.TryLock() {
			return
		}
	}
	l.mu.Lock()
}

// leaveLocked tells whether the sticky partitioner is to go on: the batch that it
// came for is full, or was taken and the partition has nothing to do. While the
// sender works, staying makes a larger batch of what comes.
func (l *lane) leaveLocked() bool {
	c := &l.producer.cfg
	if l.mu.stuckRecords == 0 {
		return false
	}
	return l.mu.stuck >= c.BatchBytes || l.mu.stuckRecords == c.BatchRecords || len(l.mu.queue) == 0 && !l.mu.sending
}

// openLocked is the batch that n bytes more go into.
func (l *lane) openLocked(n int) *pending {
	p := l.producer
	if i := len(l.mu.queue) - 1; i >= 0 {
		b := l.mu.queue[i]
		if !b.full && b.bytes+n <= b.limit {
			return b
		}
		b.full, b.due = true, true
	}
	b, ok := p.batches.Get().(*pending)
	if !ok {
		b = new(pending)
	}
	b.sequence = l.mu.next
	l.mu.next++
	b.bytes = 61 // the batch's header
	b.limit = min(p.cfg.BatchBytes, int(l.topic.topic.cfg().MaxBatchBytes))
	l.mu.queue = append(l.mu.queue, b)
	if p.cfg.Linger == 0 {
		b.due = true
		return b
	}
	b.deadline = time.Now().Add(p.cfg.Linger)
	l.armLocked(p.cfg.Linger)
	return b
}

// armLocked starts the timer, if it does not run. A batch that is sent before its
// time leaves it running, for the one after.
func (l *lane) armLocked(after time.Duration) {
	if l.mu.armed || l.producer.closed.Load() {
		return
	}
	l.mu.armed = true
	l.producer.work.Add(1)
	if l.mu.timer == nil {
		l.mu.timer = time.AfterFunc(after, l.lingered)
	} else {
		l.mu.timer.Reset(after)
	}
}

// lingered is the timer's call.
func (l *lane) lingered() {
	l.mu.Lock()
	defer l.producer.work.Done()
	defer l.mu.Unlock()
	l.mu.armed = false
	i := len(l.mu.queue) - 1
	if i < 0 || l.mu.queue[i].due {
		return
	}
	if left := time.Until(l.mu.queue[i].deadline); left > 0 {
		l.armLocked(left)
		return
	}
	l.mu.queue[i].due = true
	l.startLocked()
}

func (l *lane) stopTimer() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.armed && l.mu.timer.Stop() {
		l.mu.armed = false
		l.producer.work.Done()
	}
}

// startLocked makes a sender, if there is none and something is due.
func (l *lane) startLocked() {
	if l.beginLocked() {
		go l.run()
	}
}

// beginLocked takes the role of the sender, which is given up by who finds
// nothing more to send.
func (l *lane) beginLocked() bool {
	if l.mu.sending || len(l.mu.queue) == 0 || !l.mu.queue[0].due {
		return false
	}
	l.mu.sending = true
	l.producer.work.Add(1)
	return true
}

func (l *lane) kick() {
	l.mu.Lock()
	l.startLocked()
	l.mu.Unlock()
}

// help is kick by one who waits, and who may as well do the work himself, when
// there is no callback to be called and no sync to be waited for that his context
// could not end.
func (l *lane) help(ctx context.Context) {
	l.mu.Lock()
	alone := l.mu.async == 0 && l.part.log.Load() != nil && (ctx.Done() == nil || l.written())
	if !alone || !l.beginLocked() {
		l.startLocked()
		l.mu.Unlock()
		return
	}
	batches := l.takeLocked()
	l.mu.Unlock()
	batches = l.place(batches)
	l.durable(batches)
	if l.settle(batches) {
		go l.run()
		return
	}
	l.producer.work.Done()
}

// written tells whether nothing is synced before it is acknowledged.
func (l *lane) written() bool {
	if d := l.producer.cfg.Durability; d != 0 {
		return d == Written
	}
	return l.topic.topic.cfg().Durability == Written
}

// send is the sender: it takes turns until nothing is due.
func (l *lane) send() {
	for {
		// Opening may take long: what gathers can be withdrawn meanwhile. An error
		// comes again, for each batch.
		_, _ = l.part.change()
		l.mu.Lock()
		batches := l.takeLocked()
		if len(batches) == 0 {
			l.mu.sending = false
			l.mu.Unlock()
			l.producer.work.Done()
			return
		}
		l.mu.Unlock()
		batches = l.place(batches)
		l.durable(batches)
		if !l.settle(batches) {
			l.producer.work.Done()
			return
		}
	}
}

// takeLocked takes what is due off the queue. placing is held when it returns
// something, and place lets go of it.
func (l *lane) takeLocked() []*pending {
	n := 0
	for n < len(l.mu.queue) && l.mu.queue[n].due {
		l.mu.async -= l.mu.queue[n].async
		n++
	}
	if n == 0 {
		return nil
	}
	l.placing.Lock()
	batches, left := l.mu.queue[:n], l.mu.queue[n:]
	l.mu.queue = append(l.mu.spare[:0], left...)
	l.mu.spare = nil
	clear(left)
	return batches
}

// settle tells those who wait, and sees to the callbacks. It returns true if the
// goroutine is still the sender, and has something to send.
func (l *lane) settle(batches []*pending) bool {
	for _, b := range batches {
		if b.async == len(b.entries) {
			continue
		}
		for i := range b.entries {
			if e := &b.entries[i]; e.waiter != nil {
				e.waiter.stored(l, b, i)
			}
		}
	}
	l.mu.Lock()
	call := false
	for _, b := range batches {
		if !l.mu.calling && !call && b.async == 0 {
			l.finishLocked(b)
			continue
		}
		call = true
		l.mu.stored = append(l.mu.stored, b)
	}
	clear(batches)
	l.mu.spare = batches[:0]
	more := len(l.mu.queue) > 0 && l.mu.queue[0].due
	if l.mu.calling || !call {
		l.mu.sending = more
		l.mu.Unlock()
		return more
	}
	l.mu.calling = true
	if l.mu.sending = more; more {
		l.producer.work.Add(1)
		go l.run()
	}
	l.mu.Unlock()
	l.call()
	return false
}

// finishLocked is the end of a batch.
func (l *lane) finishLocked(b *pending) {
	if !b.partial {
		l.mu.finished = b.sequence + 1
	}
	n := 0
	for n < len(l.mu.flushing) && l.mu.flushing[n].sequence <= l.mu.finished {
		close(l.mu.flushing[n].done)
		n++
	}
	l.mu.flushing = l.mu.flushing[n:]
	l.producer.recycle(b)
}

// flush makes all that has gathered due, and returns what is closed when it is
// done; nil if it is.
func (l *lane) flush() chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.mu.queue {
		b.due = true
	}
	l.startLocked()
	if l.mu.finished == l.mu.next {
		return nil
	}
	c := make(chan struct{})
	l.mu.flushing = append(l.mu.flushing, flushing{l.mu.next, c})
	return c
}

// retire ends an idle lane.
func (l *lane) retire() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.finished != l.mu.next || l.mu.sending || l.mu.calling || l.mu.armed {
		return false
	}
	l.mu.retired = true
	return true
}

// withdraw takes the records of one who no longer waits off the queue, and tells
// how many they were. Others of his are in the log when it returns, or refused:
// they are not needed any more.
func (l *lane) withdraw(w *waiter) int {
	l.mu.Lock()
	gone := 0
	for _, b := range l.mu.queue {
		kept := 0
		for i, e := range b.entries {
			if e.waiter == w {
				gone++
				continue
			}
			b.entries[kept], b.records[kept] = e, b.records[i]
			kept++
		}
		clear(b.entries[kept:])
		clear(b.records[kept:])
		b.entries, b.records = b.entries[:kept], b.records[:kept]
	}
	l.mu.Unlock()
	l.placing.Lock() // what has left the queue is being copied
	defer l.placing.Unlock()
	return gone
}

// maxKeptRecords bounds what a batch of many small records leaves behind.
const maxKeptRecords = 4096

func (p *Producer) recycle(b *pending) {
	clear(b.records)
	clear(b.entries)
	if cap(b.records) > maxKeptRecords {
		return
	}
	*b = pending{records: b.records[:0], entries: b.entries[:0]}
	p.batches.Put(b)
}
