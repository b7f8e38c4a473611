package leat

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/internal/vfs"
)

// rawBatch encodes records v0, v1, .. as a client does: offsets from 0 on. change
// may set header fields before the batch is sealed.
func rawBatch(t testing.TB, n int, change func(h *codec.Header)) []byte {
	t.Helper()
	h := codec.Header{LeaderEpoch: -1, LastOffsetDelta: int32(n - 1), BaseTimestamp: 1_700_000_000_000, MaxTimestamp: 1_700_000_000_000 + int64(n-1),
		ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}
	if change != nil {
		change(&h)
	}
	rs := make([]codec.Record, n)
	for i := range rs {
		rs[i] = codec.Record{Offset: h.BaseOffset + int64(i), Timestamp: h.BaseTimestamp + int64(i), Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Appendf(nil, "v%d", i)}
	}
	coders := compress.New()
	defer coders.Close()
	b, err := codec.AppendBatch(nil, h, rs, coders)
	require.NoError(t, err)
	return b
}

// patched is a batch with some of its bytes changed, and the CRC right again.
func patched(b []byte, at int, bytes ...byte) []byte {
	b = slices.Clone(b)
	copy(b[at:], bytes)
	n := binary.BigEndian.Uint32(b[8:])
	codec.Seal(b)
	binary.BigEndian.PutUint32(b[8:], n)
	return b
}

func TestAppendBatches(t *testing.T) {
	for name, fsys := range map[string]func(*testing.T) vfs.FS{"memory": memFS, "disk": diskFS} {
		t.Run(name, func(t *testing.T) {
			st := openStore(t, fsys(t), nil)
			p := part(t, st, "raw", TopicConfig{})
			fill(t, p, 3)
			raw := slices.Concat(rawBatch(t, 2, nil), rawBatch(t, 5, func(h *codec.Header) { h.Attributes = uint16(compress.Zstd) }))
			was := slices.Clone(raw)
			r, err := p.AppendBatches(raw, AppendOptions{})
			require.NoError(t, err)
			require.Equal(t, was, raw)
			require.Equal(t, []int64{3, 9, 0}, []int64{r.BaseOffset, r.LastOffset, r.LogStartOffset})
			require.True(t, r.AppendTime.IsZero())
			require.False(t, r.Duplicate)
			require.NoError(t, r.Wait(ctx))
			require.Equal(t, int64(10), p.HighWatermark())
			require.Equal(t, []string{"v0", "v1", "v2", "v0", "v1", "v0", "v1", "v2", "v3", "v4"}, valuesOf(t, p))

			// As they came, but for base offset and leader epoch.
			var stored []byte
			rd := reader(t, p, ReaderOptions{From: At(3), UntilEnd: true})
			for range 2 {
				b, err := rd.Next(ctx)
				require.NoError(t, err)
				require.Equal(t, int32(0), codec.Batch(b.Bytes()).LeaderEpoch())
				stored = append(stored, b.Bytes()...)
			}
			first := len(rawBatch(t, 2, nil))
			for _, at := range []int{0, first} {
				require.NoError(t, codec.Batch(stored[at:at+int(binary.BigEndian.Uint32(stored[at+8:]))+12]).Check())
				clear(stored[at : at+8])
				clear(stored[at+12 : at+16])
				clear(was[at+12 : at+16])
			}
			require.Equal(t, was, stored)
			fill(t, p, 2)
			require.Equal(t, count(0, 12), offsetsOf(t, p, ReaderOptions{}))
		})
	}
}

