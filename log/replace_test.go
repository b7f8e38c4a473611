package log

import (
	"context"
	"hash/crc32"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// The tests of replacement need no keys: their cleanings keep batches by offset,
// or all of them, and make one segment of several.

// sift replaces the n segments from the i-th on by one with the batches to keep.
func sift(l *Log, i, n int, keep func(offset int64) bool) (err error) {
	list := l.segments.Load()
	if i+n >= len(list.segs) {
		return errSuperseded
	}
	olds := slices.Clone(list.segs[i : i+n])
	c, err := l.newCleaned(olds[0].Base())
	if err != nil {
		return err
	}
	defer func() {
		if derr := c.discard(); err == nil {
			err = derr
		}
	}()
	for _, s := range olds {
		if err := siftSegment(c, s, keep); err != nil {
			return err
		}
	}
	info, err := l.env.fsys.Stat(segment.Join(l.dir, segment.FileName(olds[n-1].Base(), segment.LogSuffix)))
	if err != nil {
		return err
	}
	if err := c.finish(info.ModTime); err != nil {
		return err
	}
	return c.replace(context.Background(), olds, list.bases[i+n])
}

func siftSegment(c *cleaned, s *segment.Segment, keep func(offset int64) bool) error {
	if err := s.Pin(); err != nil {
		return err
	}
	defer s.Unpin()
	var buf segment.Buffer
	for pos := int64(0); ; {
		b, err := s.BatchAt(pos, s.Base(), &buf)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		pos += int64(len(b))
		if keep(b.BaseOffset()) {
			run := []segment.Placed{{Size: len(b), Entry: segment.Entry{LastOffset: b.LastOffset(), MaxTimestamp: b.MaxTimestamp()}}}
			if err := c.append(b, run); err != nil {
				return err
			}
		}
	}
}

func even(offset int64) bool { return offset%2 == 0 }

func all(int64) bool { return true }

// offsetsOf are the offsets of all records, each of which is what numbered made.
func offsetsOf(t testing.TB, l *Log) (offsets []int64) {
	t.Helper()
	for _, r := range readAllRecords(t, l, l.LogStartOffset()) {
		require.Equal(t, string(numbered(int(r.Offset)).Value), string(r.Value))
		offsets = append(offsets, r.Offset)
	}
	return offsets
}

// upTo are the offsets from 0 on that one of the rules keeps: it goes by where a
// rule ends.
func upTo(end int64, keep func(offset int64) bool) (offsets []int64) {
	for o := range end {
		if keep(o) {
			offsets = append(offsets, o)
		}
	}
	return offsets
}

// waitSealed waits until nothing changes the files any more.
func waitSealed(t testing.TB, l *Log) {
	if segs := l.segments.Load().segs; len(segs) > 1 {
		require.NoError(t, l.awaitSealed(context.Background(), segs[:len(segs)-1]))
	}
}

// checkSums holds every file of a sealed segment against segments.sum: one of its
// lines fits, and none is of a file that is not there.
func checkSums(t testing.TB, fsys vfs.FS, l *Log) {
	t.Helper()
	waitSealed(t, l)
	segs := l.segments.Load().segs
	files := folderFiles(t, fsys, l.dir)
	sums := ParseSums([]byte(files[sumsName]))
	require.Nil(t, sums.Swap)
	bases := make(map[int64]bool)
	for _, s := range segs[:len(segs)-1] {
		bases[s.Base()] = true
		require.Contains(t, sums.Files, segment.FileName(s.Base(), segment.LogSuffix))
	}
	for name, sum := range sums.Files {
		base, _, _ := segment.ParseName(name)
		if base < segs[0].Base() {
			continue // retention leaves them for later
		}
		require.True(t, bases[base] || base == segs[len(segs)-1].Base(), name)
		require.EqualValues(t, sum.Size, len(files[name]), name)
		require.Equal(t, sum.CRC, crcOf(files[name]), name)
	}
	for name := range files {
		require.False(t, strings.HasSuffix(name, swapSuffix) || strings.HasSuffix(name, cleanedSuffix), name)
	}
}

// TestReplace: every other batch of some segments goes, one and several at once,
// also such as were cleaned before; the rest is found by offset and by time, now
// and after each kind of open.
func TestReplace(t *testing.T) {
	forEachWriter(t, smallSegments, func(t *testing.T, g *rig) {
		l := g.open()
		g.add(100, Written)
		bases := g.bases()
		require.Greater(t, len(bases), 10)
		now := time.Unix(1_000_000, 12345000)
		require.NoError(t, l.Sync(context.Background()))
		require.NoError(t, l.awaitSealed(context.Background(), l.segments.Load().segs[:9]))
		require.NoError(t, g.fs.SetModTime(g.folder()+"/"+g.logFile(bases[3]), now))

		require.NoError(t, sift(l, 0, 1, even))
		require.NoError(t, sift(l, 1, 3, even)) // 1, 2 and 3
		require.NoError(t, sift(l, 2, 2, even)) // 4 and 5
		require.NoError(t, sift(l, 1, 2, func(o int64) bool { return o%4 == 0 }))
		keep := func(o int64) bool {
			return o%4 == 0 || o%2 == 0 && o < bases[1] || o >= bases[6]
		}
		require.Equal(t, slices.Concat(bases[:2], bases[6:]), g.bases())
		info, err := g.fs.Stat(g.folder() + "/" + g.logFile(bases[1]))
		require.NoError(t, err)
		require.NotEqual(t, now, info.ModTime) // it is that of the last one
		require.NoError(t, sift(l, 0, 1, keep))
		check := func() {
			t.Helper()
			l := g.log
			want := upTo(l.LogEndOffset(), keep)
			require.Equal(t, want, offsetsOf(t, l))
			checkSums(t, g.fs, l)
			for o := range l.LogEndOffset() {
				i, _ := slices.BinarySearch(want, o)
				rs := readAllRecords(t, l, o)
				require.Equal(t, want[i], rs[0].Offset)
				off, ts, found, err := l.OffsetForTimestamp(1000 + o)
				require.NoError(t, err)
				require.True(t, found)
				require.Equal(t, [2]int64{want[i], 1000 + want[i]}, [2]int64{off, ts})
			}
		}
		check()
		l = g.reopen()
		require.True(t, g.rep.Clean)
		check()
		g.add(30, Synced)
		check()
		l.Abandon()
		for _, from := range []int64{0, bases[1], bases[7], 130} {
			g.st = OpenState{RecoveryPoint: from, StartOffset: -1, HighWatermark: -1}
			g.open()
			require.Nil(t, g.rep.Damage)
			require.Empty(t, g.rep.Cuts)
			check()
			g.log.Abandon()
		}
	})
}

// TestReplaceModTime: the age of records without a time is that of the last file
// they were in.
func TestReplaceModTime(t *testing.T) {
	forEachWriter(t, smallSegments, func(t *testing.T, g *rig) {
		l := g.open()
		g.add(40, Synced)
		require.NoError(t, l.awaitSealed(context.Background(), l.segments.Load().segs[:4]))
		first, last := time.Unix(2_000_000, 5000), time.Unix(1_000_000, 12345000)
		require.NoError(t, g.fs.SetModTime(g.folder()+"/"+g.logFile(g.bases()[0]), first))
		require.NoError(t, g.fs.SetModTime(g.folder()+"/"+g.logFile(g.bases()[2]), last))
		require.NoError(t, sift(l, 0, 3, all))
		info, err := g.fs.Stat(g.folder() + "/" + g.logFile(0))
		require.NoError(t, err)
		require.True(t, info.ModTime.Equal(last), info.ModTime)
	})
}

// TestReplaceReaders: whoever stands in a segment that is replaced keeps what it
// has pinned, and goes on at its offset.
func TestReplaceReaders(t *testing.T) {
	forEachWriter(t, smallSegments, func(t *testing.T, g *rig) {
		l := g.open()
		g.add(60, Synced)
		type reader struct {
			c    *Cursor
			b    codec.Batch
			copy string
			at   int64
		}
		var readers []*reader
		for o := range int64(60) {
			r := &reader{c: l.NewCursor(o), at: o}
			if o%3 > 0 { // the others have not begun
				b, err := r.c.Next(60)
				require.NoError(t, err)
				r.b, r.copy, r.at = b, string(b), b.NextOffset()
			}
			readers = append(readers, r)
			defer r.c.Close()
		}
		end := l.segments.Load().bases[5]
		for range 5 { // all of them become one
			require.NoError(t, sift(l, 0, 1, all))
		}
		require.NoError(t, sift(l, 0, 5, even))
		for _, r := range readers {
			require.Equal(t, r.copy, string(r.b))
			for next := r.at; ; next++ {
				for next < end && !even(next) {
					next++
				}
				// The rest of an old segment is still what it was.
				b, err := r.c.Next(60)
				if err == ErrWait {
					require.EqualValues(t, 60, next)
					break
				}
				require.NoError(t, err)
				if b.BaseOffset() == next-1 && !even(next-1) {
					next--
				}
				require.Equal(t, next, b.BaseOffset(), r.at)
			}
		}
	})
}

// TestReplaceSuperseded: what is no longer there is not replaced.
func TestReplaceSuperseded(t *testing.T) {
	ctx := context.Background()
	for name, change := range map[string]func(t *testing.T, l *Log){
		"retention": func(t *testing.T, l *Log) {
			_, err := l.DeleteOldest(ctx, Floor{})
			require.NoError(t, err)
		},
		"truncation": func(t *testing.T, l *Log) {
			require.NoError(t, l.TruncateTo(l.segments.Load().bases[1]+1, nil))
		},
		"reset":       func(t *testing.T, l *Log) { require.NoError(t, l.ResetTo(5, nil)) },
		"replacement": func(t *testing.T, l *Log) { require.NoError(t, sift(l, 1, 2, even)) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, WriterMapped, true, smallSegments)
			l := g.open()
			g.add(60, Synced)
			olds := slices.Clone(l.segments.Load().segs[:3])
			c, err := l.newCleaned(0)
			require.NoError(t, err)
			defer c.discard()
			for _, s := range olds {
				require.NoError(t, siftSegment(c, s, even))
			}
			require.NoError(t, c.finish(time.Now()))
			change(t, l)
			waitSealed(t, l)
			files, dense := g.files(), l.denseFrom.Load()
			require.ErrorIs(t, c.replace(ctx, olds, 30), errSuperseded)
			require.Equal(t, files, g.files())
			require.Equal(t, dense, l.denseFrom.Load())
			require.NoError(t, c.discard())
			checkSums(t, g.fs, l)
			g.reopen()
		})
	}
}

