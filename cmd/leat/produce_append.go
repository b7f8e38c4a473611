package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/leatlog/leat"
	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
)

const (
	// batchBytes is how large batches become when there is enough: far more than
	// Kafka's clients send (16 KiB), for the sake of speed and compression.
	batchBytes = 256 << 10
	// unsent bounds the batches that are being filled, all partitions together.
	unsent = 4 << 20
	// unsettled is how many batches may wait for the disk; with a few of them,
	// lines are gathered as long as the disk is slower than the input.
	unsettled, fewUnsettled = 64, 4
)

// appender makes batches of records and appends them, without waiting for the
// disk: settle does, and tells what is stored. Batches of a partition are stored
// in the order of the lines.
//
// It is no leat.Producer, for two reasons. A line is encoded straight into its
// batch, where a producer needs a copy of it until it is stored: a third of the
// processor time a line (65 against 190 ns, of 100 B). And a producer goes on
// behind a batch that was refused; here nothing that was read later is appended.
type appender struct {
	topic      *leat.Topic
	fixed      int32 // the partition that was named, -1
	durability leat.Durability
	codec      compress.Codec
	coders     *compress.Coders
	limit      int // of a batch

	parts  map[int32]*leat.Partition
	ids    []int32
	sticky int // index in ids: where the next batch without keys goes

	filling  []*filling // in the order of their first lines
	byID     map[int32]*filling
	keyless  *filling
	bytes    int // in filling
	spare    [][]byte
	packed   []byte // a batch compressed
	appended int64  // records handed to the log

	settling chan settling
	settled  chan struct{} // something has been
	ended    sync.WaitGroup
	report   *bufio.Writer // of each record's position; nil: none

	mu struct {
		sync.Mutex
		counts map[int32]*storedIn
		err    error
	}
	failed chan struct{} // closed with mu.err
}

// filling is a batch that is not yet full.
type filling struct {
	part      *leat.Partition
	buf       []byte // room for the header, then records
	count     int32
	base, max int64 // timestamps
	line      int64 // of its first record
	last      int64
}

// inLines says what the input has to do with an error.
type inLines struct {
	first, last int64
	err         error
}

func (e *inLines) Error() string {
	what := strings.TrimPrefix(e.err.Error(), "leat: ") // which is said once, and not here
	if e.last > e.first {
		return fmt.Sprintf("lines %d to %d: %s", e.first, e.last, what)
	}
	return fmt.Sprintf("line %d: %s", e.first, what)
}

func (e *inLines) Unwrap() error { return e.err }

// badBatch is why the log did not take a batch.
type badBatch struct{ inLines }

// settling is a batch that has been appended, and may wait for the disk.
type settling struct {
	part   *leat.Partition
	count  int32
	result *leat.AppendResult
}

// storedIn is what a partition has got.
type storedIn struct {
	records     int64
	first, last int64
}

func newAppender(topic *leat.Topic, o *produceOptions) (*appender, error) {
	c := topic.Config()
	a := &appender{
		topic: topic, fixed: o.partition, durability: o.durability, codec: o.codec, coders: compress.New(),
		limit:    int(min(int64(c.MaxBatchBytes), c.SegmentBytes)),
		parts:    map[int32]*leat.Partition{},
		byID:     map[int32]*filling{},
		settling: make(chan settling, unsettled),
		settled:  make(chan struct{}, 1),
		failed:   make(chan struct{}),
		report:   o.report,
	}
	a.mu.counts = map[int32]*storedIn{}
	for p := range topic.Partitions() {
		a.ids = append(a.ids, p.ID())
	}
	if a.fixed >= 0 {
		if _, err := a.partition(a.fixed); err != nil {
			return nil, err
		}
		a.ids = []int32{a.fixed}
	}
	// Wherever one begins always, records would heap up when each comes alone.
	a.sticky = rand.IntN(len(a.ids))
	a.ended.Add(1)
	go a.settle()
	return a, nil
}

func (a *appender) partition(id int32) (*leat.Partition, error) {
	if p := a.parts[id]; p != nil {
		return p, nil
	}
	p, err := a.topic.Partition(id)
	if err == nil {
		a.parts[id] = p
	}
	return p, err
}

// add puts a record into the batch it belongs to. It is copied.
func (a *appender) add(r *incoming, line int64, now time.Time) error {
	timestamp := now.UnixMilli()
	if r.timestamp != nil {
		timestamp = *r.timestamp
	}
	f, err := a.batch(r)
	if err != nil {
		return err
	}
	if f.count == 0 {
		f.base, f.max, f.line = timestamp, timestamp, line
	}
	size := codec.RecordSize(f.count, timestamp-f.base, r.key, r.value, r.headers)
	if codec.HeaderSize+size > a.limit {
		a.drop(f)
		return fmt.Errorf("%w: with %d bytes it does not fit a batch of %d (max.message.bytes, segment.bytes)",
			leat.ErrRecordTooLarge, size, a.limit)
	}
	if f.count > 0 && len(f.buf)+size > min(a.limit, batchBytes) {
		if err := a.send(f); err != nil {
			return err
		}
		return a.add(r, line, now)
	}
	at := len(f.buf)
	f.buf = slices.Grow(f.buf, size)[:at+size]
	codec.PutRecord(f.buf[at:], f.count, timestamp-f.base, r.key, r.value, r.headers)
	f.count++
	f.max, f.last = max(f.max, timestamp), line
	if a.bytes += size; a.bytes > unsent {
		return a.flush()
	}
	return nil
}