// TestAppendBatchesGarbage: what a wrapper sends that is no good is refused with
// an error that says what, whole, and costs nobody else anything.
func TestAppendBatchesGarbage(t *testing.T) {
	st := openStore(t, vfs.NewMem(), nil)
	p := part(t, st, "raw", TopicConfig{MaxBatchBytes: 2000, SegmentBytes: 5000, Durability: Written})
	good := rawBatch(t, 3, nil)
	coders := compress.New()
	defer coders.Close()
	bomb := func() []byte {
		packed, err := coders.Append(make([]byte, codec.HeaderSize), make([]byte, 80<<20), compress.Zstd)
		require.NoError(t, err)
		require.Less(t, len(packed), 20_000)
		copy(packed, rawBatch(t, 3, func(h *codec.Header) { h.Attributes = uint16(compress.Zstd) })[:codec.HeaderSize])
		codec.Seal(packed)
		return packed
	}()
	i32 := func(v int32) []byte { return binary.BigEndian.AppendUint32(nil, uint32(v)) }
	i64 := func(v int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(v)) }
	marker := codec.AppendMarker(nil, codec.Header{LeaderEpoch: -1, ProducerID: 3}, true, 0)
	for _, c := range []struct {
		name string
		raw  []byte
		err  error
		says string
	}{
		{"nothing", nil, ErrInvalidRecord, "no batch"},
		{"zeros", make([]byte, 100), ErrCorrupt, "zero"},
		{"text", []byte("GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"), ErrCorrupt, ""},
		{"cut header", good[:40], ErrCorrupt, "cut"},
		{"cut record", good[:len(good)-1], ErrCorrupt, "cut"},
		{"more behind", append(slices.Clone(good), 1, 2, 3), ErrCorrupt, "cut"},
		{"zeros behind", append(slices.Clone(good), make([]byte, 64)...), ErrCorrupt, "zero"},
		{"length negative", patched(good, 8, i32(-5)...), ErrCorrupt, "length"},
		{"length huge", patched(good, 8, i32(math.MaxInt32)...), ErrCorrupt, "cut"},
		{"crc", func() []byte { b := slices.Clone(good); b[len(b)-1] ^= 1; return b }(), ErrCorrupt, "CRC"},
		{"magic 0", patched(good, 16, 0), ErrUnsupported, "0.11"},
		{"magic 1", patched(good, 16, 1), ErrUnsupported, "0.11"},
		{"magic 3", patched(good, 16, 3), ErrUnsupported, "magic"},
		{"codec 5", patched(good, 21, 0, 5), ErrUnsupported, "codec"},
		{"not zstd", patched(good, 21, 0, 4), ErrInvalidRecord, "zstd"},
		{"base offset", rawBatch(t, 3, func(h *codec.Header) { h.BaseOffset = 7 }), ErrInvalidRecord, "base offset 7"},
		{"base offset negative", patched(good, 0, i64(-1)...), ErrInvalidRecord, "base offset"},
		{"count 0", patched(good, 57, i32(0)...), ErrInvalidRecord, "count"},
		{"count negative", patched(good, 57, i32(-3)...), ErrInvalidRecord, "count"},
		{"count huge", patched(patched(good, 57, i32(math.MaxInt32)...), 23, i32(math.MaxInt32-1)...), ErrInvalidRecord, "count"},
		{"count one less", patched(good, 57, i32(2)...), ErrInvalidRecord, "count"},
		{"count and delta one more", patched(patched(good, 57, i32(4)...), 23, i32(3)...), ErrInvalidRecord, "record"},
		{"delta negative", patched(good, 23, i32(-1)...), ErrInvalidRecord, "delta"},
		{"delta of a record", func() []byte { b := slices.Clone(good); b[61+3] = 4; return patched(b, 0) }(), ErrInvalidRecord, "offset delta"},
		{"record length", patched(good, 61, 0x7f), ErrInvalidRecord, "length"},
		{"control", marker, ErrInvalidRecord, "control"},
		{"delete horizon", rawBatch(t, 3, func(h *codec.Header) { h.Attributes = codec.DeleteHorizonBit }), ErrInvalidRecord, "horizon"},
		{"no sequence", rawBatch(t, 3, func(h *codec.Header) { h.ProducerID, h.ProducerEpoch = 1, 0 }), ErrInvalidRecord, "sequence"},
		{"no epoch", rawBatch(t, 3, func(h *codec.Header) { h.ProducerID, h.BaseSequence = 1, 0 }), ErrInvalidRecord, "epoch"},
		{"transaction of nobody", rawBatch(t, 3, func(h *codec.Header) { h.Attributes = codec.TransactionalBit }), ErrInvalidRecord, "transactional"},
		{"transaction", rawBatch(t, 3, func(h *codec.Header) {
			h.Attributes, h.ProducerID, h.ProducerEpoch, h.BaseSequence = codec.TransactionalBit, 1, 0, 0
		}), ErrTxnState, "coordinates"},
		{"producer among others", rawBatch(t, 3, func(h *codec.Header) { h.ProducerID, h.ProducerEpoch, h.BaseSequence = 1, 0, 0 }), nil, ""},
		{"log append time", rawBatch(t, 3, func(h *codec.Header) { h.Attributes = codec.TimestampTypeBit }), ErrInvalidTimestamp, "LogAppendTime"},
		{"the future", rawBatch(t, 3, func(h *codec.Header) { h.BaseTimestamp = time.Now().Add(2 * time.Hour).UnixMilli() }), ErrInvalidTimestamp, "ahead"},
		{"too large", rawBatch(t, 300, nil), ErrRecordTooLarge, "max.message.bytes"},
		{"bomb", bomb, ErrRecordTooLarge, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			was := p.LogEndOffset()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if c.name == "bomb" {
				big := part(t, st, "bomb", TopicConfig{Durability: Written})
				_, err := big.AppendBatches(c.raw, AppendOptions{})
				require.ErrorIs(t, err, ErrRecordTooLarge)
				require.Zero(t, big.LogEndOffset())
			}
			if c.err != nil {
				_, err := p.AppendBatches(c.raw, AppendOptions{})
				require.ErrorIs(t, err, c.err)
				require.ErrorContains(t, err, c.says)
				var stored *CorruptError
				require.False(t, errors.As(err, &stored), "nothing stored is damaged")
			} else {
				c.err = ErrInvalidRecord
			}
			if len(c.raw) > 0 {
				_, err := p.AppendBatches(slices.Concat(good, c.raw), AppendOptions{})
				require.ErrorIs(t, err, c.err, "behind a good one")
				require.ErrorContains(t, err, "batch")
				require.Equal(t, was, p.LogEndOffset())
			}
			runtime.ReadMemStats(&after)
			if c.name != "bomb" {
				require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20), "a lie allocates nothing")
			}
			r, err := p.AppendBatches(good, AppendOptions{})
			require.NoError(t, err)
			require.Equal(t, was, r.BaseOffset)
		})
	}
	require.Equal(t, count(0, p.LogEndOffset()), offsetsOf(t, p, ReaderOptions{}))
	_, err := p.AppendBatches(slices.Repeat(good, 60), AppendOptions{})
	require.ErrorIs(t, err, ErrRecordTooLarge)
	require.ErrorContains(t, err, "segment.bytes")

	keyed := part(t, st, "keyed", TopicConfig{Cleanup: CleanupCompact})
	_, err = keyed.AppendBatches(good, AppendOptions{})
	require.NoError(t, err)
	b, err := codec.AppendBatch(nil, codec.NewHeader(0, []codec.Record{{Timestamp: 1}}), []codec.Record{{Timestamp: 1}}, nil)
	require.NoError(t, err)
	_, err = keyed.AppendBatches(b, AppendOptions{})
	require.ErrorIs(t, err, ErrInvalidRecord)

	for _, o := range []AppendOptions{{Durability: 9}, {Epoch: -1}, {Epoch: 1}, {Epoch: 1, Follower: true}} {
		_, err = p.AppendBatches(good, o)
		require.ErrorIs(t, err, ErrInvalidConfig, o)
	}
	_, err = p.AppendWith(ctx, AppendOptions{Follower: true}, Record{})
	require.ErrorIs(t, err, ErrInvalidConfig)
	_, err = p.AppendWith(ctx, AppendOptions{Epoch: 1}, Record{})
	require.ErrorIs(t, err, ErrInvalidConfig)
}

