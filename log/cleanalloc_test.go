//go:build !race

package log

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
)

// TestCleanAllocates: batches are mapped and copied without making garbage, also
// those that are written anew.
func TestCleanAllocates(t *testing.T) {
	g := newRules(t)
	for _, line := range []string{"a=1 b=1 c=1 d=1", "zstd a=1 b=1 c=1 d=1"} {
		raw := codec.Batch(scriptBatch(t, g.log, line))
		c := &cleaner{l: g.log, o: ruleOptions(), upper: 100, hash: newKeyHash(), txns: newCleanedTxns(), keys: newKeyMap(1000, 10), out: &bigOut{}}
		defer c.release()
		require.True(t, c.keys.put(c.hash.sum([]byte("b")), 50))
		c.latest = 10
		pass := func() {
			c.left = 1 << 20
			if _, err := c.copyBatch(raw); err != nil || codec.Batch(c.raw).RecordCount() >= raw.RecordCount() {
				t.Fatal(err)
			}
			c.raw, c.run = c.raw[:0], c.run[:0]
			if _, err := c.mapBatch(raw); err != nil || !c.keys.put(c.hash.sum([]byte("b")), 50) {
				t.Fatal(err)
			}
		}
		pass()
		require.Less(t, testing.AllocsPerRun(100, pass), 1.0, line)
	}
}
