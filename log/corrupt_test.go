package log

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/golden"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// The damaged segments of the golden set as the one segment of a log. Above the
// durable mark the damage is a torn tail and cut off; below it, it is damage.

// putFile writes a file of the rig's partition, durable.
func (g *rig) putFile(name string, b []byte) {
	g.t.Helper()
	dir := g.folder()
	_ = g.fs.Remove(dir + "/" + name)
	f, err := g.fs.Create(dir + "/" + name)
	require.NoError(g.t, err)
	_, err = f.WriteAt(b, 0)
	require.NoError(g.t, err)
	require.NoError(g.t, f.Sync())
	require.NoError(g.t, f.Close())
	require.NoError(g.t, g.fs.SyncDir(dir))
}

func (g *rig) getFile(name string) []byte {
	g.t.Helper()
	b, err := readAll(g.fs, g.folder()+"/"+name, 1<<30)
	require.NoError(g.t, err)
	return b
}

// files is the content of every file of the partition.
func (g *rig) files() map[string]string {
	g.t.Helper()
	return folderFiles(g.t, g.fs, g.folder())
}

func (g *rig) folder() string {
	if g.dir == "" {
		g.dir = "t-0"
	}
	return g.dir
}

func folderFiles(t testing.TB, fsys vfs.FS, dir string) map[string]string {
	t.Helper()
	list, err := fsys.ReadDir(dir)
	require.NoError(t, err)
	m := make(map[string]string)
	for _, e := range list {
		b, err := readAll(fsys, dir+"/"+e.Name, 1<<30)
		require.NoError(t, err)
		m[e.Name] = string(b)
	}
	return m
}

const corruptBase = 100

type corruptSet struct {
	golden.CorruptSegments
	good []byte
}

func corruptSegments(t *testing.T) (s corruptSet) {
	golden.JSON(t, &s.CorruptSegments, "corrupt", "segments.json")
	s.good = golden.Bytes(t, "corrupt", "segments", "good.log")
	require.EqualValues(t, corruptBase, s.SegmentBaseOffset)
	return s
}

func forEachCorrupt(t *testing.T, dense bool, mark int64, f func(t *testing.T, g *rig, s *corruptSet, c *golden.CorruptCase, data []byte)) {
	s := corruptSegments(t)
	for i := range s.Cases {
		c := &s.Cases[i]
		if !golden.Has("corrupt", "segments", c.Name+".log") {
			continue
		}
		for _, w := range []Writer{WriterMapped, WriterPwrite} {
			t.Run(fmt.Sprintf("%s/mapped=%v", c.Name, w == WriterMapped), func(t *testing.T) {
				g := newRig(t, w, true, Config{IndexInterval: int(s.IndexIntervalBytes), SegmentBytes: 1 << 20, ProducerExpiration: -1})
				g.st = OpenState{RecoveryPoint: mark, StartOffset: corruptBase, HighWatermark: -1}
				data := golden.Bytes(t, "corrupt", "segments", c.Name+".log")
				g.putFile(segment.FileName(corruptBase, segment.LogSuffix), data)
				g.putFile(epochsName, []byte("0\n2\n1 100\n2 118\n"))
				if dense {
					g.putFile(sumsName, (&Sums{Dense: corruptBase}).format())
				}
				f(t, g, &s, c, data)
			})
		}
	}
}

// wanted is where recovery must stop, given what Kafka's did: Leat refuses what
// it could not read, and never drops a segment whole.
func (s *corruptSet) wanted(c *golden.CorruptCase, dense bool) (valid, next int64, unsupported bool) {
	at := func(i int) (int64, int64) { return s.GoodLayout[i][0], s.GoodBatches[i].BaseOffset }
	switch c.Name {
	case "magic-3", "magic-4", "magic-127", "flip-third-magic":
		return 0, 0, true
	case "offset-goes-back", "duplicate-last":
		return int64(len(s.good)), 133, false
	case "offset-below-base", "offset-negative", "offset-overflow":
		// Which batch it is: the first whose base offset is not the good one.
		return -1, -1, false
	case "count-negative-crc-ok", "lastdelta-negative-crc-ok", "flip-third-baseOffset":
		valid, next = at(2)
		return valid, next, false
	case "lastdelta-plus-crc-ok":
		// Believed, so that the next batch comes too early.
		valid, _ = at(3)
		return valid, 117, false
	case "offset-gap":
		if dense {
			return -1, -1, false
		}
	}
	return c.ValidBytes, c.NextOffset, false
}