// TestFollowerGarbage: a follower refuses less, but nothing that its log could
// not have.
func TestFollowerGarbage(t *testing.T) {
	st := openStore(t, vfs.NewMem(), nil)
	p := part(t, st, "raw", TopicConfig{MaxBatchBytes: 100, SegmentBytes: 5000, External: ExternalEpochs})
	at := func(base int64, change func(h *codec.Header)) []byte {
		return rawBatch(t, 3, func(h *codec.Header) {
			h.BaseOffset, h.LeaderEpoch = base, 4
			if change != nil {
				change(h)
			}
		})
	}
	big := rawBatch(t, 30, nil)
	r, err := p.AppendBatches(slices.Concat(big, at(30, nil)), AppendOptions{Follower: true})
	require.NoError(t, err, "the limit is the leader's")
	require.NoError(t, r.Wait(ctx))
	badMarker := codec.AppendMarker(nil, codec.Header{BaseOffset: 33, LeaderEpoch: 4, ProducerID: 3}, true, 0)
	for name, c := range map[string]struct {
		raw []byte
		err error
	}{
		"nothing":       {nil, ErrInvalidRecord},
		"crc":           {func() []byte { b := at(33, nil); b[70] ^= 1; return b }(), ErrCorrupt},
		"cut":           {at(33, nil)[:70], ErrCorrupt},
		"below the end": {at(32, nil), ErrOffsetOutOfRange},
		"not rising":    {slices.Concat(at(40, nil), at(42, nil)), ErrInvalidRecord},
		"codec":         {at(33, nil)[:61:61], ErrCorrupt},
		"unknown codec": {patched(at(33, nil), 21, 0, 7), ErrUnsupported},
		"overflow":      {at(math.MaxInt64-2, nil), ErrInvalidRecord},
		"count":         {patched(at(33, nil), 57, 0, 0, 0, 4), ErrInvalidRecord},
		"marker":        {patched(badMarker[:len(badMarker)-1], 8, binary.BigEndian.AppendUint32(nil, uint32(len(badMarker)-13))...), ErrInvalidRecord},
		"too far apart": {slices.Concat(at(33, nil), at(33+math.MaxInt32, nil)), ErrRecordTooLarge},
	} {
		_, err := p.AppendBatches(c.raw, AppendOptions{Follower: true})
		require.ErrorIs(t, err, c.err, name)
		require.Equal(t, int64(33), p.LogEndOffset(), name)
	}
	_, err = p.AppendBatches(at(32, nil), AppendOptions{Follower: true})
	var o *OffsetError
	require.ErrorAs(t, err, &o)
	require.Equal(t, []int64{32, 33}, []int64{o.Offset, o.End})

	// Gaps, emptied batches and markers are what a follower meets.
	empty := at(50, func(h *codec.Header) { h.LastOffsetDelta = 9 })[:61:61]
	empty = patched(patched(empty, 8, 0, 0, 0, 49), 57, 0, 0, 0, 0)
	marker := codec.AppendMarker(nil, codec.Header{BaseOffset: 70, LeaderEpoch: 5, ProducerID: 3, BaseTimestamp: 9}, true, 0)
	r, err = p.AppendBatches(slices.Concat(at(40, nil), empty, marker), AppendOptions{Follower: true})
	require.NoError(t, err)
	require.Equal(t, []int64{40, 70}, []int64{r.BaseOffset, r.LastOffset})
	require.NoError(t, r.Wait(ctx))
	require.Equal(t, slices.Concat(count(0, 33), count(40, 43)), offsetsOf(t, p, ReaderOptions{}))
	require.Equal(t, []int64{41, 42}, offsetsOf(t, p, ReaderOptions{From: At(41)}))
	require.Equal(t, []int64{40, 41, 42}, offsetsOf(t, p, ReaderOptions{From: At(35)}))
	epoch, end := p.log.Load().EndOffsetForEpoch(4)
	require.Equal(t, []int64{4, 70}, []int64{int64(epoch), end})
}

