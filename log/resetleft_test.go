package log

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// TestResetAfterFailedDeletion: what a deletion could not remove is removed for
// good before a reset lowers the durable mark, whatever a power cut leaves of it.
func TestResetAfterFailedDeletion(t *testing.T) {
	g := newRig(t, WriterMapped, true, smallSegments)
	require.NoError(t, g.fs.SyncDir("."))
	g.fillMarked(40)
	l := g.log
	mem := g.fs.(*vfs.Mem)
	mem.SetHook(func(op vfs.Op, name string, before bool) error {
		if before && op == vfs.OpRemove && strings.HasSuffix(name, ".log") {
			return errors.New("not now")
		}
		return nil
	})
	_, err := l.DeleteRecords(context.Background(), 21)
	require.Error(t, err)
	require.NotEmpty(t, l.retain.left())
	require.EqualValues(t, 21, l.LogStartOffset())

	words := func() [8]uint64 { return NewMarks(g.st.Marks.w, nil).snapshot() }
	var states atomic.Int64 // the helper that makes the road comes by too
	mem.SetHook(func(op vfs.Op, name string, before bool) error {
		if !before || !op.Mutates() {
			return nil
		}
		d := mem.Dirty()
		now := words()
		for _, c := range vfs.Choices(d, 3, 5) {
			tree := d.Clone(c)
			env := NewEnv(EnvOptions{FS: tree})
			mine := now
			again, rep, err := Open(env, g.dir, g.cfg, OpenState{RecoveryPoint: l.RecoveryPoint(), StartOffset: -1, HighWatermark: -1,
				Marks: NewMarks(&mine, nil), MarksValid: true})
			require.NoError(t, err, "%v %s: %v", op, name, c)
			require.Nil(t, rep.Damage, "%v %s: %v", op, name, c)
			if start := again.LogStartOffset(); start != 21 {
				require.EqualValues(t, 5, start, "%v %s: %v", op, name, c)
				require.Equal(t, start, again.LogEndOffset(), "%v %s: %v", op, name, c)
			}
			again.Abandon()
			env.Close()
			states.Add(1)
		}
		return nil
	})
	release, err := l.HoldDeletions(context.Background())
	require.NoError(t, err)
	require.NoError(t, l.ResetTo(5, nil))
	release()
	mem.SetHook(nil)
	require.Greater(t, states.Load(), int64(20))
	require.EqualValues(t, 5, l.LogStartOffset())
	require.EqualValues(t, 5, l.LogEndOffset())
	require.Len(t, names(g.files(), ".log"), 1)
}
