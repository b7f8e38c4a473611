package leat

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ProducerConfig says how a producer batches. The zero value sends each batch as
// soon as its partition is free: what comes meanwhile is the next batch, so that
// batches grow with the load. In brackets are Kafka's names.
type ProducerConfig struct {
	// A batch is sent when one of these is reached, whichever comes first.
	Linger       time.Duration // since its first record; 0: as soon as the partition is free [linger.ms]
	BatchBytes   int           // about, before compression; 0: 16 KiB; a larger record is a batch of its own [batch.size]
	BatchRecords int           // 0 and Unlimited: as many as BatchBytes are

	// MaxBuffered bounds the bytes of keys, values and headers, and 256 bytes a
	// record, that wait to be stored; those of a batch whose callbacks have begun no
	// longer count. A record larger than that waits until it is alone. 0: 32 MiB; Unlimited.
	MaxBuffered int64 // [buffer.memory]

	// Compression is for topics that have none of their own (TopicConfig.Compression),
	// which goes first; 0: None [compression.type].
	Compression Compression
	Durability  Durability  // 0: the topic's [acks]
	Partitioner Partitioner // nil: Kafka's, see Partitioner [partitioner.class]
}

const (
	defaultBatchBytes  = 16 << 10
	defaultMaxBuffered = 32 << 20
)

// Producer stores records in batches, each in the partition that its key or a
// Partitioner says. All methods may be called from many goroutines. The records
// that one goroutine produces to one partition keep their order.
//
// A record belongs to the producer from the call until it is told to be done:
// until then neither it nor what it points to may be changed. Then its Offset and
// Partition are set, and its Timestamp where that was zero or where the topic has
// LogAppendTime. One that was not stored has Offset -1.
//
// An error is about the records it is told of, and no others. It matches
// ErrUnknownOutcome when they may be stored all the same: the disk failed, or
// a context ended, after they had been handed to the log. After any other error
// they are not stored. Those of Append are to be expected, with ErrUnknownTopic,
// ErrUnknownPartition and, of Compact topics, ErrInvalidRecord for one without a key.
//
// # Callbacks
//
// The done of ProduceAsync and TryProduce is called once for each record, in the
// order of offsets in a partition, one at a time there, and for several partitions
// at once. It may be nil: then the next Flush or Close returns an error of it. It
// runs on a goroutine of the producer's, without a lock; while it blocks, others'
// records are stored, and the callbacks of that partition and its buffer wait. It
// may produce, by TryProduce: by ProduceAsync it could wait for room that only its
// own return makes. It must not wait for Flush or Close, which wait for it; nor must
// a call of an Observer, made while a batch is stored, wait for the producer. What
// panics there is caught, logged and told to Observer.Background, and the next is
// called.
//
// A record that is refused at once (no such topic, producer closed, context ended
// while waiting for room) has its done called before ProduceAsync returns.
type Producer struct {
	store *Store
	cfg   ProducerConfig
	room  room

	last   atomic.Pointer[producerTopic] // that was asked for, to be looked at first
	closed atomic.Bool                   // stored with mu held
	mu     struct {
		sync.Mutex
		topics map[string]*producerTopic
		lanes  []*lane // all that may have records
	}
	// work counts timers, and goroutines with a role in a lane. It is added to with
	// the lane's lock held, before Close has seen it or by one who counts.
	work sync.WaitGroup

	batches, waiters sync.Pool // of *pending, *waiter
	lost             struct {  // errors of records without a callback
		sync.Mutex
		first error
		count int
	}
}

// Producer makes a producer. It keeps no goroutine while it has nothing to do.
// Close it before the store. ErrInvalidConfig: a value is not allowed.
// ErrReadOnly, ErrClosed: so is the store.
func (s *Store) Producer(c ProducerConfig) (*Producer, error) {
	if s.follow != nil {
		return nil, ErrReadOnly
	}
	if s.isClosed() {
		return nil, ErrClosed
	}
	orDefault(&c.BatchBytes, defaultBatchBytes)
	orDefault(&c.BatchRecords, Unlimited)
	orDefault(&c.MaxBuffered, defaultMaxBuffered)
	switch {
	case c.Linger < 0:
		return nil, invalidConfig("Linger is %v: it must not be negative", c.Linger)
	case c.BatchBytes < 1:
		return nil, invalidConfig("BatchBytes is %d: allowed is 1 at least", c.BatchBytes)
	case c.BatchRecords < Unlimited:
		return nil, invalidConfig("BatchRecords is %d: allowed are 1 at least, and Unlimited", c.BatchRecords)
	case c.MaxBuffered < Unlimited:
		return nil, invalidConfig("MaxBuffered is %d: allowed are 1 at least, and Unlimited", c.MaxBuffered)
	case c.Compression > Zstd:
		return nil, invalidConfig("Compression is %v", c.Compression)
	case c.Durability > Written:
		return nil, invalidConfig("Durability is %v", c.Durability)
	}
	p := &Producer{store: s, cfg: c}
	p.room.max = c.MaxBuffered
	p.mu.topics = map[string]*producerTopic{}
	return p, nil
}

// Config is the configuration, with all defaults filled in.
func (p *Producer) Config() ProducerConfig { return p.cfg }

