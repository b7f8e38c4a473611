package log

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/segment"
)

// fuzzBatches are three small batches from offset 0 on, of which the last two are
// an aborted transaction.
func fuzzBatches() []byte {
	coders := compress.New()
	defer coders.Close()
	rs := []codec.Record{{Offset: 0, Timestamp: 5, Key: []byte("k"), Value: []byte("v")}, {Offset: 1, Timestamp: 7}}
	b, err := codec.AppendBatch(nil, codec.NewHeader(0, rs), rs, coders)
	if err != nil {
		panic(err)
	}
	rs = []codec.Record{{Offset: 2, Timestamp: 9, Value: []byte("aborted")}}
	h := codec.NewHeader(2, rs)
	h.ProducerID, h.ProducerEpoch, h.BaseSequence, h.Attributes = 7, 0, 0, codec.TransactionalBit
	if b, err = codec.AppendBatch(b, h, rs, coders); err != nil {
		panic(err)
	}
	m := codec.NewHeader(3, nil)
	m.ProducerID, m.ProducerEpoch = 7, 0
	return codec.AppendMarker(b, m, false, 0)
}

// FuzzOpen opens a folder of whatever bytes. It may refuse, recover or call it
// damaged; it does not panic, loop or lose what it has just said is there.
func FuzzOpen(f *testing.F) {
	good := fuzzBatches()
	aborted := abortedTxn{ProducerID: 7, FirstOffset: 2, LastOffset: 3, LastStableOffset: 4}.Append(nil)
	epochs, sums := []byte("0\n1\n0 0\n"), (&Sums{Dense: 0}).format()
	f.Add(int64(-1), false, good, []byte{}, []byte{}, []byte{}, aborted, []byte{}, epochs, sums)
	f.Add(int64(4), true, good, []byte{}, []byte{}, []byte{}, aborted, AppendSnapshot(nil, nil), epochs, sums)
	f.Add(int64(2), false, good[:len(good)-5], good, []byte{0, 0, 0, 1, 0, 0, 0, 0}, []byte{}, aborted, []byte{}, epochs, []byte{})
	f.Add(int64(0), false, append(good[:len(good):len(good)], make([]byte, 100)...), []byte{}, []byte{}, []byte{}, []byte{}, []byte{}, []byte{}, sums)
	f.Fuzz(func(t *testing.T, mark int64, clean bool, first, second, offsets, times, txns, snapshot, epochs, sums []byte) {
		g := newRig(t, WriterPwrite, true, Config{SegmentBytes: 1 << 20, IndexInterval: 1, ProducerExpiration: -1})
		g.st = OpenState{Clean: clean, RecoveryPoint: mark, StartOffset: -1, HighWatermark: -1}
		put := func(base int64, suffix string, b []byte) {
			if len(b) > 0 {
				g.putFile(segment.FileName(base, suffix), b)
			}
		}
		put(0, segment.LogSuffix, first)
		put(4, segment.LogSuffix, second)
		put(0, segment.IndexSuffix, offsets)
		put(0, segment.TimeSuffix, times)
		put(0, segment.TxnSuffix, txns)
		put(4, segment.SnapshotSuffix, snapshot)
		if len(epochs) > 0 {
			g.putFile(epochsName, epochs)
		}
		if len(sums) > 0 {
			g.putFile(sumsName, sums)
		}
		l, rep, err := g.tryOpen()
		if err != nil {
			return
		}
		g.log = l
		require.Equal(t, l.Damage(), rep.Damage)
		n, seen := readFuzzed(t, l)
		if segs := l.Segments(); rep.Damage == nil && rep.SegmentsScanned == len(segs) && segs[len(segs)-1].Size > 0 {
			require.Equal(t, l.LogEndOffset(), n)
		}
		_, _, _, _ = l.OffsetForTimestamp(6)
		_, _, _, _ = l.OffsetForMaxTimestamp()
		_, _ = l.AbortedTxns(0, noOffset, nil)
		_, err = l.Append(context.Background(), make([]Record, 1), Synced)
		if rep.Damage != nil {
			require.ErrorIs(t, err, ErrCorrupt)
		}
		appended := err == nil
		require.NoError(t, l.Close())
		if rep.Damage != nil {
			return
		}
		require.True(t, l.Clean())
		g.st.Clean, g.st.RecoveryPoint = true, l.RecoveryPoint()
		end := l.LogEndOffset()
		l = g.open()
		require.Equal(t, end, l.LogEndOffset())
		if _, again := readFuzzed(t, l); appended {
			require.Equal(t, seen+1, again)
		}
	})
}

// readFuzzed reads what can be read, going around what cannot. It returns where
// that ends and how many batches there were.
func readFuzzed(t *testing.T, l *Log) (next int64, batches int) {
	c := l.NewCursor(l.LogStartOffset())
	defer c.Close()
	next = l.LogStartOffset()
	for range 10_000 {
		b, err := c.Next(l.LogEndOffset())
		var ce *segment.CorruptError
		switch {
		case err == nil:
			require.Greater(t, b.NextOffset(), next-1)
			next = b.NextOffset()
			batches++
		case errors.Is(err, ErrWait), errors.Is(err, ErrUnsupported):
			return next, batches
		case errors.As(err, &ce):
			if c.Offset() >= l.LogEndOffset() {
				return next, batches
			}
			c.SeekTo(c.Offset() + 1)
		default:
			t.Fatal(err)
		}
	}
	return next, batches
}

// FuzzSums: a sums file says something or nothing, and what it says is written
// as it was read.
func FuzzSums(f *testing.F) {
	s := Sums{Dense: 570, Files: map[string]segment.FileSum{}}
	for _, suffix := range []string{segment.LogSuffix, segment.IndexSuffix, segment.TxnSuffix} {
		name := segment.FileName(7, suffix)
		s.Files[name] = segment.FileSum{Name: name, Size: 1234, CRC: 0xdeadbeef}
	}
	f.Add(s.format())
	f.Add([]byte(sumsHeader))
	f.Add(append(s.format(), s.format()[:100]...))
	f.Add([]byte(sumsHeader + "00000000 dense -1\nxxxxxxxx y\n 1 2\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := ParseSums(b)
		for name, f := range s.Files {
			require.Equal(t, name, f.Name)
			require.GreaterOrEqual(t, f.Size, int64(0))
		}
		if s.Dense == noOffset {
			return
		}
		require.Equal(t, s, ParseSums(s.format()))
	})
}
