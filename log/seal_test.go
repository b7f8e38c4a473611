package log

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/segment"
)

// TestSealedInTime: what was rolled is sealed soon, however its records were
// made durable.
func TestSealedInTime(t *testing.T) {
	for name, c := range map[string]struct {
		cfg Config
		d   Durability
	}{
		"synced":                  {Config{Durability: Synced}, Synced},
		"synced, appends not":     {Config{Durability: Synced}, Written},
		"written":                 {Config{Durability: Written}, Written},
		"written, appends synced": {Config{Durability: Written}, Synced},
		"written, by bytes":       {Config{Durability: Written, FlushBytes: 1}, Written},
		"written, no timer":       {Config{Durability: Written, FlushInterval: -1}, Written},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.cfg.SegmentBytes = 1 << 10
				g := newRig(t, WriterMapped, true, c.cfg)
				l := g.open()
				for range 10 {
					_, err := l.Append(context.Background(), []Record{{Value: make([]byte, 600)}}, c.d)
					require.NoError(t, err)
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				segs := l.Segments()
				require.Len(t, segs, 10)
				for _, s := range segs[:9] {
					_, err := g.fs.Stat(segment.Join(l.Dir(), segment.FileName(s.BaseOffset, segment.IndexSuffix)))
					require.NoError(t, err)
				}
				require.EqualValues(t, 10, l.LogEndOffset())
			})
		})
	}
}
