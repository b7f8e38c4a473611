package leat

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/coordination"
	"github.com/leatlog/leat/log"
)

// offsetsPartition is a partition of __consumer_offsets and what it says.
type offsetsPartition struct {
	p *Partition

	// turn is held while the log is read: a channel, because that may wait for the
	// disk. What follows is guarded by it.
	turn chan struct{}
	// cur walks src and has been read up to its offset into build, which is mu.state
	// unless a replay from the beginning is under way.
	cur        *log.Cursor
	src        *log.Log
	generation int64
	build      *offsetsState
	read       time.Time // when cur was at the end
	stuck      error     // what src says cannot be known
	dec        codec.Decoder
	buf        []byte
	records    []offsetsRecord

	mu struct {
		sync.RWMutex
		state      *offsetsState // what log says below next
		log        *log.Log      // nil before the first replay
		generation int64
		next       int64
		bad        error // why the log cannot be read, as of the last try
	}
}

func newOffsetsPartition(p *Partition) *offsetsPartition {
	g := &offsetsPartition{p: p, turn: make(chan struct{}, 1)}
	g.mu.state = newOffsetsState()
	return g
}

// has tells whether there is a record of a group.
func (g *offsetsPartition) has(group string) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.mu.state.has(group)
}

// broken is why the partition cannot be read, nil if it can, or was not yet.
func (g *offsetsPartition) broken() error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.mu.bad
}

