package log

import (
	"context"
	"fmt"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// followRig is a writer and its words, and a follower that looks at them.
type followRig struct {
	*rig
	mem    *vfs.Mem
	words  [8]uint64
	follow *Log
}

func newFollowRig(t *testing.T, c Config) *followRig {
	g := &followRig{rig: newRig(t, WriterPwrite, true, c)}
	g.mem = g.fs.(*vfs.Mem)
	g.st.Marks = NewMarks(&g.words, nil)
	g.open()
	return g
}

func (g *followRig) told() Told {
	var w [8]uint64
	for i := range w {
		w[i] = uint64(g.st.Marks.load(i))
	}
	t := Told{Words: WordsOf(&w)}
	t.Known = t.Generation > 0
	t.Live = t.Known
	return t
}

func (g *followRig) openFollower() *Log {
	env := NewEnv(EnvOptions{FS: vfs.NewReadOnly(g.fs)})
	g.t.Cleanup(env.Close)
	l, err := OpenFollower(env, g.dir, g.cfg, FollowState{Told: g.told, StartOffset: -1, Sound: true})
	require.NoError(g.t, err)
	g.t.Cleanup(func() { require.NoError(g.t, l.Close()) })
	g.follow = l
	return l
}

func (g *followRig) append(n int) {
	for range n {
		_, err := g.log.Append(context.Background(), []Record{{Value: fmt.Appendf(nil, "v%d", g.log.LogEndOffset())}}, 0)
		require.NoError(g.t, err)
	}
}

// reads gives the offsets from from on.
func (g *followRig) reads(from int64) (list []int64, err error) {
	c := g.follow.NewCursor(from)
	defer c.Close()
	for {
		b, err := c.Next(g.follow.Visible(false))
		if err == ErrWait {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		list = append(list, b.BaseOffset())
	}
}

// TestFollowRetention: the start rises and files go, oldest first. Who is below
// gets an *OffsetError, who is above goes on.
func TestFollowRetention(t *testing.T) {
	g := newFollowRig(t, Config{SegmentBytes: 512})
	g.append(60)
	l := g.openFollower()
	c := l.NewCursor(0)
	defer c.Close()
	_, err := c.Next(l.Visible(false))
	require.NoError(t, err)
	for len(g.log.segments.Load().segs) > 2 {
		list := g.log.segments.Load()
		start := list.segs[1].Base()
		g.log.start.Store(start)
		g.log.marks.store(markStart, start)
		g.log.segments.Store(newList(list.segs[1:]))
		require.NoError(t, list.segs[0].Remove())
		g.append(1)

		got, err := g.reads(start)
		require.NoError(t, err)
		require.Equal(t, start, got[0])
		require.Len(t, got, int(g.log.LogEndOffset()-start))
		require.Equal(t, start, l.LogStartOffset())
		_, err = g.reads(start - 1)
		require.ErrorIs(t, err, ErrOffsetOutOfRange)
	}
	_, err = c.Next(l.Visible(false))
	require.ErrorIs(t, err, ErrOffsetOutOfRange)
	require.Equal(t, g.log.Segments(), l.Segments())
}

// TestFollowTakenBackWhileReading: the writer takes a batch back and puts another
// in its place just before the follower's read. The other one is as sound as the
// first, and not published: it must not be seen.
func TestFollowTakenBackWhileReading(t *testing.T) {
	for _, late := range []bool{false, true} { // before the read, or after it
		g := newFollowRig(t, Config{})
		g.append(5)
		l := g.openFollower()
		c := l.NewCursor(3)
		defer c.Close()
		limit := l.Visible(false)
		require.Equal(t, int64(5), limit)
		done := false
		g.mem.SetHook(func(op vfs.Op, name string, before bool) error {
			if op != vfs.OpReadAt || done || before == late {
				return nil
			}
			done = true
			g.st.Marks.TakeBack(3)
			f, err := g.fs.Open("t-0/"+segment.FileName(0, segment.LogSuffix), vfs.ReadWrite)
			require.NoError(t, err)
			defer f.Close()
			_, pos := position(t, f, 3)
			require.NoError(t, f.Zero(pos, 4096))
			h := newHeader()
			h.BaseOffset, h.LeaderEpoch = 3, 9
			h.RecordCount = 1
			b := make([]byte, 1000)
			n := encodeBatch(b, &h, [][]Record{{{Value: []byte("another")}}}, facts{latest: noTime}, 0)
			_, err = f.WriteAt(b[:n], pos)
			require.NoError(t, err)
			return nil
		})
		_, err := c.Next(limit)
		require.True(t, done)
		require.ErrorIs(t, err, ErrRestarted)
		require.Equal(t, int64(3), c.Offset())
		require.Equal(t, int64(3), l.Visible(false))
		_, err = c.Next(limit)
		require.ErrorIs(t, err, ErrRestarted, "until it is told to go on")
		c.Restart()
		_, err = c.Next(limit)
		require.ErrorIs(t, err, ErrWait)
		got, err := g.reads(0)
		require.NoError(t, err)
		require.Equal(t, []int64{0, 1, 2}, got)
	}
}

// position finds the batch of an offset in a log file.
func position(t *testing.T, f vfs.File, offset int64) (codec.Batch, int64) {
	b := make([]byte, 1<<20)
	n, _ := f.ReadAt(b, 0)
	b = b[:n]
	for pos := 0; pos < n; {
		batch := codec.Batch(b[pos:])
		size := int(int32(b[pos+8])<<24|int32(b[pos+9])<<16|int32(b[pos+10])<<8|int32(b[pos+11])) + codec.LogOverhead
		if batch.BaseOffset() == offset {
			return batch[:size], int64(pos)
		}
		pos += size
	}
	t.Fatalf("offset %d is not there", offset)
	return nil, 0
}

// TestFollowDamage: what is damaged below the high watermark is damage once it
// has stayed so for a while, and no end of the log; what comes before can be
// read.
func TestFollowDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newFollowRig(t, Config{})
		g.append(5)
		f, err := g.fs.Open("t-0/"+segment.FileName(0, segment.LogSuffix), vfs.ReadWrite)
		require.NoError(t, err)
		batch, pos := position(t, f, 3)
		was := append([]byte(nil), batch...)
		_, err = f.WriteAt([]byte{was[30] ^ 1}, pos+30)
		require.NoError(t, err)
		l := g.openFollower()
		got, err := g.reads(0)
		require.NoError(t, err)
		require.Equal(t, []int64{0, 1, 2}, got)
		began := time.Now()
		err = l.Wait(context.Background(), NewWaiter(), 3, false)
		var damage *segment.CorruptError
		require.ErrorAs(t, err, &damage)
		require.Equal(t, pos, damage.Position)
		require.Equal(t, int64(3), damage.Offset)
		require.GreaterOrEqual(t, time.Since(began), stuckAfter)

		// Had the writer only been at work there, all is well again.
		_, err = f.WriteAt(was, pos)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.NoError(t, l.Wait(context.Background(), NewWaiter(), 3, false))
		got, err = g.reads(0)
		require.NoError(t, err)
		require.Equal(t, []int64{0, 1, 2, 3, 4}, got)
		g.log.Abandon()
		g.log = nil
	})
}

