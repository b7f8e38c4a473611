package log_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/golden"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
	"github.com/leatlog/leat/segment"
)

// The transaction index that Kafka's recovery makes of each damaged segment of
// golden/corrupt: it takes the scan of package segment and the producer state of
// this one.
func TestGoldenCorruptTxns(t *testing.T) {
	var all golden.CorruptSegments
	golden.JSON(t, &all, "corrupt", "segments.json")
	aborted := 0
	for _, c := range all.Cases {
		if c.RecoverThrows != "" || !golden.Has("corrupt", "segments", c.Name+".log") {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			m := vfs.NewMem()
			require.NoError(t, m.Mkdir("t-0"))
			f, err := m.Create(segment.Join("t-0", segment.FileName(all.SegmentBaseOffset, segment.LogSuffix)))
			require.NoError(t, err)
			_, err = f.WriteAt(golden.Bytes(t, "corrupt", "segments", c.Name+".log"), 0)
			require.NoError(t, err)
			require.NoError(t, f.Close())

			s := segment.Open(m, segment.NewMaps(0), "t-0", all.SegmentBaseOffset, 0, segment.Config{
				IndexBytes: 1 << 20, IndexInterval: int(all.IndexIntervalBytes)})
			p := log.NewProducers()
			r, err := s.Scan(segment.ScanOptions{Kafka: true, Each: func(r *segment.Scan, _ int64, b codec.Batch) error {
				if b.ProducerID() < 0 {
					return nil
				}
				var control *codec.Control
				if k, ok, err := codec.DecodeControl(b); err == nil && ok {
					control = &k
				}
				done, err := p.Update(b, control)
				if err != nil || done == nil || !done.Aborted {
					return err
				}
				return r.AbortedTxn(index.AbortedTxn{ProducerID: done.ProducerID, FirstOffset: done.FirstOffset,
					LastOffset: done.LastOffset, LastStableOffset: p.LastStableAfter(*done)})
			}})
			require.NoError(t, err)
			require.Equal(t, c.ValidBytes, r.Valid)
			_, _, txns := r.Indexes()
			got := []golden.AbortedTxn{}
			for a := range txns.All() {
				got = append(got, golden.AbortedTxn(a))
			}
			require.Equal(t, c.TxnIndex, got)
			aborted += len(got)
		})
	}
	require.Positive(t, aborted)
}