// TestReplaceAtRest: a log that rests stays so, and a close has nothing to write
// when a clean close left it and only a replacement came since.
func TestReplaceAtRest(t *testing.T) {
	forEachWriter(t, smallSegments, func(t *testing.T, g *rig) {
		g.open()
		g.add(60, Synced)
		l := g.reopen()
		require.NoError(t, sift(l, 0, 3, even))
		require.True(t, l.w.active.Resting())
		require.Zero(t, g.env.Awake())
		require.True(t, l.untouched())
		files := g.files()
		l = g.reopen()
		require.Equal(t, files, g.files())
		require.True(t, g.rep.Clean)
		g.add(1, Synced)
		for !l.tryRest(true) { // the helper is at work
			runtime.Gosched()
		}
		require.NoError(t, sift(l, 0, 2, even))
		require.True(t, l.w.active.Resting())
		g.add(1, Synced)
		g.reopen()
		require.True(t, g.rep.Clean)
		end := g.bases()[1]
		require.Equal(t, upTo(62, func(o int64) bool { return o >= end || even(o) }), offsetsOf(t, g.log))
	})
}

func crcOf(s string) uint32 { return crc32.Checksum([]byte(s), castagnoli) }

// TestReplaceByNothing: segments of which nothing is left, in a log of a follower,
// which had gaps before. No gap that a cleaning made is taken for what was lost.
func TestReplaceByNothing(t *testing.T) {
	for _, sparse := range []bool{false, true} {
		g := newRig(t, WriterPwrite, true, smallSegments)
		l := g.open()
		if sparse {
			l.writing.Lock()
			require.NoError(t, l.allowGaps(0))
			l.unlock()
		}
		g.add(60, Synced)
		n := len(g.bases()) - 1
		for i := range n {
			require.NoError(t, sift(l, i, 1, func(int64) bool { return false }))
		}
		end := g.bases()[n]
		want := upTo(60, func(o int64) bool { return o >= end })
		require.Equal(t, want, offsetsOf(t, l))
		l = g.reopen()
		require.True(t, g.rep.Clean)
		require.Equal(t, want, offsetsOf(t, l))
		l.Abandon()
		g.st = OpenState{RecoveryPoint: 0, StartOffset: -1, HighWatermark: -1}
		l = g.open()
		require.Nil(t, g.rep.Damage)
		require.Empty(t, g.rep.Cuts)
		require.Equal(t, want, offsetsOf(t, l))
		require.NoError(t, sift(l, 0, n, all)) // one for all of them
		require.Equal(t, want, offsetsOf(t, l))
		checkSums(t, g.fs, l)
	}
}
