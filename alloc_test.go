//go:build !race && !leatdebug

package leat

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// TestAllocations: neither a literal append nor reading allocates, so that a busy
// log gives the collector nothing to do.
func TestAllocations(t *testing.T) {
	for name, fsys := range map[string]func(*testing.T) vfs.FS{"memory": memFS, "disk": diskFS} {
		t.Run(name, func(t *testing.T) {
			st := openStore(t, fsys(t), nil)
			p := part(t, st, "allocs", TopicConfig{Durability: Written})
			key, value := []byte("key"), make([]byte, 100)
			zero := func(what string, runs int, f func()) {
				t.Helper()
				require.Zero(t, testing.AllocsPerRun(runs, f), what)
			}
			// A memory file allocates for a write call, a file for its sync.
			var write, sync float64
			if name == "memory" {
				write = 1
			}
			sync = write + 2
			atMost := func(most float64, what string, runs int, f func()) {
				t.Helper()
				require.LessOrEqual(t, testing.AllocsPerRun(runs, f), most, what)
			}
			atMost(write, "append", 2000, func() {
				if _, err := p.Append(ctx, Record{Key: key, Value: value}); err != nil {
					t.Error(err)
				}
			})
			at := at(0)
			many := make([]Record, 100)
			for i := range many {
				many[i] = Record{Value: value, Timestamp: at}
			}
			atMost(write, "append of 100", 200, func() {
				if _, err := p.Append(ctx, many...); err != nil {
					t.Error(err)
				}
			})
			synced := AppendOptions{Durability: Synced}
			atMost(sync, "synced append", 100, func() {
				if _, err := p.AppendWith(ctx, synced, Record{Value: value}); err != nil {
					t.Error(err)
				}
			})

			raw := rawBatch(t, 100, nil)
			atMost(write+1, "raw append", 200, func() {
				if _, err := p.AppendBatches(raw, AppendOptions{}); err != nil {
					t.Error(err)
				}
			})

			r := reader(t, p, ReaderOptions{})
			var sum int64
			zero("batch by batch", 1000, func() {
				b, err := r.Next(ctx)
				if err != nil {
					t.Error(err)
				}
				for rec, err := range b.Records() {
					if err != nil {
						t.Error(err)
					}
					sum += rec.Offset
				}
			})
			require.NoError(t, r.SeekTo(0))
			// Seeking opens an index, and a memory file allocates for a read call.
			atMost(10_000/100, "10,000 records", 1, func() {
				if err := r.SeekTo(0); err != nil {
					t.Error(err)
				}
				n := 0
				for rec, err := range r.Records(ctx) {
					if err != nil {
						t.Error(err)
					}
					sum += int64(len(rec.Value))
					if n++; n == 10_000 {
						break
					}
				}
			})

			zipped := part(t, st, "zipped", TopicConfig{Compression: LZ4})
			for range 20 {
				_, err := zipped.Append(ctx, many...)
				require.NoError(t, err)
			}
			r = reader(t, zipped, ReaderOptions{})
			zero("compressed", 15, func() {
				b, err := r.Next(ctx)
				if err != nil {
					t.Error(err)
				}
				for rec, err := range b.Records() {
					if err != nil {
						t.Error(err)
					}
					sum += rec.Offset
				}
			})
		})
	}
}
