package log

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// RawOptions are for one AppendRaw.
type RawOptions struct {
	Durability Durability // 0: the topic's
	Follower   bool       // base offsets and leader epochs stay as they are
	Epoch      int32      // leader epoch to stamp; 0: the log's latest
	Keyed      bool       // every record needs a key: the topic is compacted
	// Transactional lets transactional batches of clients pass. Whoever sets it
	// coordinates them.
	Transactional bool
}

// RawResult says where batches are.
type RawResult struct {
	BaseOffset, LastOffset int64
	AppendTime             int64 // in milliseconds, with LogAppendTime; else -1
	LogStartOffset         int64
	Duplicate              bool
	// Durable and Generation are what WaitDurable wants for the durability asked
	// for: Durable is 0 for Written.
	Durable, Generation int64
}

// A rawCall is what one call works with: the batches, and memory for those that
// are not stored as they came. The Env lends it.
type rawCall struct {
	cfg   *Config // as it was when the call came
	from  origin
	epoch int32 // to stamp; 0: the latest

	batches []rawBatch
	run     []segment.Placed // the same, as the segment wants them
	bytes   int64
	latest  int64 // the largest timestamp
	offsets int64 // from the first to behind the last
	sparse  bool  // offsets are missing between the batches
	// producer says that some batch has a producer id.
	producer    bool
	transaction int16 // version of the protocol that a marker comes by

	decoder codec.Decoder
	plain   []byte // a payload that was unpacked
	packed  []byte // payloads that were packed anew, all that the call has
}

// rawBatch is one batch as it will be stored: a header that can be changed, and
// what follows it, which lies where the caller has it.
type rawBatch struct {
	header  [codec.HeaderSize]byte
	payload []byte
	control codec.Control // of a control batch with a producer id
	marker  bool          // control was read: the cleaner empties such batches
}

// batch is the header as a batch without payload.
func (b *rawBatch) batch() codec.Batch { return b.header[:] }

// add takes one encoded batch.
func (c *rawCall) add(b codec.Batch) *rawBatch {
	if len(c.batches) < cap(c.batches) {
		c.batches = c.batches[:len(c.batches)+1]
	} else {
		c.batches = append(c.batches, rawBatch{})
	}
	r := &c.batches[len(c.batches)-1]
	copy(r.header[:], b)
	r.payload, r.marker = b.Payload(), false
	return r
}

// total sums up what was added, once all of it is as it will be stored.
func (c *rawCall) total() {
	c.bytes, c.offsets, c.latest = 0, 0, noTime
	for i := range c.batches {
		b := &c.batches[i]
		n := codec.HeaderSize + len(b.payload)
		c.run = append(c.run, segment.Placed{Size: n})
		c.bytes += int64(n)
		c.offsets += int64(b.batch().LastOffsetDelta()) + 1
		c.latest = max(c.latest, b.batch().MaxTimestamp())
		c.producer = c.producer || b.batch().ProducerID() >= 0
	}
}

// records is how many are stored.
func (c *rawCall) records() int {
	n := 0
	for i := range c.batches {
		n += int(c.batches[i].batch().RecordCount())
	}
	return n
}

const (
	rawKeptBatches = 256
	rawKeptBytes   = 4 << 20
)

func (e *Env) rawCall() *rawCall {
	c, ok := e.raws.Get().(*rawCall)
	if !ok {
		c = new(rawCall)
	}
	return c
}

// releaseRaw takes a call back. Nothing of the caller's is kept with it.
func (e *Env) releaseRaw(c *rawCall) {
	for i := range c.batches {
		c.batches[i].payload = nil
	}
	kept := rawCall{batches: c.batches[:0], run: c.run[:0], plain: c.plain[:0], packed: c.packed[:0]}
	if cap(kept.batches) > rawKeptBatches {
		kept.batches, kept.run = nil, nil
	}
	if cap(kept.plain) > rawKeptBytes {
		kept.plain = nil
	}
	if cap(kept.packed) > rawKeptBytes {
		kept.packed = nil
	}
	*c = kept
	e.raws.Put(c)
}

// AppendRaw stores encoded batches that lie back to back, all of them or none, in
// one segment. It returns when they are in place, and WaitDurable tells when they
// are durable; until somebody asks they become so within FlushInterval. raw is
// neither changed nor kept.
func (l *Log) AppendRaw(raw []byte, o RawOptions) (RawResult, error) {
	c := l.env.rawCall()
	defer l.env.releaseRaw(c)
	c.cfg, c.epoch = l.cfg(), o.Epoch
	var err error
	if o.Follower {
		c.from, err = fromLeader, l.checkReplicated(c, raw)
	} else {
		c.from, err = fromClient, l.checkClient(c, raw, &o)
	}
	if err != nil {
		return RawResult{}, err
	}
	return l.appendCall(c, o.Durability)
}

// appendCall appends what a call has gathered and tells where it is.
func (l *Log) appendCall(c *rawCall, d Durability) (RawResult, error) {
	if d == 0 {
		d = c.cfg.Durability
	}
	c.total()
	var w watch
	switch {
	case l.obs.Append != nil:
		w = l.obs.watch()
	case d == Written && rarely():
		w = l.obs.sampled()
	}
	l.writing.Lock()
	r, err := l.place(c, Written) // so that it is synced when nobody waits
	s := l.takeStored(r.BaseOffset, c.records(), err)
	if r.Duplicate {
		s.bytes = 0
	}
	l.unlock()
	l.appended(w, s, err)
	if err != nil {
		return RawResult{}, err
	}
	r.LogStartOffset = l.start.Load()
	if d == Synced {
		r.Durable = r.LastOffset + 1
	}
	return r, nil
}