// TestFollowUnpublished: sound batches behind what the words say are not seen,
// nor those above the high watermark.
func TestFollowUnpublished(t *testing.T) {
	g := newFollowRig(t, Config{})
	g.append(5)
	l := g.openFollower()
	for end := range int64(6) {
		g.st.Marks.store(markPublished, 5)
		g.st.Marks.store(markWatermark, end)
		g.st.Marks.store(markGeneration, 10+end)
		require.Equal(t, end, l.Visible(false))
		got, err := g.reads(0)
		require.NoError(t, err)
		require.Len(t, got, int(end))
		require.Equal(t, int64(5), l.LogEndOffset())
	}
}

// TestTakeBack: the ends are lowered before the generation rises.
func TestTakeBack(t *testing.T) {
	var words [8]uint64
	m := NewMarks(&words, nil)
	m.store(markPublished, 50)
	m.store(markDurable, 20)
	m.store(markWatermark, 40)
	m.store(markGeneration, 3)
	m.TakeBack(30)
	require.Equal(t, int64(30), m.Published())
	require.Equal(t, int64(20), m.Durable())
	require.Equal(t, int64(30), m.Watermark())
	require.Equal(t, int64(4), m.Generation())
}

// TestFollowRefuses: nothing of a log that is followed can be changed.
func TestFollowRefuses(t *testing.T) {
	g := newFollowRig(t, Config{})
	g.append(5)
	before := g.mem.Hash()
	l := g.openFollower()
	_, err := l.Append(context.Background(), []Record{{Value: []byte("v")}}, 0)
	require.ErrorIs(t, err, ErrReadOnly)
	require.ErrorIs(t, l.Failed(), ErrReadOnly)
	require.NoError(t, l.Close())
	require.Equal(t, before, g.mem.Hash())
}