// firstMoved is the place of the first batch of the undamaged layout that has
// another base offset.
func (s *corruptSet) firstMoved(data []byte) (valid, next int64) {
	for i, b := range s.GoodBatches {
		if pos := s.GoodLayout[i][0]; codec.Batch(data[pos:]).BaseOffset() != b.BaseOffset {
			return pos, b.BaseOffset
		}
	}
	return int64(len(data)), s.GoodBatches[len(s.GoodBatches)-1].NextOffset
}

func TestCorruptAboveTheMark(t *testing.T) {
	for _, dense := range []bool{false, true} {
		t.Run(fmt.Sprintf("dense=%v", dense), func(t *testing.T) { testCorruptAbove(t, dense) })
	}
}

func testCorruptAbove(t *testing.T, dense bool) {
	forEachCorrupt(t, dense, corruptBase, func(t *testing.T, g *rig, s *corruptSet, c *golden.CorruptCase, data []byte) {
		valid, next, unsupported := s.wanted(c, dense)
		if unsupported {
			before := g.files()
			_, _, err := g.tryOpen()
			require.ErrorIs(t, err, ErrUnsupported)
			require.Equal(t, before, g.files())
			return
		}
		if valid < 0 {
			valid, next = s.firstMoved(data)
		}
		g.open()
		require.Nil(t, g.rep.Damage)
		require.False(t, g.rep.Clean)
		require.Equal(t, next, g.log.LogEndOffset())
		require.Equal(t, valid, g.log.Size())
		require.Equal(t, valid, g.rep.BytesScanned)
		require.Equal(t, valid, g.rep.BytesRewritten)

		tail := bytes.TrimRight(data[valid:], "\x00")
		if len(tail) == 0 {
			require.Empty(t, g.rep.Cuts)
			require.False(t, g.rep.Shortened)
			if c.Name == "flip-third-partitionLeaderEpoch" {
				return // nothing covers it but the sum of a sealed file
			}
			require.LessOrEqual(t, g.log.LatestEpoch(), int32(2))
		} else {
			// What was cut is reported and kept, and what comes after has a new
			// leader epoch.
			require.Len(t, g.rep.Cuts, 1)
			cut := g.rep.Cuts[0]
			require.Equal(t, valid, cut.Position)
			require.Equal(t, next, cut.Offset)
			require.EqualValues(t, len(tail), cut.Bytes)
			require.Equal(t, cut.Bytes, g.rep.BytesCut)
			require.Error(t, cut.Reason)
			require.True(t, bytes.Equal(tail, g.getFile(cut.Quarantine)))
			require.True(t, g.rep.Shortened)
			require.EqualValues(t, 3, g.log.LatestEpoch())
			epoch, end := g.log.EndOffsetForEpoch(2)
			require.LessOrEqual(t, epoch, int32(2)) // 1 if all of epoch 2 was cut off
			require.Equal(t, next, end)
		}
		log := g.getFile(segment.FileName(corruptBase, segment.LogSuffix))
		require.True(t, bytes.Equal(data[:valid], log[:valid]))
		require.Empty(t, bytes.TrimRight(log[valid:], "\x00"))

		// Nothing is left to do for a second open, clean or not.
		g.reopen()
		require.True(t, g.rep.Clean)
		before := g.files()
		g.log.Abandon()
		g.st.Clean = false
		g.open()
		require.Empty(t, g.rep.Cuts)
		require.False(t, g.rep.Shortened)
		require.Equal(t, next, g.log.LogEndOffset())
		g.log.Abandon()
		after := g.files()
		delete(before, sumsName) // lines of what is being appended to again go
		delete(after, sumsName)
		require.Equal(t, before, after)

		g.st.RecoveryPoint = next
		g.open()
		base, err := g.log.Append(context.Background(), []Record{{Value: []byte("new")}}, Synced)
		require.NoError(t, err)
		require.Equal(t, next, base)
		require.Equal(t, "new", string(readAllRecords(t, g.log, next)[0].Value))
	})
}

