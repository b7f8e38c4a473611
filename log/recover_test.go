package log

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/segment"
)

// Recovery of logs of many segments.

var smallSegments = Config{SegmentBytes: 1000, IndexInterval: 100, IndexBytes: 4096}

// fill appends records of which a few make a segment, and closes the log. It
// returns the segments' base offsets.
func (g *rig) fill(records int) (bases []int64) {
	g.t.Helper()
	g.open()
	for i := range records {
		_, err := g.log.Append(context.Background(), []Record{numbered(i)}, Written)
		require.NoError(g.t, err)
	}
	for _, s := range g.log.Segments() {
		bases = append(bases, s.BaseOffset)
	}
	require.Greater(g.t, len(bases), 5)
	require.NoError(g.t, g.log.Close())
	g.st = OpenState{Clean: true, RecoveryPoint: int64(records), StartOffset: -1, HighWatermark: -1}
	return bases
}

func numbered(i int) Record {
	return Record{Key: fmt.Appendf(nil, "key %d", i), Value: fmt.Appendf(nil, "%0100d", i), Timestamp: time.UnixMilli(int64(1000 + i))}
}

func (g *rig) logFile(base int64) string { return segment.FileName(base, segment.LogSuffix) }

func (g *rig) remove(name string) {
	g.t.Helper()
	require.NoError(g.t, g.fs.Remove(g.folder()+"/"+name))
}

// TestMissingSegment: below the mark a segment that is gone is damage, whatever
// is left of the sums file. What is before and behind it is read.
func TestMissingSegment(t *testing.T) {
	for _, clean := range []bool{true, false} {
		for _, sums := range []bool{true, false} {
			for _, recovery := range []int64{0, 60} {
				t.Run(fmt.Sprintf("clean=%v/sums=%v/recovery=%d", clean, sums, recovery), func(t *testing.T) {
					if clean && recovery == 0 {
						return
					}
					g := newRig(t, WriterPwrite, true, smallSegments)
					bases := g.fill(60)
					words := [8]uint64{markDurable: littleEndian(60), markPublished: littleEndian(60)}
					g.st.Marks, g.st.MarksValid = NewMarks(&words, nil), true
					g.st.Clean, g.st.RecoveryPoint = clean, recovery
					lost, next := bases[2], bases[3]
					g.remove(g.logFile(lost))
					if !sums { // that offsets are dense is known, and which files there were is not
						g.putFile(sumsName, (&Sums{Dense: 0}).format())
					}
					g.open()
					if sums || recovery == 0 && !sums {
						// Found at once. Else the reader finds it.
						require.NotNil(t, g.rep.Damage)
					}
					if g.rep.Damage != nil {
						require.Equal(t, lost, g.rep.Damage.Offset)
						_, err := g.log.Append(context.Background(), []Record{numbered(60)}, 0)
						require.ErrorIs(t, err, ErrCorrupt)
					}
					end := g.log.HighWatermark()
					require.EqualValues(t, 60, end)
					c := g.log.NewCursor(0)
					defer c.Close()
					for offset := int64(0); offset < end; offset++ {
						c.SeekTo(offset)
						b, err := c.Next(end)
						if lost <= offset && offset < next {
							var ce *segment.CorruptError
							require.ErrorAs(t, err, &ce, "offset %d", offset)
							require.Equal(t, offset, ce.Offset)
						} else {
							require.NoError(t, err, "offset %d", offset)
							require.Equal(t, offset, b.BaseOffset())
						}
					}
				})
			}
		}
	}
}

