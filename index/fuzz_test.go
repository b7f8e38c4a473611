package index

import (
	"errors"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// Any bytes may be opened, looked up and checked. What the strict check lets
// pass is found again entry by entry, and written by a builder as it was.

func FuzzOffsets(f *testing.F) {
	f.Add(int64(500), []byte{}, int64(1))
	f.Fuzz(func(t *testing.T, base int64, b []byte, target int64) {
		o := OpenOffsets(base, b)
		before := slices.Clone(b)
		o.Lookup(target)
		o.FirstAtOrAfterPosition(target)
		o.Last()
		_ = o.CheckKafka()
		require.LessOrEqual(t, o.Written().Len(), o.Len())
		if err := o.Check(1<<31, target); err != nil {
			require.True(t, errors.Is(err, ErrCorrupt))
			return
		}
		builder := NewOffsetBuilder(base, o.Len())
		for i := range o.Len() {
			offset, position := o.Entry(i)
			require.NoError(t, builder.Append(offset, position))
			at, pos := o.Lookup(offset)
			require.Equal(t, [2]int64{offset, position}, [2]int64{at, pos})
			upper, ok := o.FirstAtOrAfterPosition(position)
			require.True(t, ok)
			require.Equal(t, offset, upper)
		}
		require.Equal(t, before, append([]byte{}, builder.Bytes()...))
	})
}

func FuzzTimes(f *testing.F) {
	f.Add(int64(500), []byte{}, int64(1))
	f.Fuzz(func(t *testing.T, base int64, b []byte, target int64) {
		v := OpenTimes(base, b)
		before := slices.Clone(b)
		v.Lookup(target)
		v.Last()
		_ = v.CheckKafka()
		require.LessOrEqual(t, v.Written().Len(), v.Len())
		if err := v.Check(target); err != nil {
			require.True(t, errors.Is(err, ErrCorrupt))
			return
		}
		builder := NewTimeBuilder(base, v.Len()+1)
		for i := range v.Len() {
			timestamp, offset := v.Entry(i)
			require.NoError(t, builder.MaybeAppend(timestamp, offset, false))
			found, at := v.Lookup(timestamp)
			require.Equal(t, [2]int64{timestamp, offset}, [2]int64{found, at})
		}
		require.Equal(t, before, append([]byte{}, builder.Bytes()...))
	})
}

func FuzzTxns(f *testing.F) {
	f.Add([]byte{}, int64(500), int64(1))
	f.Fuzz(func(t *testing.T, b []byte, base, upper int64) {
		v := OpenTxns(b)
		before := slices.Clone(b)
		list, _ := v.Collect(base, upper, nil)
		require.LessOrEqual(t, len(list), v.Len())
		_ = v.CheckKafka(base)
		if err := v.Check(base, upper); err != nil {
			require.True(t, errors.Is(err, ErrCorrupt))
			return
		}
		builder := NewTxnBuilder()
		for a := range v.All() {
			require.NoError(t, builder.Append(a))
		}
		require.Equal(t, before, append([]byte{}, builder.Bytes()...))
	})
}
