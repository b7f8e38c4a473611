package log

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// TestTruncatedSegmentsAreShut: who comes when a truncation, or a reset, has told
// of itself cannot pin any more what it takes away: it would read the records of
// before in the new generation.
func TestTruncatedSegmentsAreShut(t *testing.T) {
	for name, shorten := range map[string]func(l *Log) error{
		"truncate": func(l *Log) error { return l.TruncateTo(13, nil) },
		"reset":    func(l *Log) error { return l.ResetTo(3, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, WriterPwrite, true, smallSegments)
			g.open()
			g.add(40, Synced)
			l := g.log
			before := l.Generation()
			var looked atomic.Int32
			g.fs.(*vfs.Mem).SetHook(func(op vfs.Op, _ string, first bool) error {
				if first && op == vfs.OpRemove && l.Generation() != before {
					for _, s := range l.segments.Load().segs {
						if s.Base() > 13 || name == "reset" {
							require.ErrorIs(t, s.Pin(), segment.ErrClosed)
							looked.Add(1)
						}
					}
				}
				return nil
			})
			require.NoError(t, shorten(l))
			g.fs.(*vfs.Mem).SetHook(nil)
			require.NotZero(t, looked.Load())
		})
	}
}

// TestDoubt: what looks like damage while a truncation moves the ends is judged
// when that is over.
func TestDoubt(t *testing.T) {
	g := newRig(t, WriterPwrite, true, smallSegments)
	g.open()
	g.add(10, Synced)
	l := g.log
	c := l.NewCursor(5)
	defer c.Close()
	seeming := &segment.CorruptError{Path: "x"}

	l.writing.Lock()
	told := make(chan error, 1)
	go func() { told <- c.unlessStale(seeming) }()
	yield(turns)
	l.nextGeneration(7)
	l.unlock()
	require.Equal(t, ErrTruncated, <-told)

	require.NoError(t, c.Truncated())
	require.Equal(t, error(seeming), c.unlessStale(seeming), "no truncation: it is damage")
}

// TestDisprovedEpoch: a truncation that was killed when it had noted its epoch,
// and not cut anything, did not happen: the records are there, of their epoch.
func TestDisprovedEpoch(t *testing.T) {
	g := newRig(t, WriterPwrite, true, smallSegments)
	g.open()
	g.add(40, Synced)
	var e Epochs
	g.log.Abandon()
	e.Assign(0, 0)
	e.Assign(1, 33)
	g.putFile(epochsName, e.Append(nil))
	g.st = OpenState{RecoveryPoint: 0, StartOffset: -1, HighWatermark: -1}
	l := g.open()
	require.EqualValues(t, 40, l.LogEndOffset())
	epoch, end := l.EndOffsetForEpoch(0)
	require.Equal(t, []int64{0, 40}, []int64{int64(epoch), end})
	kept, err := ParseEpochs(g.getFile(epochsName))
	require.NoError(t, err)
	require.Equal(t, []EpochEntry{{0, 0}, {2, 40}}, kept.Entries(), "it may have been longer")
}