// TestAppendResult: many appends are under way at once, and waited for later, by
// others, in any order.
func TestAppendResult(t *testing.T) {
	st := openStore(t, vfs.NewCrashMem(), nil)
	p := part(t, st, "raw", TopicConfig{SegmentBytes: 20_000})
	const callers, calls = 4, 60
	results := make(chan *AppendResult, callers*calls)
	raw := rawBatch(t, 3, nil)
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range calls {
				if (c+i)%5 == 0 {
					_, err := p.Append(ctx, Record{Value: []byte("plain")})
					require.NoError(t, err)
					continue
				}
				r, err := p.AppendBatches(raw, AppendOptions{})
				require.NoError(t, err)
				require.Equal(t, r.BaseOffset+2, r.LastOffset)
				results <- r
			}
		})
	}
	wg.Wait()
	close(results)
	var list []*AppendResult
	for r := range results {
		list = append(list, r)
	}
	slices.Reverse(list)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	for i := range list {
		wg.Go(func() {
			require.NoError(t, list[i].Wait(ctx))
			require.Greater(t, p.HighWatermark(), list[i].LastOffset)
			require.NoError(t, list[i].Wait(ended), "it holds already")
		})
	}
	wg.Wait()
	require.Equal(t, count(0, p.LogEndOffset()), offsetsOf(t, p, ReaderOptions{}))
	seen := map[int64]bool{}
	for _, r := range list {
		require.False(t, seen[r.BaseOffset])
		seen[r.BaseOffset] = true
	}
}

