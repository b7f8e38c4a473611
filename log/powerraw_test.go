package log

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/index"
)

// Raw appends in the power-loss test. Offsets that a follower leaves out have a
// nil value.

// raw appends up to three batches in one call, as a client's or a leader's, and
// waits for them or not.
func (p *power) raw() {
	follower := p.rng.IntN(3) > 0
	epoch := p.log.LatestEpoch()
	var raw []byte
	for range 1 + p.rng.IntN(3) {
		if follower && p.rng.IntN(3) == 0 {
			p.skip(1 + p.rng.IntN(5))
		}
		if follower && p.rng.IntN(6) == 0 {
			epoch++
		}
		raw = append(raw, p.rawBatch(follower, epoch)...)
	}
	d := []Durability{0, Synced, Written}[p.rng.IntN(3)]
	r, err := p.log.AppendRaw(raw, RawOptions{Follower: follower, Durability: d})
	require.NoError(p.t, err, p)
	require.EqualValues(p.t, len(p.mu.values), r.LastOffset+1, p)
	if p.rng.IntN(3) > 0 {
		require.NoError(p.t, p.log.WaitDurable(context.Background(), r.Durable, r.Generation), p)
		p.ack(r.Durable)
	}
}

func (p *power) skip(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.values = append(p.mu.values, make([][]byte, n)...)
}

func (p *power) rawBatch(follower bool, epoch int32) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	base := int64(len(p.mu.values))
	now := time.UnixMilli(int64(1_000_000 + 10*len(p.mu.values) + p.rng.IntN(40)))
	id := int64(p.rng.IntN(3))
	if follower && p.rng.IntN(4) == 0 {
		ce := p.rng.Int32N(100)
		p.mu.values = append(p.mu.values, binary.BigEndian.AppendUint32([]byte{0, 0}, uint32(ce)))
		h := codec.Header{BaseOffset: base, LeaderEpoch: epoch, BaseTimestamp: now.UnixMilli(), ProducerID: id}
		return codec.AppendMarker(nil, h, p.rng.IntN(2) == 0, ce)
	}
	rs := make([]codec.Record, 1+p.rng.IntN(4))
	for i := range rs {
		v := p.value(len(p.mu.values), p.rng.IntN(2)*p.rng.IntN(150))
		p.mu.values = append(p.mu.values, v)
		rs[i] = codec.Record{Timestamp: now.UnixMilli() + int64(i), Value: v}
	}
	return encode(p.t, rs, func(h *codec.Header) {
		if !follower {
			return
		}
		h.BaseOffset, h.LeaderEpoch = base, epoch
		if p.rng.IntN(2) == 0 {
			h.ProducerID, h.ProducerEpoch, h.BaseSequence = id, 0, p.rng.Int32N(1000)
			h.Attributes = codec.TransactionalBit
		}
	})
}

// checkState compares what follows from the batches with what the log says:
// transactions, and the epochs.
func (p *power) checkState(l *Log) error {
	producers := NewProducers()
	var aborted []index.AbortedTxn
	c := l.NewCursor(0)
	defer c.Close()
	for {
		b, err := c.Next(l.LogEndOffset())
		if err == ErrWait {
			break
		}
		if err != nil {
			return err
		}
		// A truncation begins its epoch before it takes a batch away: one that was
		// not finished leaves the epoch and the batches.
		if e, ok := l.epochs.At(b.BaseOffset()); b.LeaderEpoch() >= 0 && (!ok || e < b.LeaderEpoch() || e > b.LeaderEpoch() && !p.truncates.Load()) {
			return fmt.Errorf("batch at %d has epoch %d, and epochs are %v", b.BaseOffset(), b.LeaderEpoch(), l.epochs.Entries())
		}
		if b.ProducerID() < 0 {
			continue
		}
		if err := l.noteProducer(producers, b, func(t abortedTxn) error {
			aborted = append(aborted, t)
			return nil
		}); err != nil {
			return err
		}
	}
	end := l.LogEndOffset()
	producers.OnHighWatermark(end)
	if got, want := l.LastStableOffset(), producers.LastStableOffset(end); got != want {
		return fmt.Errorf("last stable offset %d, not %d", got, want)
	}
	list, err := l.AbortedTxns(0, noOffset, nil)
	if err != nil || !slices.Equal(list, aborted) {
		return fmt.Errorf("aborted %v, %v, not %v", list, err, aborted)
	}
	if got, want := l.producers.Snapshot(), producers.Snapshot(); !slices.Equal(got, want) {
		return fmt.Errorf("producers %v, not %v", got, want)
	}
	return nil
}