// TestMissingSegmentAboveTheMark: nothing promised that it was there, and what
// lies behind the gap goes with it.
func TestMissingSegmentAboveTheMark(t *testing.T) {
	g := newRig(t, WriterPwrite, true, smallSegments)
	bases := g.fill(60)
	g.st = OpenState{RecoveryPoint: bases[1], StartOffset: -1, HighWatermark: -1}
	g.remove(g.logFile(bases[2]))
	g.putFile(sumsName, (&Sums{Dense: 0}).format())
	g.open()
	require.Nil(t, g.rep.Damage)
	require.Equal(t, bases[2], g.log.LogEndOffset())
	require.Len(t, g.rep.Cuts, len(bases)-3)
	require.True(t, g.rep.Shortened)
	require.EqualValues(t, 1, g.log.LatestEpoch())
	for name := range g.files() {
		base, suffix, _ := segment.ParseName(name)
		if base > bases[2] {
			require.Equal(t, ".0.quarantine", suffix, name)
		}
	}
	base, err := g.log.Append(context.Background(), []Record{numbered(0)}, Synced)
	require.NoError(t, err)
	require.Equal(t, bases[2], base)
}

// TestEpochOfAShortenedLog: the epoch that began because the log was cut is not
// forgotten when nothing was appended before the next open, and no epoch is
// given out twice.
func TestEpochOfAShortenedLog(t *testing.T) {
	g := newRig(t, WriterPwrite, true, Config{})
	g.open()
	_, err := g.log.Append(context.Background(), []Record{numbered(0)}, Synced)
	require.NoError(t, err)
	for i := range 3 {
		size := g.log.Size()
		require.NoError(t, g.log.Close())
		g.st = OpenState{RecoveryPoint: 1, StartOffset: -1, HighWatermark: -1}
		f, err := g.fs.Open(g.folder()+"/"+g.logFile(0), 1)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("garbage"), size+100)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		g.open()
		require.True(t, g.rep.Shortened)
		for range 2 {
			require.EqualValues(t, i+1, g.log.LatestEpoch())
			epoch, end := g.log.EndOffsetForEpoch(int32(i))
			if i > 0 { // begun and ended without a record
				require.Equal(t, []int64{0, 1}, []int64{int64(epoch), end})
			}
			g.reopen()
		}
	}
}

// TestShortLog: a log that ends below its mark is damaged, also when it ends in
// the middle of nothing, and stays so.
func TestShortLog(t *testing.T) {
	for name, shorten := range map[string]func(g *rig, bases []int64){
		"last segment is gone": func(g *rig, bases []int64) { g.remove(g.logFile(bases[len(bases)-1])) },
		"last segment is empty": func(g *rig, bases []int64) {
			g.putFile(g.logFile(bases[len(bases)-1]), nil)
		},
		"last batch is gone": func(g *rig, bases []int64) {
			b := g.getFile(g.logFile(bases[len(bases)-1]))
			g.putFile(g.logFile(bases[len(bases)-1]), b[:len(b)-172])
		},
		"last batch is zeros": func(g *rig, bases []int64) {
			b := g.getFile(g.logFile(bases[len(bases)-1]))
			clear(b[len(b)-172:])
			g.putFile(g.logFile(bases[len(bases)-1]), b)
		},
		"all is gone but the first": func(g *rig, bases []int64) {
			for _, b := range bases[1:] {
				g.remove(g.logFile(b))
			}
		},
	} {
		for _, clean := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/clean=%v", name, clean), func(t *testing.T) {
				g := newRig(t, WriterMapped, true, smallSegments)
				bases := g.fill(60)
				shorten(g, bases)
				g.st.Clean = clean
				for range 2 {
					g.open()
					require.NotNil(t, g.rep.Damage)
					require.Empty(t, g.rep.Cuts)
					require.EqualValues(t, 60, g.log.RecoveryPoint())
					end := g.log.LogEndOffset()
					require.Less(t, end, int64(60))
					require.LessOrEqual(t, g.rep.Damage.Offset, end)
					for i, r := range readAllRecords(t, g.log, 0) {
						require.Equal(t, string(numbered(i).Value), string(r.Value))
					}
					_, err := g.log.Append(context.Background(), []Record{numbered(0)}, 0)
					require.ErrorIs(t, err, ErrCorrupt)
					require.NoError(t, g.log.Close())
					require.False(t, g.log.Clean())
				}
			})
		}
	}
	t.Run("everything is gone", func(t *testing.T) {
		g := newRig(t, WriterPwrite, true, smallSegments)
		for _, b := range g.fill(60) {
			g.remove(g.logFile(b))
		}
		_, _, err := g.tryOpen()
		require.ErrorIs(t, err, ErrCorrupt)
	})
}