// TestAppendResultWaits: what Wait says when the log fails or is closed first.
func TestAppendResultWaits(t *testing.T) {
	m := vfs.NewCrashMem()
	st := openStore(t, m, nil)
	p := part(t, st, "raw", TopicConfig{FlushInterval: Unlimited})
	raw := rawBatch(t, 1, nil)
	durable, err := p.AppendBatches(raw, AppendOptions{})
	require.NoError(t, err)
	require.NoError(t, durable.Wait(ctx))

	ended, cancel := context.WithCancel(ctx)
	cancel()
	r, err := p.AppendBatches(raw, AppendOptions{})
	require.NoError(t, err)
	require.ErrorIs(t, r.Wait(ended), context.Canceled)
	require.Equal(t, int64(1), p.HighWatermark())
	written, err := p.AppendBatches(raw, AppendOptions{Durability: Written})
	require.NoError(t, err)
	require.NoError(t, written.Wait(ended), "nothing to wait for")
	require.Equal(t, int64(1), p.HighWatermark())

	f := &fault{op: vfs.OpSync, name: "raw-0/", err: syscall.EIO}
	m.SetHook(f.hook)
	f.on.Store(true)
	require.ErrorIs(t, r.Wait(ctx), ErrFailed)
	require.ErrorIs(t, r.Wait(ctx), ErrFailed)
	require.NoError(t, durable.Wait(ctx))
	_, err = p.AppendBatches(raw, AppendOptions{})
	require.ErrorIs(t, err, ErrFailed)
	f.on.Store(false)
	require.NoError(t, p.Reopen(ctx))
	require.ErrorIs(t, r.Wait(ctx), ErrFailed, "of the log that failed")

	r, err = p.AppendBatches(raw, AppendOptions{})
	require.NoError(t, err)
	late := part(t, st, "late", TopicConfig{FlushInterval: Unlimited})
	gone, err := late.AppendBatches(raw, AppendOptions{})
	require.NoError(t, err)
	require.NoError(t, st.DeleteTopic(ctx, "late"))
	require.ErrorIs(t, gone.Wait(ctx), ErrUnknownTopic)
	require.NoError(t, st.Close())
	require.NoError(t, r.Wait(ctx), "the close made it durable")
	_, err = p.AppendBatches(raw, AppendOptions{})
	require.ErrorIs(t, err, ErrClosed)
	require.NoError(t, new(AppendResult).Wait(ctx))
}

