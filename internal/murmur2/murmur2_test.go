package murmur2

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/golden"
)

func TestKafka(t *testing.T) {
	var m golden.Murmur2
	golden.JSON(t, &m, "murmur2.json")
	require.NotEmpty(t, m.Keys)
	for _, k := range m.Keys {
		require.Equal(t, k.Murmur2, Sum(k.Key), "%x", k.Key)
		require.Equal(t, k.ToPositive, Sum(k.Key)&0x7fffffff, "%x", k.Key)
		for i, n := range m.PartitionCounts {
			require.Equal(t, k.Partitions[i], Partition(k.Key, n), "%x of %d", []byte(k.Key), n)
		}
	}
}

func TestSlices(t *testing.T) {
	require.Equal(t, Sum([]byte{}), Sum(nil))
	// The hash reads whole words: it must not read what lies behind the key.
	backing := []byte("abcdefgh")
	for n := range backing {
		require.Equal(t, Sum([]byte(string(backing[:n]))), Sum(backing[:n]))
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { Partition(backing, 7) }))
}

func BenchmarkSum(b *testing.B) {
	key := []byte("203.0.113.195")
	b.SetBytes(int64(len(key)))
	b.ReportAllocs()
	for b.Loop() {
		Sum(key)
	}
}
