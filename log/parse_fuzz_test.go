package log

import (
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// Any bytes may be given to the parsers of the small files. What they accept
// comes out the same after writing and reading again.

func FuzzOffsetCheckpoint(f *testing.F) {
	f.Add([]byte("0\n1\norders 3 570\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		offsets, err := ParseOffsetCheckpoint(b)
		if err != nil {
			require.True(t, errors.Is(err, ErrCheckpoint))
			return
		}
		again, err := ParseOffsetCheckpoint(AppendOffsetCheckpoint(nil, offsets))
		require.NoError(t, err)
		require.Equal(t, offsets, again)
	})
}

func FuzzEpochs(f *testing.F) {
	f.Add([]byte("0\n2\n0 0\n3 120\n"), int32(2), int64(50))
	f.Fuzz(func(t *testing.T, b []byte, epoch int32, offset int64) {
		e, err := ParseEpochs(b)
		if err != nil {
			require.True(t, errors.Is(err, ErrCheckpoint))
			return
		}
		sorted := func() {
			list := e.Entries()
			for i, entry := range list {
				require.True(t, entry.Epoch >= 0 && entry.StartOffset >= 0)
				require.True(t, i == 0 || entry.Epoch > list[i-1].Epoch && entry.StartOffset > list[i-1].StartOffset)
			}
			again, err := ParseEpochs(e.Append(nil))
			require.NoError(t, err)
			require.ElementsMatch(t, list, again.Entries())
		}
		sorted()
		e.EndOffset(epoch, offset)
		e.At(offset)
		e.Assign(epoch, offset)
		sorted()
		e.TruncateFromStart(offset / 2)
		sorted()
		e.TruncateFromEnd(offset)
		sorted()
	})
}

func FuzzSnapshot(f *testing.F) {
	f.Add(AppendSnapshot(nil, nil), false)
	f.Add(AppendSnapshot(nil, []ProducerSnapshot{{ProducerID: 7, CurrentTxnFirstOffset: 5}}), false)
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		if seal && len(b) >= snapshotHeaderSize {
			b = sealSnapshot(append([]byte{}, b...)) // or nearly nothing gets past the CRC
		}
		list, err := ParseSnapshot(b)
		if err != nil {
			require.True(t, errors.Is(err, ErrSnapshot))
			return
		}
		require.Equal(t, b, AppendSnapshot(nil, list))
		p := NewProducers()
		p.Load(list, 0, math.MaxInt64)
		require.LessOrEqual(t, p.Len(), len(list))
		q := NewProducers()
		q.Load(p.Snapshot(), math.MaxInt64, math.MaxInt64)
		require.LessOrEqual(t, p.LastStableOffset(100), int64(100))
	})
}