// TestAppendResultAbandoned: who does not wait leaves it to the flush timer.
func TestAppendResultAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := OpenMem(nil)
		require.NoError(t, err)
		p := part(t, st, "raw", TopicConfig{FlushInterval: 3 * time.Second})
		_, err = p.AppendBatches(rawBatch(t, 1, func(h *codec.Header) { h.BaseTimestamp = 1 }), AppendOptions{})
		require.NoError(t, err)
		require.Zero(t, p.HighWatermark())
		time.Sleep(3*time.Second + time.Millisecond)
		synctest.Wait()
		require.Equal(t, int64(1), p.HighWatermark())
		require.NoError(t, st.Close())
	})
}

// TestRawCodec: the topic's codec is that of what is stored.
func TestRawCodec(t *testing.T) {
	st := openStore(t, vfs.NewMem(), nil)
	for _, topic := range []Compression{None, Gzip, Snappy, LZ4, Zstd} {
		p := part(t, st, fmt.Sprintf("raw-%s", topic), TopicConfig{Compression: topic, Durability: Written})
		for _, client := range []Compression{None, Gzip, Snappy, LZ4, Zstd} {
			raw := slices.Concat(rawBatch(t, 100, nil), rawBatch(t, 50, func(h *codec.Header) {
				h.Attributes = uint16(client)
				h.MaxTimestamp = 77 // which is not true
			}), rawBatch(t, 20, func(h *codec.Header) { h.Attributes = uint16(Zstd) }))
			was := slices.Clone(raw)
			r, err := p.AppendBatches(raw, AppendOptions{})
			require.NoError(t, err)
			require.Equal(t, was, raw)
			rd := reader(t, p, ReaderOptions{From: At(r.BaseOffset), UntilEnd: true})
			for i, n := range []int{100, 50, 20} {
				b, err := rd.Next(ctx)
				require.NoError(t, err)
				want := []Compression{None, client, Zstd}[i]
				if topic != None {
					want = topic
				}
				c := codec.Batch(b.Bytes())
				require.Equal(t, want, c.Compression(), "%s in %s", client, topic)
				require.Equal(t, 1_700_000_000_000+int64(n-1), c.MaxTimestamp(), "the true one")
				k := 0
				for rec, err := range b.Records() {
					require.NoError(t, err)
					require.Equal(t, fmt.Sprintf("v%d", k), string(rec.Value))
					require.Equal(t, 1_700_000_000_000+int64(k), rec.Timestamp.UnixMilli())
					k++
				}
				require.Equal(t, n, k)
			}
		}
	}
	// A batch that grows is measured again.
	raw := rawBatch(t, 1, nil)
	p := part(t, st, "small", TopicConfig{Compression: Snappy, MaxBatchBytes: int32(len(raw)), Durability: Written})
	_, err := p.AppendBatches(raw, AppendOptions{})
	require.ErrorIs(t, err, ErrRecordTooLarge)
	require.Zero(t, p.LogEndOffset())
}