// Produce stores records and returns nil when all of them are durable. It does
// not wait for Linger: batches that its records are in are sent at once. Records
// of several partitions, or more than a batch's, are not stored as one unit: after
// an error, those with an Offset of -1 are not known to be stored. The error is that
// of the first such record to come up.
//
// When ctx ends, records that have not been handed to the log are withdrawn. If
// that were all, the error is ctx's; if not, it is ErrUnknownOutcome as well. Either
// way the records are the caller's again.
func (p *Producer) Produce(ctx context.Context, records ...*Record) error {
	if p.closed.Load() {
		return ErrClosed
	}
	cost := int64(0)
	for i, r := range records {
		if r == nil {
			return fmt.Errorf("%w: record %d of %d is nil", ErrInvalidRecord, i, len(records))
		}
		r.Offset = -1
		cost += recordCost(recordSize(r))
	}
	cost = p.room.clamp(cost)
	if err := p.room.acquire(ctx, cost); err != nil {
		return err
	}
	w := p.newWaiter(len(records)+1, cost)
	added := 0
	defer func() {
		if added < len(records) { // the Partitioner has panicked
			w.kickAll()
			w.finish(len(records)-added+1, nil)
		}
	}()
	for _, r := range records {
		t, err := p.topicOf(r.Topic)
		var l *lane
		if err == nil {
			l, err = p.add(t, p.choose(t, r), entry{record: r, waiter: w}, recordSize(r))
		}
		added++
		if err != nil {
			w.finish(1, err)
		} else if n := len(w.lanes); n == 0 || w.lanes[n-1] != l {
			w.lanes = append(w.lanes, l)
		}
	}
	w.kick(ctx)
	w.finish(1, nil)
	return p.await(ctx, w, len(records))
}

// ProduceAsync hands a record over and returns; done, which may be nil, is told
// what has become of it. It waits only while the buffer is full, and ctx ends
// that wait and nothing else: to stop waiting is not to take the record back.
func (p *Producer) ProduceAsync(ctx context.Context, r *Record, done func(*Record, error)) {
	err := p.take(ctx, r, done, true)
	if err == nil {
		return
	}
	if r != nil {
		r.Offset = -1
	}
	if done != nil {
		done(r, err)
	} else {
		p.lose(err)
	}
}

// TryProduce is ProduceAsync that returns ErrFull instead of waiting. A record
// that is refused, for that or another reason, is an error, and done is not called.
func (p *Producer) TryProduce(r *Record, done func(*Record, error)) error {
	return p.take(context.Background(), r, done, false)
}

// take is what ProduceAsync, which waits for room, and TryProduce share.
func (p *Producer) take(ctx context.Context, r *Record, done func(*Record, error), wait bool) error {
	if r == nil {
		return fmt.Errorf("%w: it is nil", ErrInvalidRecord)
	}
	if p.closed.Load() {
		return ErrClosed
	}
	t, err := p.topicOf(r.Topic)
	if err != nil {
		return err
	}
	id := p.choose(t, r)
	size := recordSize(r)
	cost := p.room.clamp(recordCost(size))
	if wait {
		if err := p.room.acquire(ctx, cost); err != nil {
			return err
		}
	} else if !p.room.try(cost) {
		return ErrFull
	}
	if _, err := p.add(t, id, entry{record: r, done: done}, size); err != nil {
		p.room.release(cost)
		return err
	}
	return nil
}

// Flush waits until all records that were handed over before are done, with
// their callbacks, and sends what lingers. It returns ctx's error, or the first
// error of records without a callback since it was last asked.
func (p *Producer) Flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.mu.Lock()
	lanes := append([]*lane(nil), p.mu.lanes...)
	p.mu.Unlock()
	var waits []chan struct{}
	for _, l := range lanes {
		if c := l.flush(); c != nil {
			waits = append(waits, c)
		}
	}
	for _, c := range waits {
		select {
		case <-c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return p.losses()
}

// Close sends what there is and waits for it, and for all callbacks. Whoever
// waits for room, and every later call, gets ErrClosed. It leaves no goroutine and no
// timer. A second Close waits too. The error is as Flush's.
func (p *Producer) Close() error {
	p.mu.Lock()
	p.closed.Store(true)
	lanes := append([]*lane(nil), p.mu.lanes...) // which a goroutine that is late may yet change
	p.mu.Unlock()
	p.room.close()
	for _, l := range lanes {
		l.flush()
		l.stopTimer()
	}
	p.work.Wait()
	return p.losses()
}

// lose notes an error that nobody is told of.
func (p *Producer) lose(err error) {
	p.lost.Lock()
	defer p.lost.Unlock()
	if p.lost.count++; p.lost.first == nil {
		p.lost.first = err
	}
}

func (p *Producer) losses() error {
	p.lost.Lock()
	defer p.lost.Unlock()
	err, n := p.lost.first, p.lost.count
	p.lost.first, p.lost.count = nil, 0
	if err == nil {
		return nil
	}
	return within(err, "%d records without a callback failed, the first", n)
}

// recordCost is what a record of a size takes of MaxBuffered: what it points to,
// and what is kept of it.
func recordCost(size int) int64 { return int64(size + recordKept) }

const (
	recordKept = 256 // a Record twice, since queues grow by doubling
	// recordFrame is about the most that lengths and deltas take, in a batch of a
	// usual size: those of a larger one are found out by the log.
	recordFrame = 20
)

func recordSize(r *Record) int {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value) + 6
	}
	return n
}

// unknownOutcome marks an error after which records may be stored.
func unknownOutcome(err error) error { return &outcomeError{err} }

type outcomeError struct{ err error }

func (e *outcomeError) Error() string {
	return ErrUnknownOutcome.Error() + ": " + strings.TrimPrefix(e.err.Error(), "leat: ")
}
func (e *outcomeError) Is(target error) bool { return target == ErrUnknownOutcome }
func (e *outcomeError) Unwrap() error        { return e.err }
