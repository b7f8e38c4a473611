package leat

import (
	"bytes"
	"io/fs"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// TestCleanMarker: the marker is there only when every partition is known to be
// in order.
func TestCleanMarker(t *testing.T) {
	m := vfs.NewCrashMem()
	marked := func() bool { _, err := m.Stat(cleanName); return err == nil }
	st, err := openFS(m, nil)
	require.NoError(t, err)
	small := TopicConfig{Partitions: 2, SegmentBytes: 64 << 10}
	p := part(t, st, "orders", small)
	fill(t, p, 5)
	require.NoError(t, st.Close())
	require.True(t, marked())

	// Partition 1 was never opened, which is fine: it was in order before.
	st, err = openFS(m, nil)
	require.NoError(t, err)
	require.False(t, marked())
	_, err = m.CrashClone(vfs.None).Stat(cleanName)
	require.ErrorIs(t, err, fs.ErrNotExist, "gone for good before anything is written")
	require.NoError(t, st.Close())
	require.True(t, marked())

	// After a crash, what nobody opens is not recovered.
	st, err = openFS(m, nil)
	require.NoError(t, err)
	fill(t, reopened(t, st, "orders"), 5)
	m = m.Snapshot()
	st.abandonAll()
	st, err = openFS(m, nil)
	require.NoError(t, err)
	require.Equal(t, count(0, 10), offsetsOf(t, reopened(t, st, "orders"), ReaderOptions{}))
	part(t, st, "fresh", small) // partition 1 of this one has nothing to recover
	require.NoError(t, st.Close())
	require.False(t, marked())
	st, err = openFS(m, nil)
	require.NoError(t, err)
	for tp := range st.Topics() {
		for p := range tp.Partitions() {
			require.GreaterOrEqual(t, p.LogEndOffset(), int64(0))
		}
	}
	require.NoError(t, st.Close())
	require.True(t, marked())
}

// TestRecoveryReport: what a torn tail cost is said.
func TestRecoveryReport(t *testing.T) {
	m := vfs.NewCrashMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	p := part(t, st, "orders", TopicConfig{Durability: Written, SegmentBytes: 64 << 10})
	fill(t, p, 5)
	require.NoError(t, p.Sync(ctx))
	for range 5 {
		_, err := p.Append(ctx, Record{Value: make([]byte, 3000)})
		require.NoError(t, err)
	}
	d := m.Dirty()
	st.abandonAll()
	// The second of the dirty pages of the log did not make it to the disk.
	pick := []int{}
	for i, page := range d.Pages {
		if page.File == "orders-0/00000000000000000000.log" && page.Index == 1 {
			pick = append(pick, i)
		}
	}
	require.Len(t, pick, 1)
	left := d.Clone(vfs.Choice{Pages: vfs.Except(pick...), Names: vfs.PickAll(), Sizes: vfs.PickAll()})

	var said bytes.Buffer
	st = openStore(t, left, &Options{Logger: slog.New(slog.NewTextHandler(&said, nil))})
	p = reopened(t, st, "orders")
	end := p.LogEndOffset()
	require.GreaterOrEqual(t, end, int64(5))
	require.Less(t, end, int64(10))
	require.Equal(t, count(0, end), offsetsOf(t, p, ReaderOptions{}))
	require.Contains(t, said.String(), "cut off")
	require.Contains(t, said.String(), "orders-0/00000000000000000000.log")
	require.Contains(t, said.String(), ".quarantine")
	require.Contains(t, said.String(), "msg=recovered")
}

// TestDamage: records that were durable and are not what was written are named,
// read around, and not appended to.
func TestDamage(t *testing.T) {
	m := vfs.NewCrashMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	p := part(t, st, "orders", TopicConfig{SegmentBytes: 64 << 10})
	fill(t, p, 10)
	if st.state.m == nil { // without a map the marks are as fresh as the last checkpoint
		require.NoError(t, st.checkpoint())
	}
	left := m.Snapshot()
	st.abandonAll()
	f, err := left.Open("orders-0/00000000000000000000.log", vfs.ReadWrite)
	require.NoError(t, err)
	b := make([]byte, 1)
	const at = 4*72 + 68 // in the value of the fifth record
	_, err = f.ReadAt(b, at)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{b[0] ^ 1}, at)
	require.NoError(t, err)
	require.NoError(t, f.Close())

	st, err = openFS(left, nil)
	require.NoError(t, err)
	p = reopened(t, st, "orders")
	_, err = p.Append(ctx, Record{})
	var e *CorruptError
	require.ErrorAs(t, err, &e)
	require.Contains(t, e.Path, "orders-0/00000000000000000000.log")
	require.NoError(t, p.Reopen(ctx), "that does not mend it")
	_, err = p.Append(ctx, Record{})
	require.ErrorIs(t, err, ErrCorrupt)

	var got []int64
	r := reader(t, p, ReaderOptions{UntilEnd: true})
	for {
		rerr := error(nil)
		for rec, err := range r.Records(ctx) {
			if rerr = err; err == nil {
				got = append(got, rec.Offset)
			}
		}
		if rerr == nil {
			break
		}
		require.ErrorAs(t, rerr, &e)
		require.NoError(t, r.SeekTo(r.Offset()+1)) // around it
	}
	require.NotEmpty(t, got)
	require.Less(t, len(got), 10)
	require.Equal(t, int64(0), got[0])
	require.NoError(t, st.Close())
	_, err = left.Stat(cleanName)
	require.Error(t, err, "the next open looks again")
}

// TestStaleCheckpointLines: what the checkpoints say of a topic that is gone is
// not taken for a new topic's of the same name, whenever the power goes.
func TestStaleCheckpointLines(t *testing.T) {
	m := vfs.NewCrashMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	fill(t, part(t, st, "ghost", TopicConfig{SegmentBytes: 16 << 10}), 50)
	require.NoError(t, st.Close())
	lines, err := readSmall(m, recoveryName)
	require.NoError(t, err)
	require.Contains(t, string(lines), "ghost 0 50")
	// In one session.
	session := m.Snapshot()
	st, err = openFS(session, nil)
	require.NoError(t, err)
	require.NoError(t, st.DeleteTopic(ctx, "ghost"))
	fill(t, part(t, st, "ghost", TopicConfig{SegmentBytes: 16 << 10}), 3)
	left := session.CrashClone(vfs.None)
	st.abandonAll()
	st, err = openFS(left, nil)
	require.NoError(t, err)
	require.Equal(t, count(0, 3), offsetsOf(t, reopened(t, st, "ghost"), ReaderOptions{}))
	fill(t, reopened(t, st, "ghost"), 1) // damage would refuse it
	require.NoError(t, st.Close())

	// And when the lines come back in between.
	st, err = openFS(m, nil)
	require.NoError(t, err)
	require.NoError(t, st.DeleteTopic(ctx, "ghost"))
	require.NoError(t, st.Close())
	f, err := m.Open(recoveryName, vfs.ReadWrite)
	require.NoError(t, err)
	_, err = f.WriteAt(lines, 0) // by whom ever
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())

	st, err = openFS(m, nil)
	require.NoError(t, err)
	fill(t, part(t, st, "ghost", TopicConfig{SegmentBytes: 16 << 10}), 3)
	left = m.CrashClone(vfs.None)
	st.abandonAll()
	st = openStore(t, left, nil)
	p := reopened(t, st, "ghost")
	require.Equal(t, count(0, 3), offsetsOf(t, p, ReaderOptions{}))
	fill(t, p, 3)
}