// TestRawProducer: a producer's second sending is found, and is found after a
// restart; another sequence or epoch is an error.
func TestRawProducer(t *testing.T) {
	for _, crash := range []bool{false, true} {
		t.Run(fmt.Sprintf("crash=%v", crash), func(t *testing.T) {
			m := vfs.NewCrashMem()
			st, err := openFS(m, nil)
			require.NoError(t, err)
			p := part(t, st, "raw", TopicConfig{SegmentBytes: 2048, Timestamps: LogAppendTime})
			batch := func(epoch int16, sequence int32) []byte {
				return rawBatch(t, 5, func(h *codec.Header) { h.ProducerID, h.ProducerEpoch, h.BaseSequence = 7, epoch, sequence })
			}
			var first []*AppendResult
			for i := range int32(30) {
				r, err := p.AppendBatches(batch(2, 5*i), AppendOptions{})
				require.NoError(t, err)
				require.NoError(t, r.Wait(ctx))
				require.Equal(t, int64(5*i), r.BaseOffset)
				require.False(t, r.AppendTime.IsZero())
				first = append(first, r)
			}
			again := func(i int32) {
				r, err := p.AppendBatches(batch(2, 5*i), AppendOptions{})
				require.NoError(t, err)
				require.True(t, r.Duplicate)
				require.Equal(t, first[i].BaseOffset, r.BaseOffset)
				require.Equal(t, first[i].LastOffset, r.LastOffset)
				require.Equal(t, first[i].AppendTime.UnixMilli(), r.AppendTime.UnixMilli())
				require.NoError(t, r.Wait(ctx))
				require.Equal(t, int64(150), p.LogEndOffset())
			}
			for i := int32(25); i < 30; i++ {
				again(i)
			}
			refused := func() {
				for _, c := range []struct {
					epoch    int16
					sequence int32
					err      error
				}{
					{2, 24 * 5, ErrOutOfOrderSequence}, // the sixth
					{2, 151, ErrOutOfOrderSequence},
					{2, 0, ErrOutOfOrderSequence},
					{1, 150, ErrFenced},
					{3, 150, ErrOutOfOrderSequence},
				} {
					_, err := p.AppendBatches(batch(c.epoch, c.sequence), AppendOptions{})
					require.ErrorIs(t, err, c.err, c)
				}
				require.Equal(t, int64(150), p.LogEndOffset())
			}
			refused()
			if crash {
				m = m.Snapshot()
			} else {
				require.NoError(t, st.Close())
			}
			old := st
			if st, err = openFS(m, nil); crash {
				defer old.Close()
			}
			require.NoError(t, err)
			p = reopened(t, st, "raw")
			again(29)
			refused()
			r, err := p.AppendBatches(batch(3, 0), AppendOptions{})
			require.NoError(t, err)
			require.Equal(t, int64(150), r.BaseOffset)
			require.NoError(t, st.Close())
		})
	}
}

// TestAppendEpoch: a wrapper says which leader epoch holds.
func TestAppendEpoch(t *testing.T) {
	for _, k := range []Compression{None, Zstd} {
		m := vfs.NewMem()
		st, err := openFS(m, nil)
		require.NoError(t, err)
		p := part(t, st, "raw", TopicConfig{External: ExternalEpochs, Compression: k})
		raw := rawBatch(t, 2, nil)
		add := func(epoch int32) error {
			if p.LogEndOffset()%3 == 0 {
				_, err := p.AppendWith(ctx, AppendOptions{Epoch: epoch}, Record{})
				return err
			}
			r, err := p.AppendBatches(raw, AppendOptions{Epoch: epoch})
			if err == nil {
				err = r.Wait(ctx)
			}
			return err
		}
		for _, e := range []int32{0, 0, 3, 3, 0, 9} { // offsets 0, 1-2, 3, 4-5, 6, 7-8
			require.NoError(t, add(e))
		}
		for range 2 {
			require.ErrorIs(t, add(8), ErrStaleEpoch)
			require.ErrorIs(t, add(1), ErrStaleEpoch)
			_, err = p.AppendBatches(raw, AppendOptions{Epoch: 8})
			require.ErrorIs(t, err, ErrStaleEpoch)
			require.Equal(t, int64(9), p.LogEndOffset())
			var epochs []int32
			rd := reader(t, p, ReaderOptions{UntilEnd: true})
			for range 6 {
				b, err := rd.Next(ctx)
				require.NoError(t, err)
				epochs = append(epochs, codec.Batch(b.Bytes()).LeaderEpoch())
			}
			require.Equal(t, []int32{0, 0, 3, 3, 3, 9}, epochs)
			l := p.log.Load()
			for _, want := range [][3]int64{{0, 0, 3}, {2, 0, 3}, {3, 3, 7}, {9, 9, 9}, {10, -1, -1}} {
				epoch, end := l.EndOffsetForEpoch(int32(want[0]))
				require.Equal(t, want, [3]int64{want[0], int64(epoch), end})
			}
			require.NoError(t, rd.Close())
			require.NoError(t, st.Close())
			st, err = openFS(m, nil)
			require.NoError(t, err)
			p = reopened(t, st, "raw")
		}
		require.NoError(t, st.Close())
	}
}
