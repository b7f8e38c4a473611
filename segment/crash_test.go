package segment

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
)

// After a power cut at any moment, whatever it kept of the pages, the names and
// the sizes: what was synced is there, what is there is a prefix of what was
// appended, and after a recovery nothing else ever comes back.
func TestPowerCut(t *testing.T) {
	for _, mapped := range []bool{true, false} {
		t.Run(fmt.Sprintf("mapped=%v", mapped), func(t *testing.T) {
			c := Config{Bytes: 128 << 10, IndexBytes: 4096, IndexInterval: 4096, Mapped: mapped}
			g := newRig(t, c, true)
			require.NoError(t, g.fs.SyncDir("."))
			s, m := g.create(0), &model{}
			require.NoError(t, g.fs.SyncDir(testDir))
			synced, states := 0, 0
			cut := func() {
				n, synced, size := len(m.specs), synced, m.size
				for choice, disk := range g.mem.Dirty().States(8, uint64(n)) {
					states++
					powerCut(t, m, c, disk, synced, n, size, choice)
				}
			}
			for i := range 24 {
				b := spec{base: m.next(), records: 1 + i%3, size: 500 + i*911%3000, time: int64(i)}
				require.NoError(t, put(s, m.note(b)))
				if i%2 == 0 {
					cut()
				}
				if i%5 == 4 {
					require.NoError(t, s.Sync())
					synced = len(m.specs)
					cut()
				}
				if i%7 == 3 {
					s.Prepare(30 << 10)
				}
			}
			require.NoError(t, s.Inactivate())
			g.mem.SetHook(func(op vfs.Op, _ string, before bool) error {
				if op.Mutates() {
					cut()
				}
				return nil
			})
			_, err := s.Seal(false)
			require.NoError(t, err)
			g.mem.SetHook(nil)
			synced = len(m.specs)
			cut()
			require.NoError(t, s.Close())
			t.Log(states, "states")
			require.Greater(t, states, 300)
		})
	}
}

func powerCut(t *testing.T, m *model, c Config, disk *vfs.Mem, synced, appended int, size int64, choice vfs.Choice) {
	g := &rig{t: t, fs: disk, mem: disk, maps: NewMaps(10), cfg: c}
	require.True(t, g.has(0, LogSuffix), "the folder was synced")
	s := g.open(0)
	n := 0
	r, err := s.Scan(ScanOptions{Each: func(_ *Scan, pos int64, b codec.Batch) error {
		if n >= appended || string(b) != string(m.specs[n].encode()) || pos != m.at[n] {
			return fmt.Errorf("batch %d at %d is not what was appended", n, pos)
		}
		n++
		return nil
	}})
	require.NoError(t, err, "%v", choice)
	require.GreaterOrEqual(t, n, synced, "%v", choice)
	require.LessOrEqual(t, r.Valid, size)
	require.NotContains(t, []Stop{StopOrder, StopOverflow, StopFormat}, r.Stop)

	// Recovered, appended to, and cut off again: no phantom.
	_, _, err = s.Quarantine(r.Valid)
	require.NoError(t, err)
	require.NoError(t, s.Cut(r.Valid))
	require.NoError(t, s.Activate(r))
	after := &model{base: 0, specs: m.specs[:n:n], at: m.at[:n:n], size: r.Valid}
	require.NoError(t, put(s, after.note(spec{base: r.Next, records: 1, size: 300, time: 1_000})))
	require.NoError(t, s.Close())
	for _, choice := range []vfs.Choice{vfs.None, vfs.All} {
		last := &rig{t: t, fs: disk.CrashClone(choice), maps: NewMaps(0), cfg: c}
		r2, err := last.open(0).Scan(ScanOptions{})
		require.NoError(t, err)
		require.GreaterOrEqual(t, r2.Valid, r.Valid)
		require.LessOrEqual(t, r2.Valid, after.size)
		require.LessOrEqual(t, r2.Next, after.next())
	}
	require.Zero(t, g.maps.Count())
}