func TestCorruptBelowTheMark(t *testing.T) {
	for _, dense := range []bool{false, true} {
		t.Run(fmt.Sprintf("dense=%v", dense), func(t *testing.T) { testCorruptBelow(t, dense) })
	}
}

func testCorruptBelow(t *testing.T, dense bool) {
	const mark = 133
	forEachCorrupt(t, dense, mark, func(t *testing.T, g *rig, s *corruptSet, c *golden.CorruptCase, data []byte) {
		_, next, unsupported := s.wanted(c, dense)
		if next < 0 {
			_, next = s.firstMoved(data)
		}
		if unsupported || next >= mark {
			return
		}
		// The mark is known from a checkpoint, or from the marks alone.
		words := [8]uint64{markDurable: littleEndian(mark), markPublished: littleEndian(mark)}
		if g.env.mapped {
			g.st.Marks, g.st.MarksValid, g.st.RecoveryPoint = NewMarks(&words, nil), true, corruptBase
		}
		before, marks := g.files(), words
		for range 2 { // it is as damaged the next time
			g.open()
			require.NotNil(t, g.rep.Damage)
			require.Equal(t, next, g.rep.Damage.Offset)
			require.Equal(t, g.rep.Damage, g.log.Damage())
			require.Empty(t, g.rep.Cuts)
			require.EqualValues(t, mark, g.log.RecoveryPoint())
			_, err := g.log.Append(context.Background(), []Record{{Value: []byte("new")}}, Written)
			var ce *segment.CorruptError
			require.ErrorAs(t, err, &ce)
			require.ErrorIs(t, err, ErrCorrupt)
			if c.Name != "lastdelta-plus-crc-ok" { // which of two is wrong cannot be told
				checkAround(t, g.log, s, data)
			}
			require.NoError(t, g.log.Close())
			require.False(t, g.log.Clean())
			require.Equal(t, before, g.files())
			require.Equal(t, marks, words)
		}
	})
}

// checkAround seeks every offset of a damaged log: what is intact is read, at
// the rest the damage is told.
func checkAround(t *testing.T, l *Log, s *corruptSet, data []byte) {
	limit := l.HighWatermark()
	c := l.NewCursor(0)
	defer c.Close()
	for i, g := range s.GoodBatches {
		pos, n := s.GoodLayout[i][0], s.GoodLayout[i][1]
		intact := pos+n <= int64(len(data)) && bytes.Equal(data[pos:pos+n], s.good[pos:pos+n])
		for offset := g.BaseOffset; offset <= g.LastOffset; offset++ {
			c.SeekTo(offset)
			b, err := c.Next(limit)
			switch {
			case err == nil:
				require.True(t, intact, "offset %d", offset)
				require.Equal(t, s.good[pos:pos+n], []byte(b), "offset %d", offset)
			case intact && offset < limit:
				require.NoError(t, err, "offset %d", offset)
			case offset < limit:
				require.ErrorIs(t, err, ErrCorrupt, "offset %d", offset)
			}
		}
	}
}

// TestOldFormats: a log of another message format is not ours to mend, wherever
// the mark is.
func TestOldFormats(t *testing.T) {
	for _, name := range []string{"magic0-none", "magic1-none"} {
		for _, mark := range []int64{-1, 0, 1, 1000} {
			t.Run(fmt.Sprintf("%s/mark=%d", name, mark), func(t *testing.T) {
				if !golden.Has("batches", "old", name+".log") {
					t.Skip("not in the small copy")
				}
				g := newRig(t, WriterPwrite, true, Config{})
				g.st = OpenState{RecoveryPoint: mark, StartOffset: -1, HighWatermark: -1, Adopted: true}
				g.putFile(segment.FileName(0, segment.LogSuffix), golden.Bytes(t, "batches", "old", name+".log"))
				before := g.files()
				_, _, err := g.tryOpen()
				require.ErrorIs(t, err, ErrUnsupported)
				require.ErrorContains(t, err, "magic")
				require.Equal(t, before, g.files())
			})
		}
	}
}