// TestFollowTakenBackWhilePolling: as above, while a poll scans what is new.
func TestFollowTakenBackWhilePolling(t *testing.T) {
	g := newFollowRig(t, Config{})
	g.append(5)
	l := g.openFollower()
	g.append(3)
	done := false
	g.mem.SetHook(func(op vfs.Op, name string, before bool) error {
		if op == vfs.OpReadAt && !done && !before {
			done = true
			g.st.Marks.TakeBack(6)
		}
		return nil
	})
	require.LessOrEqual(t, l.Visible(false), int64(6))
	require.True(t, done)
	require.Equal(t, int64(6), l.Visible(false))
}

// TestFollowTrimmed: the writer cuts the room off a segment that it seals, while
// the follower scans it.
func TestFollowTrimmed(t *testing.T) {
	for at := range 40 {
		g := newFollowRig(t, Config{SegmentBytes: 4096, Durability: Written, FlushInterval: time.Hour})
		for len(g.log.Segments()) < 3 {
			g.append(1)
		}
		n := 0
		g.mem.SetHook(func(op vfs.Op, name string, before bool) error {
			if op != vfs.OpReadAt && op != vfs.OpSize || before {
				return nil
			}
			if n++; n != at+1 {
				return nil
			}
			for _, s := range g.log.Segments()[:2] {
				f, err := g.fs.Open("t-0/"+segment.FileName(s.BaseOffset, segment.LogSuffix), vfs.ReadWrite)
				require.NoError(t, err)
				require.NoError(t, f.Truncate(s.Size))
				require.NoError(t, f.Close())
			}
			return nil
		})
		g.openFollower()
		got, err := g.reads(0)
		require.NoError(t, err)
		require.Len(t, got, int(g.log.LogEndOffset()))
		g.mem.SetHook(nil)
	}
}

// TestFollowDeletedUnderHands: a folder that loses its files from the front is no
// log that begins later.
func TestFollowDeletedUnderHands(t *testing.T) {
	g := newFollowRig(t, Config{SegmentBytes: 512})
	g.append(60)
	require.NoError(t, g.fs.Remove("t-0/"+segment.FileName(0, segment.LogSuffix)))
	env := NewEnv(EnvOptions{FS: vfs.NewReadOnly(g.fs)})
	defer env.Close()
	_, err := OpenFollower(env, g.dir, g.cfg, FollowState{Told: g.told, StartOffset: -1, Sound: true})
	require.ErrorIs(t, err, fs.ErrNotExist)

	// Had retention taken it, the words would say so.
	g.st.Marks.store(markStart, g.log.Segments()[1].BaseOffset)
	g.openFollower()
	got, err := g.reads(g.log.Segments()[1].BaseOffset)
	require.NoError(t, err)
	require.NotEmpty(t, got)
}