// WaitDurable returns when everything below offset, which has been appended in
// the given generation, is on stable storage. It is an *OffsetError if some of it
// was taken back since.
func (l *Log) WaitDurable(ctx context.Context, offset, generation int64) error {
	if l.durable.Load() < offset {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.waitDurable(ctx, offset); err != nil {
			return err
		}
	}
	if end, ok := l.truncated.since(generation); ok && end < offset {
		return &OffsetError{Topic: l.cfg().Topic, Partition: l.cfg().Partition, Offset: offset - 1, Start: l.start.Load(), End: end}
	}
	return nil
}

// place appends the batches of a call. writing is held.
//
// Whatever can fail without harm comes before the bytes: what lies behind the
// tail must not be left of a call that came to nothing, or a shorter batch would
// be followed by batches that nobody appended.
func (l *Log) place(c *rawCall, d Durability) (r RawResult, err error) {
	if err := l.refusing(); err != nil {
		return r, err
	}
	end := l.end.Load()
	if c.from == fromLeader {
		err = l.checkFollows(c, end)
	} else {
		err = l.checkEpoch(c.epoch)
		if err == nil && c.producer {
			r, err = l.checkProducer(c)
		}
	}
	r.Generation = l.generation.Load()
	if err != nil || r.Duplicate {
		return r, err
	}
	if err := c.number(end); err != nil {
		return r, err
	}
	first, last := c.batches[0].batch().BaseOffset(), c.run[len(c.run)-1].LastOffset
	seg, err := l.roomFor(c, end, first, last)
	if err != nil {
		return r, err
	}
	to, err := seg.Reserve(int(c.bytes))
	if err == nil {
		err = l.beforePlaced(c, end)
	}
	if err == nil {
		err = c.copy(to, seg.WriterPath())
	}
	if err == nil {
		err = seg.CommitRun(c.run)
	}
	if err != nil {
		if seg.Base() > end { // nothing else may follow in it
			return r, l.fail(err)
		}
		return r, l.appendError(err)
	}
	if c.producer {
		if err := l.noteProducers(c, seg); err != nil {
			return r, l.fail(err)
		}
	}
	l.publish(seg, last+1, int(c.bytes), d)
	l.recount(len(c.batches), int64(c.records())-(last+1-end))
	r.BaseOffset, r.LastOffset, r.AppendTime = first, last, -1
	if c.cfg.LogAppendTime && c.from != fromLeader {
		r.AppendTime = c.latest
	}
	return r, nil
}

// number gives the batches their offsets, unless they have them.
func (c *rawCall) number(end int64) error {
	if c.from != fromLeader && end > math.MaxInt64-c.offsets {
		return ErrOffsetOverflow
	}
	for i := range c.batches {
		b := c.batches[i].batch()
		if c.from != fromLeader {
			codec.SetBaseOffset(b, end)
			end = b.NextOffset()
		}
		c.run[i].Entry = segment.Entry{LastOffset: b.LastOffset(), MaxTimestamp: b.MaxTimestamp()}
	}
	return nil
}

// beforePlaced makes durable what must be so before the batches are: that offsets
// are missing, and the leader epochs.
func (l *Log) beforePlaced(c *rawCall, end int64) error {
	if c.sparse || c.batches[0].batch().BaseOffset() > end {
		if err := l.allowGaps(end); err != nil {
			return err
		}
	}
	if c.from == fromLeader {
		return l.followEpochs(c)
	}
	if err := l.beginEpoch(c.epoch, end); err != nil {
		return err
	}
	for i := range c.batches {
		codec.SetLeaderEpoch(c.batches[i].batch(), l.w.epoch)
	}
	return nil
}

// copy puts the batches into the segment.
func (c *rawCall) copy(to []byte, path string) (err error) {
	defer vfs.Recover(path, to, &err, vfs.SetFault())
	n := 0
	for i := range c.batches {
		b := &c.batches[i]
		n += copy(to[n:], b.header[:])
		n += copy(to[n:], b.payload)
	}
	return nil
}

// repack gives a batch another codec. plain is its payload, unpacked.
func (l *Log) repack(c *rawCall, b *rawBatch, plain []byte, k compress.Codec) error {
	start := len(c.packed)
	out, err := l.env.coders.Append(c.packed, plain, k)
	if err != nil {
		return codersError(err)
	}
	c.packed = out
	b.payload = out[start:len(out):len(out)]
	h := b.batch().Header()
	h.Attributes = h.Attributes&^codec.CodecMask | uint16(k)
	h.Put(b.header[:])
	if n := int64(codec.HeaderSize + len(b.payload)); n > int64(c.cfg.MaxBatchBytes) {
		return l.tooLarge(n)
	}
	return nil
}

// codersError is an error of the store's coders, which are closed with it.
func codersError(err error) error {
	if errors.Is(err, compress.ErrClosed) {
		return ErrClosed
	}
	return fmt.Errorf("compress: %w", err)
}