// TestDamageInTheMiddle: a sealed segment that was damaged below the mark is
// found by whoever reads it, and by the open when it has to be scanned.
func TestDamageInTheMiddle(t *testing.T) {
	for _, scanned := range []bool{true, false} {
		t.Run(fmt.Sprintf("scanned=%v", scanned), func(t *testing.T) {
			g := newRig(t, WriterMapped, true, smallSegments)
			bases := g.fill(60)
			b := g.getFile(g.logFile(bases[2]))
			b[len(b)/2] ^= 1
			g.putFile(g.logFile(bases[2]), b)
			if scanned { // it is not known any more which segments were sealed
				g.putFile(sumsName, (&Sums{Dense: 0}).format())
			}
			g.st = OpenState{RecoveryPoint: 60, StartOffset: -1, HighWatermark: -1}
			before := g.files()
			g.open()
			require.Equal(t, scanned, g.rep.Damage != nil)
			bad := 0
			c := g.log.NewCursor(0)
			defer c.Close()
			for offset := range int64(60) {
				c.SeekTo(offset)
				b, err := c.Next(60)
				if err != nil {
					require.ErrorIs(t, err, ErrCorrupt)
					require.True(t, bases[2] <= offset && offset < bases[3])
					bad++
					continue
				}
				require.Equal(t, offset, b.BaseOffset())
			}
			require.Equal(t, 1, bad)
			if scanned {
				_, err := g.log.Append(context.Background(), []Record{numbered(0)}, 0)
				require.ErrorIs(t, err, ErrCorrupt)
				require.NoError(t, g.log.Close())
				require.Equal(t, before, g.files())
			}
		})
	}
}

// TestLeftovers: files on their way, of Leat and of Kafka, go; what is not ours
// stays.
func TestLeftovers(t *testing.T) {
	g := newRig(t, WriterPwrite, true, smallSegments)
	bases := g.fill(60)
	ours := []string{"next.segment", "leader-epoch-checkpoint.tmp", "segments.sum.tmp", "00000000000000000007.snapshot.tmp",
		"00000000000000000007.txnindex.tmp", "00000000000000000003.log.deleted", "00000000000000000003.index.deleted",
		"00000000000000000001.index", "00000000000000000001.timeindex", "00000000000000000001.txnindex", "00000000000000009999.snapshot"}
	theirs := []string{"notes.tmp", "readme", "00000000000000000001.log.bak", "1.log", "0000000000000000000x.log", "lost+found.tmp",
		"00000000000000000001.0.quarantine"}
	for _, name := range append(ours, theirs...) {
		g.putFile(name, []byte("some bytes"))
	}
	require.NoError(t, g.fs.Mkdir(g.folder()+"/lost+found"))
	require.NoError(t, g.fs.Mkdir(g.folder()+"/segments.sum.tmp.d"))
	g.open()
	require.True(t, g.rep.Clean)
	list, err := g.fs.ReadDir(g.folder())
	require.NoError(t, err)
	var names []string
	for _, e := range list {
		names = append(names, e.Name)
	}
	for _, name := range ours {
		require.NotContains(t, names, name)
	}
	for _, name := range theirs {
		require.Contains(t, names, name)
	}
	require.Contains(t, names, "lost+found")
	require.Len(t, g.log.Segments(), len(bases))
	require.Len(t, readAllRecords(t, g.log, 0), 60)
}

// TestNotAFile: what has a segment's name and is no file is an error, not a hang.
func TestNotAFile(t *testing.T) {
	g := newRig(t, WriterPwrite, true, smallSegments)
	g.fill(60)
	require.NoError(t, g.fs.Mkdir(g.folder()+"/"+g.logFile(1000)))
	_, _, err := g.tryOpen()
	require.Error(t, err)
	require.True(t, strings.Contains(err.Error(), g.logFile(1000)), err)
}
