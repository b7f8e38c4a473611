package leat

import (
	"bytes"
	"math"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
)

// FuzzAppendBatches: whatever bytes come, they are refused, and nothing has
// changed, or they are stored as they came and can be read back. The corpus in
// testdata is of batches that Kafka wrote.
func FuzzAppendBatches(f *testing.F) {
	f.Add([]byte{}, false)
	f.Add(rawBatch(f, 3, nil), false)
	f.Add(rawBatch(f, 3, func(h *codec.Header) { h.BaseOffset = 40 }), true)
	f.Add(codec.AppendMarker(nil, codec.Header{ProducerID: 1}, false, 1), true)
	f.Fuzz(func(t *testing.T, raw []byte, follower bool) {
		if len(raw) > 1<<20 {
			return
		}
		// Fuzzing cannot guess a CRC.
		raw = sealAll(bytes.Clone(raw))
		st := openStore(t, vfs.NewMem(), nil)
		p := part(t, st, "fuzz", TopicConfig{Durability: Written, TimestampAfter: Unlimited})
		fill(t, p, 2)
		was := bytes.Clone(raw)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := p.AppendBatches(raw, AppendOptions{Follower: follower})
		runtime.ReadMemStats(&after)
		require.Equal(t, was, raw)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(300<<20), "of %d bytes", len(raw))
		end := int64(2)
		if err == nil {
			end = r.LastOffset + 1
			require.NoError(t, r.Wait(ctx))
		}
		require.Equal(t, end, p.LogEndOffset())
		if end < math.MaxInt64-10 {
			base, err := p.Append(ctx, Record{Value: []byte("after")})
			require.NoError(t, err)
			require.Equal(t, end, base)
		}
		var stored []byte
		c := p.log.Load().NewCursor(2) // a reader leaves control batches out
		defer c.Close()
		for c.Offset() < end {
			b, err := c.Next(end)
			require.NoError(t, err)
			stored = append(stored, b...)
			if !follower { // of others' records their leader is the judge
				require.NoError(t, codec.Validate(b, st.env.Coders(), log.MaxUnpacked, true))
			}
		}
		if end == 2 {
			return
		}
		require.Equal(t, len(was), len(stored))
		for at := 0; at < len(was); {
			x, err := codec.Next(was[at:])
			require.NoError(t, err)
			y := codec.Batch(stored[at : at+len(x)])
			if !follower {
				codec.SetBaseOffset(y, 0)
				codec.SetLeaderEpoch(y, x.LeaderEpoch())
				if x.MaxTimestamp() != y.MaxTimestamp() {
					h := y.Header()
					h.MaxTimestamp = x.MaxTimestamp()
					h.Put(y)
					codec.Seal(y)
				}
			}
			require.Equal(t, []byte(x), []byte(y))
			at += len(x)
		}
	})
}

// sealAll makes the CRCs of all that could be a batch right.
func sealAll(raw []byte) []byte {
	for at := 0; ; {
		b, err := codec.Next(raw[at:])
		if err != nil {
			return raw
		}
		codec.Seal(b)
		at += len(b)
	}
}