// batch is the one that a record belongs to, which may be empty.
func (a *appender) batch(r *incoming) (*filling, error) {
	keyless := false
	id := a.fixed
	switch {
	case id >= 0:
	case r.partition != nil:
		id = *r.partition
	case r.key != nil:
		id = a.topic.PartitionFor(r.key)
	case a.keyless != nil:
		return a.keyless, nil
	default:
		keyless = true
		id = a.ids[a.sticky]
	}
	f := a.byID[id]
	if f == nil {
		p, err := a.partition(id)
		if err != nil {
			return nil, err
		}
		f = &filling{part: p}
		if n := len(a.spare); n > 0 {
			f.buf, a.spare = a.spare[n-1], a.spare[:n-1]
		} else {
			f.buf = make([]byte, codec.HeaderSize, 4<<10)
		}
		a.filling, a.byID[id] = append(a.filling, f), f
	}
	if keyless {
		a.keyless = f
	}
	return f, nil
}

// drop forgets a batch, if it is empty.
func (a *appender) drop(f *filling) {
	if f.count > 0 {
		return
	}
	a.filling = slices.DeleteFunc(a.filling, func(g *filling) bool { return g == f })
	delete(a.byID, f.part.ID())
	if a.keyless == f {
		a.keyless = nil
	}
	a.bytes -= len(f.buf) - codec.HeaderSize
	if cap(f.buf) <= 2*batchBytes && len(a.spare) < unsent/batchBytes {
		a.spare = append(a.spare, f.buf[:codec.HeaderSize])
	}
}

// flush appends all batches as they are.
func (a *appender) flush() error {
	for len(a.filling) > 0 {
		if err := a.send(a.filling[0]); err != nil {
			return err
		}
	}
	return nil
}

// send appends a batch.
func (a *appender) send(f *filling) error {
	raw, err := a.seal(f)
	if err != nil {
		return err
	}
	result, err := f.part.AppendBatches(raw, leat.AppendOptions{Durability: a.durability})
	if err != nil {
		return &badBatch{inLines{f.line, f.last, err}}
	}
	a.settling <- settling{part: f.part, count: f.count, result: result}
	a.appended += int64(f.count)
	if a.keyless == f {
		a.sticky = (a.sticky + 1) % len(a.ids)
	}
	f.count = 0
	a.drop(f)
	return nil
}

// seal finishes a batch: header, codec, checksum. What it returns lives until the
// next call.
func (a *appender) seal(f *filling) ([]byte, error) {
	h := codec.Header{
		Magic: codec.Magic, LeaderEpoch: -1, Attributes: uint16(a.codec), LastOffsetDelta: f.count - 1,
		BaseTimestamp: f.base, MaxTimestamp: f.max, ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1, RecordCount: f.count,
	}
	raw := f.buf
	if a.codec != compress.None {
		var err error
		a.packed = slices.Grow(a.packed[:0], codec.HeaderSize)[:codec.HeaderSize]
		if a.packed, err = a.coders.Append(a.packed, f.buf[codec.HeaderSize:], a.codec); err != nil {
			return nil, err
		}
		raw = a.packed
	}
	h.Put(raw)
	codec.Seal(raw)
	return raw, nil
}

// settle waits for what was appended, in order, and counts it.
func (a *appender) settle() {
	defer a.ended.Done()
	for s := range a.settling {
		err := s.result.Wait(context.Background()) // the disk is waited for whatever happens
		if err == nil {
			err = a.tell(s)
		}
		a.mu.Lock()
		if err != nil && a.mu.err == nil {
			a.mu.err = err
			close(a.failed)
		}
		a.mu.Unlock()
		select {
		case a.settled <- struct{}{}:
		default:
		}
	}
}

// tell counts a batch that is stored, and prints where.
func (a *appender) tell(s settling) error {
	id, base := s.part.ID(), s.result.BaseOffset
	a.mu.Lock()
	c := a.mu.counts[id]
	if c == nil {
		c = &storedIn{first: base}
		a.mu.counts[id] = c
	}
	c.records += int64(s.count)
	c.last = s.result.LastOffset
	a.mu.Unlock()
	if a.report == nil {
		return nil
	}
	at := leat.Position{Topic: a.topic.Name(), Partition: id}
	for i := range int64(s.count) {
		at.Offset = base + i
		fmt.Fprintln(a.report, at)
	}
	if len(a.settling) == 0 {
		if err := a.report.Flush(); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

// failure is why no more should be appended; nil: there is no reason.
func (a *appender) failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.err
}

// end waits until all that was appended is stored, or not.
func (a *appender) end() error {
	close(a.settling)
	a.ended.Wait()
	a.coders.Close()
	err := a.failure()
	if a.report != nil {
		if ferr := a.report.Flush(); ferr != nil && err == nil {
			err = fmt.Errorf("write: %w", ferr)
		}
	}
	return err
}

// summary is what was stored, a line for each partition, and how many records
// may be stored or not.
func (a *appender) summary() (lines []string) {
	var total int64
	ids := make([]int32, 0, len(a.mu.counts))
	for id := range a.mu.counts {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		c := a.mu.counts[id]
		total += c.records
		where := fmt.Sprintf("offset %d", c.first)
		if c.records > 1 {
			where = fmt.Sprintf("offsets %d to %d", c.first, c.last)
		}
		lines = append(lines, fmt.Sprintf("%s: %s appended, %s", a.parts[id], plural(c.records, "record"), where))
	}
	switch {
	case len(ids) == 0:
		lines = append(lines, "nothing appended")
	case len(ids) > 1:
		lines = append(lines, fmt.Sprintf("%s appended to %d partitions", plural(total, "record"), len(ids)))
	}
	if n := a.appended - total; n > 0 {
		lines = append(lines, fmt.Sprintf("%s more may be stored or not", plural(n, "record")))
	}
	return lines
}