// current tells whether all is known that the log says. A log that another
// process writes is always looked at.
func (g *offsetsPartition) current() bool {
	l := g.p.log.Load()
	if l == nil || l.Followed() || l.Failed() != nil {
		return false
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.mu.log == l && g.mu.bad == nil && g.mu.generation == l.Generation() && g.mu.next >= l.HighWatermark()
}

// catchUp reads what is new. Whoever returns with nil has seen all that was
// durable when he called.
func (g *offsetsPartition) catchUp(ctx context.Context) error {
	if g.current() {
		return nil
	}
	select {
	case g.turn <- struct{}{}:
		defer func() { <-g.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return g.catchUpLocked(ctx)
}

// tryCatchUp is catchUp, unless somebody is at it.
func (g *offsetsPartition) tryCatchUp() {
	select {
	case g.turn <- struct{}{}:
		_ = g.catchUpLocked(context.Background()) // who asks for it is told
		<-g.turn
	default:
	}
}

// offsetsTries bounds how often a replay begins again when the writer, in another
// process, is changing what it reads.
const offsetsTries = 100

func (g *offsetsPartition) catchUpLocked(ctx context.Context) error {
	err := g.follow(ctx)
	if err != nil && ctx.Err() == nil {
		g.spoil(err)
	}
	return err
}

// follow reads up to the end, from the beginning if it has to.
func (g *offsetsPartition) follow(ctx context.Context) error {
	for try := 0; ; try++ {
		l, err := g.p.use()
		if err != nil {
			return err
		}
		if err := l.Trouble(); err != nil {
			return g.p.fail(err)
		}
		if g.stuck != nil && g.src == l && !l.Followed() {
			return g.stuck
		}
		now := time.Now()
		if g.anew(l, now) {
			g.begin(l)
		}
		err = g.replay(ctx)
		g.cur.SeekTo(g.cur.Offset()) // which lets go of the segment
		var outside *OffsetError
		switch {
		case err == nil:
			g.read = now
			return nil
		case errors.Is(err, ErrCorrupt), errors.Is(err, ErrUnsupported):
			g.stuck = err
			return err
		case try >= offsetsTries:
			return g.p.fail(err)
		case err == log.ErrRestarted:
			if err := l.Settle(ctx); err != nil {
				return g.p.fail(err)
			}
			g.src = nil
		case err == log.ErrTruncated, errors.As(err, &outside):
			g.src = nil // what was read may be gone
		default:
			return g.p.fail(err)
		}
	}
}

// anew tells whether what was read may be worth nothing: the log is another one,
// or has taken records back, or the last look was so long ago that a tombstone may
// have come and been cleaned away since; or it met, in the log of another process,
// what could not be understood, which the cursor is behind now.
func (g *offsetsPartition) anew(l *log.Log, now time.Time) bool {
	return g.src != l || g.stuck != nil || g.cur.Stale() || g.cur.Restarted() ||
		!g.read.IsZero() && now.Sub(g.read) >= g.p.topic.cfg().Compaction.TombstoneRetain
}

// begin starts a replay from the beginning. What is known stays as it is until
// the end is reached: nobody may take a half of it for the whole.
func (g *offsetsPartition) begin(l *log.Log) {
	g.src, g.generation, g.stuck, g.read = l, l.Generation(), nil, time.Time{}
	g.cur = l.NewCursor(l.LogStartOffset())
	g.build = newOffsetsState()
}

// replay goes on to the high watermark.
func (g *offsetsPartition) replay(ctx context.Context) error {
	end := g.src.Visible(false)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := g.cur.Next(end)
		if err == log.ErrWait {
			if g.cur.Stale() {
				return log.ErrTruncated
			}
			if g.cur.Restarted() {
				return log.ErrRestarted
			}
			g.publish(end)
			return nil
		}
		if err != nil {
			return err
		}
		if err := g.take(b); err != nil {
			return err
		}
	}
}

// take applies a batch.
func (g *offsetsPartition) take(b codec.Batch) error {
	if b.IsControl() {
		c, ok, err := codec.DecodeControl(b)
		if err != nil {
			return g.damaged(b.BaseOffset(), err)
		}
		if ok && c.IsMarker() {
			g.change(func() { g.build.end(b.ProducerID(), c.Type == codec.ControlCommit) })
		}
		return nil
	}
	var err error
	g.buf, err = codec.Unpack(b, g.buf, g.p.topic.store.env.Coders(), log.MaxUnpacked)
	if err == nil {
		err = g.dec.Reset(b, g.buf)
	}
	// All of it is read before any of it holds.
	clear(g.records)
	g.records = g.records[:0]
	offset := b.BaseOffset()
	for err == nil {
		var r codec.Record
		if err = g.dec.Next(&r); err != nil {
			break
		}
		offset = r.Offset
		rec, known, rerr := parseOffsetsRecord(&r)
		if err = rerr; err == nil && known {
			g.records = append(g.records, rec)
		}
	}
	if !isEOF(err) {
		return g.damaged(offset, err)
	}
	g.change(func() {
		for i := range g.records {
			if b.IsTransactional() {
				g.build.pend(b.ProducerID(), &g.records[i])
			} else {
				g.build.apply(&g.records[i])
			}
		}
	})
	return nil
}

// change changes what is being built, which others may see already.
func (g *offsetsPartition) change(do func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	do()
}

// damaged is for a batch that is whole and says what cannot be understood: it may
// be what makes a commit that is known one that was taken back.
func (g *offsetsPartition) damaged(offset int64, err error) error {
	path, pos := g.cur.Position()
	if errors.Is(err, coordination.ErrVersion) || errors.Is(err, ErrUnsupported) {
		return fmt.Errorf("%w: %s at position %d, offset %d: %w", ErrUnsupported, path, pos, offset, err)
	}
	return g.src.Corrupt(&CorruptError{Path: path, Position: pos, Offset: offset, Err: err})
}

// publish shows what has been read up to end.
func (g *offsetsPartition) publish(end int64) {
	if cap(g.buf) > offsetsKeptBytes {
		g.buf = nil
	}
	if cap(g.records) > offsetsKeptRecords {
		g.records = nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.state, g.mu.log, g.mu.generation, g.mu.next, g.mu.bad = g.build, g.src, g.generation, end, nil
}

// What a replay may keep of its memory for the next commits.
const (
	offsetsKeptBytes   = 64 << 10
	offsetsKeptRecords = 256
)

// spoil notes why the log cannot be read, and shows what groups there are before
// the place where that is so, if nothing has been shown yet.
func (g *offsetsPartition) spoil(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.bad = err; g.mu.log == nil && g.build != nil {
		g.mu.state = g.build
	}
}
