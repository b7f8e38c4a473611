package log

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/internal/vfs"
)

// numberedBatch is a batch of n records whose values are those of numbered.
func numberedBatch(t testing.TB, base int64, n int, change func(h *codec.Header)) []byte {
	t.Helper()
	rs := make([]codec.Record, n)
	for i := range rs {
		r := numbered(int(base) + i)
		rs[i] = codec.Record{Timestamp: r.Timestamp.UnixMilli(), Key: r.Key, Value: r.Value}
	}
	return encode(t, rs, change)
}

// at gives a batch the offset that a leader would.
func at(base int64, epoch int32) func(h *codec.Header) {
	return func(h *codec.Header) { h.BaseOffset, h.LeaderEpoch = base, epoch }
}

// TestRawFullDisk: at every size of the disk, several batches in one call are all
// stored or none, and no trace of what did not fit comes back later.
func TestRawFullDisk(t *testing.T) {
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		for _, follower := range []bool{false, true} {
			t.Run(fmt.Sprintf("mapped=%v/follower=%v", w == WriterMapped, follower), func(t *testing.T) {
				for limit := int64(2000); limit < 140_000; limit += 4001 {
					g := newRig(t, w, true, Config{SegmentBytes: 20_000, IndexInterval: 100, IndexBytes: 4096, ExternalEpochs: true, TimestampAfter: -1})
					l := g.open()
					mem := g.fs.(*vfs.Mem)
					mem.SetLimit(limit)
					var err error
					n := int64(0)
					add := func(l *Log) error {
						change := at(0, -1)
						var raw []byte
						for k := range int64(4) {
							if follower {
								change = at(n+2*k, int32(n/40)) // an epoch now and then
							}
							raw = append(raw, numberedBatch(t, n+2*k, 2, change)...)
						}
						o := RawOptions{Follower: follower}
						if !follower {
							o.Epoch = 1 + int32(n/40)
						}
						r, err := l.AppendRaw(raw, o)
						if err == nil {
							require.Equal(t, n, r.BaseOffset)
							n += 8
							err = l.WaitDurable(context.Background(), r.Durable, r.Generation)
						}
						return err
					}
					for err == nil {
						err = add(l)
					}
					require.ErrorIs(t, err, ErrNoSpace, "limit %d", limit)
					require.Equal(t, n, l.LogEndOffset())
					require.Nil(t, l.Failed())
					checkNumbered(t, l, n)
					mem.SetLimit(0)
					// A smaller call over what the failed one may have left.
					_, err = l.Append(context.Background(), []Record{numbered(int(n))}, Synced)
					require.NoError(t, err)
					n++
					l.Abandon()
					g.st = OpenState{RecoveryPoint: -1, StartOffset: -1, HighWatermark: -1}
					l = g.open()
					require.Zero(t, g.rep.BytesCut)
					checkNumbered(t, l, n)
					for range 30 {
						require.NoError(t, add(l))
					}
					g.reopen()
					require.True(t, g.rep.Clean)
					checkNumbered(t, g.log, n)
					g.log.Abandon()
				}
			})
		}
	}
}

func checkNumbered(t *testing.T, l *Log, n int64) {
	t.Helper()
	rs := readAllRecords(t, l, 0)
	require.Len(t, rs, int(n))
	for i, r := range rs {
		require.Equal(t, int64(i), r.Offset)
		require.Equal(t, string(numbered(i).Value), string(r.Value))
	}
}

// TestRawFar: a gap too long for a segment begins a new one, and whatever crashes
// on the way leaves a log that ends before the gap or behind it.
func TestRawFar(t *testing.T) {
	const far = int64(math.MaxInt32) + 1000
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		t.Run(fmt.Sprintf("mapped=%v", w == WriterMapped), func(t *testing.T) {
			g := newRig(t, w, true, Config{TimestampAfter: -1, FlushInterval: -1})
			require.NoError(t, g.fs.SyncDir("."))
			words := new([8]uint64)
			g.st.Marks = NewMarks(words, nil)
			l := g.open()
			ctx := context.Background()
			for i := range 5 {
				_, err := l.Append(ctx, []Record{numbered(i)}, Written)
				require.NoError(t, err)
			}
			mem := g.fs.(*vfs.Mem)
			var trees []*vfs.Mem
			var marks [][8]uint64
			var seeing sync.Mutex // the helper that makes the road calls it too
			take := func(states int, seed uint64) {
				seeing.Lock()
				defer seeing.Unlock()
				d := mem.Dirty()
				for _, c := range vfs.Choices(d, states, seed+uint64(len(trees))) {
					trees = append(trees, d.Clone(c))
					marks = append(marks, NewMarks(words, nil).snapshot())
				}
			}
			mem.SetHook(func(op vfs.Op, _ string, _ bool) error {
				if op.Mutates() {
					take(3, 0)
				}
				return nil
			})
			r, err := l.AppendRaw(slices.Concat(numberedBatch(t, far, 2, at(far, 0)), numberedBatch(t, far+5, 1, at(far+5, 2))), RawOptions{Follower: true})
			require.NoError(t, err)
			require.Equal(t, []int64{far, far + 5}, []int64{r.BaseOffset, r.LastOffset})
			require.LessOrEqual(t, l.DurableEnd(), int64(5), "nothing behind the log's end was durable")
			require.NoError(t, l.WaitDurable(ctx, r.Durable, r.Generation))
			mem.SetHook(nil)
			seeing.Lock()
			promised := len(trees)
			seeing.Unlock()
			take(5, 1)
			seeing.Lock() // who is still in the hook comes too late
			seenTrees, seenMarks := slices.Clone(trees), slices.Clone(marks)
			seeing.Unlock()
			require.Len(t, l.Segments(), 2)
			all := func(l *Log, n int) {
				t.Helper()
				offsets := []int64{}
				for _, r := range readAllRecords(t, l, 0) {
					offsets = append(offsets, r.Offset)
				}
				require.Equal(t, []int64{0, 1, 2, 3, 4, far, far + 1, far + 5}[:n], offsets)
			}
			all(l, 8)
			_, err = l.NewCursor(77).Next(l.LogEndOffset())
			require.NoError(t, err, "within the gap")
			require.NotEmpty(t, seenTrees)
			seen := map[int64]int{}
			for i, tree := range seenTrees {
				env := NewEnv(EnvOptions{FS: tree, MaxMaps: 10, Writer: w})
				st := OpenState{RecoveryPoint: -1, StartOffset: -1, HighWatermark: -1}
				if i%2 == 0 {
					st.Marks, st.MarksValid = NewMarks(&seenMarks[i], nil), true
				}
				l, rep, err := Open(env, "t-0", g.cfg, st)
				require.NoError(t, err)
				require.Nil(t, rep.Damage)
				end := l.LogEndOffset()
				seen[end]++
				require.True(t, i < promised || end == far+6, "cut at %d", end)
				require.True(t, end <= 5 || end == far+2 || end == far+6, end)
				switch {
				case end == far+6:
					all(l, 8)
				case end == far+2:
					all(l, 7)
				default:
					all(l, int(end))
				}
				// It goes on from there.
				base, err := l.Append(ctx, []Record{{Value: []byte("on")}}, Synced)
				require.NoError(t, err)
				require.Equal(t, end, base)
				require.NoError(t, l.Close())
				env.Close()
			}
			require.NotZero(t, seen[5], "%v", seen)

			g.st.MarksValid = true
			g.reopen()
			require.True(t, g.rep.Clean)
			all(g.log, 8)
			g.log.Abandon()
			g.st = OpenState{RecoveryPoint: 0, StartOffset: -1, HighWatermark: -1}
			g.open()
			all(g.log, 8)
		})
	}
}

// TestRawFarFirst: the first batches of a follower may be far from offset 0.
func TestRawFarFirst(t *testing.T) {
	const far = int64(1) << 50
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		g := newRig(t, w, true, Config{TimestampAfter: -1})
		l := g.open()
		for i := range int64(3) {
			base := far << i
			r, err := l.AppendRaw(numberedBatch(t, base, 2, at(base, 0)), RawOptions{Follower: true})
			require.NoError(t, err)
			require.NoError(t, l.WaitDurable(context.Background(), r.Durable, r.Generation))
		}
		want := []int64{far, far + 1, 2 * far, 2*far + 1, 4 * far, 4*far + 1}
		check := func() {
			t.Helper()
			rs := readAllRecords(t, g.log, 0)
			require.Len(t, rs, len(want))
			for i, r := range rs {
				require.Equal(t, want[i], r.Offset)
			}
		}
		check()
		g.reopen()
		require.True(t, g.rep.Clean)
		check()
		g.log.Abandon()
		g.st = OpenState{RecoveryPoint: -1, StartOffset: -1, HighWatermark: -1}
		g.open()
		require.Zero(t, g.rep.BytesCut)
		check()
		g.log.Abandon()
		g.st.RecoveryPoint = 4*far + 2
		g.open()
		require.Nil(t, g.rep.Damage)
		check()
	}
}

// TestRawFarFails: if such a segment cannot be made, nothing has happened; if its
// predecessor cannot be finished, the partition fails.
func TestRawFarFails(t *testing.T) {
	const far = int64(1) << 40
	for at0 := 0; ; at0++ {
		g := newRig(t, WriterPwrite, true, Config{TimestampAfter: -1})
		l := g.open()
		_, err := l.Append(context.Background(), []Record{numbered(0)}, Synced)
		require.NoError(t, err)
		n := at0
		hit := false
		g.fs.(*vfs.Mem).SetHook(func(op vfs.Op, _ string, before bool) error {
			if !before || !op.Mutates() {
				return nil
			}
			if n--; n == -1 {
				hit = true
				return errors.Join(vfs.ErrNoSpace, syscall.ENOSPC)
			}
			return nil
		})
		_, err = l.AppendRaw(numberedBatch(t, far, 1, at(far, 0)), RawOptions{Follower: true})
		g.fs.(*vfs.Mem).SetHook(nil)
		if !hit {
			require.NoError(t, err)
			require.Greater(t, at0, 5)
			return
		}
		if err != nil {
			require.ErrorIs(t, err, ErrNoSpace, at0)
			require.Equal(t, int64(1), l.LogEndOffset())
			if !errors.Is(err, ErrFailed) {
				_, err := l.Append(context.Background(), []Record{numbered(1)}, Synced)
				require.NoError(t, err, at0)
				g.reopen()
				checkNumbered(t, g.log, 2)
				continue
			}
			l.Abandon()
			g.st = OpenState{RecoveryPoint: l.RecoveryPoint(), StartOffset: -1, HighWatermark: -1}
			l = g.open()
			require.Nil(t, g.rep.Damage)
			require.Equal(t, int64(1), l.LogEndOffset())
			_, err := l.Append(context.Background(), []Record{numbered(1)}, Synced)
			require.NoError(t, err, at0)
			g.reopen()
			checkNumbered(t, g.log, 2)
		}
	}
}

// TestRawOrder: epochs and the mark of a log with gaps are durable before a batch
// that needs them can be seen, on disk as well.
func TestRawOrder(t *testing.T) {
	g := newRig(t, WriterPwrite, true, Config{TimestampAfter: -1, Durability: Written, FlushInterval: -1, ExternalEpochs: true})
	require.NoError(t, g.fs.SyncDir("."))
	l := g.open()
	mem := g.fs.(*vfs.Mem)
	var writes []string
	mem.SetHook(func(op vfs.Op, name string, before bool) error {
		if before && op.Mutates() && op != vfs.OpAllocate {
			writes = append(writes, fmt.Sprint(op, " ", strings.TrimPrefix(name, "t-0/")))
			require.Zero(t, l.LogEndOffset())
		}
		return nil
	})
	_, err := l.AppendRaw(numberedBatch(t, 10, 1, at(10, 7)), RawOptions{Follower: true})
	require.NoError(t, err)
	last := slices.IndexFunc(writes, func(s string) bool { return strings.Contains(s, ".log") })
	require.Equal(t, len(writes)-1, last, writes)
	d := mem.Dirty()
	tree := d.Clone(vfs.Choices(d, 1, 1)[0]) // no write that was not synced
	for name, text := range map[string]string{"leader-epoch-checkpoint": "0\n1\n7 10\n", sumsName: "gaps 0\n"} {
		b, err := readAll(tree, "t-0/"+name, 1000)
		require.NoError(t, err)
		require.Contains(t, string(b), text)
	}
	writes = nil
	mem.SetHook(func(op vfs.Op, name string, before bool) error {
		if before && op.Mutates() && op != vfs.OpAllocate {
			writes = append(writes, name)
		}
		return nil
	})
	_, err = l.AppendRaw(numberedBatch(t, 20, 1, at(20, 7)), RawOptions{Follower: true})
	require.NoError(t, err)
	mem.SetHook(nil)
	require.Equal(t, []string{"t-0/00000000000000000000.log"}, writes, "once is enough")
	g.reopen()
	require.Zero(t, g.log.gapsFrom.Load(), "for ever")
	require.False(t, g.log.dense(0))
}

// TestRawEpochs: a follower's epochs only rise, as those that recovery finds do,
// and batches without one, or of an older one, change nothing.
func TestRawEpochs(t *testing.T) {
	g := newRig(t, WriterPwrite, true, Config{TimestampAfter: -1, ExternalEpochs: true})
	l := g.open()
	var raw []byte
	for i, e := range []int32{-1, 2, 2, 5, 3, -1, 5, 6} {
		raw = append(raw, numberedBatch(t, int64(i), 1, at(int64(i), e))...)
	}
	r, err := l.AppendRaw(raw, RawOptions{Follower: true})
	require.NoError(t, err)
	require.NoError(t, l.WaitDurable(context.Background(), r.Durable, r.Generation))
	want := []EpochEntry{{2, 1}, {5, 3}, {6, 7}}
	require.Equal(t, want, l.epochs.Entries())
	_, err = l.AppendRaw(numberedBatch(t, 8, 1, at(8, 4)), RawOptions{Follower: true})
	require.NoError(t, err)
	require.Equal(t, want, l.epochs.Entries())
	require.Equal(t, int32(6), l.w.epoch)
	l.Abandon()
	g.remove("leader-epoch-checkpoint")
	g.st = OpenState{RecoveryPoint: 0, StartOffset: -1, HighWatermark: -1}
	require.Equal(t, want, g.open().epochs.Entries())
}

// TestRawNothingKept: a call leaves nothing of the caller's bytes in what is
// lent to the next.
func TestRawNothingKept(t *testing.T) {
	g := newRig(t, WriterPwrite, true, Config{Compression: compress.LZ4, TimestampAfter: -1})
	l := g.open()
	raw := numberedBatch(t, 0, 3, nil)
	_, err := l.AppendRaw(slices.Concat(raw, raw), RawOptions{})
	require.NoError(t, err)
	_, err = l.AppendRaw(slices.Concat(raw, raw[:70]), RawOptions{})
	require.ErrorIs(t, err, ErrCorrupt)
	c := l.env.rawCall()
	for _, b := range c.batches[:cap(c.batches)] {
		require.Nil(t, b.payload)
	}
	require.Equal(t, c, &rawCall{batches: c.batches, run: c.run, plain: c.plain, packed: c.packed})
}

// TestRawExpiry: producers are forgotten in time, but not with a transaction open.
func TestRawExpiry(t *testing.T) {
	g := newRig(t, WriterPwrite, true, Config{TimestampAfter: -1, Durability: Written, ProducerExpiration: time.Hour})
	l := g.open()
	send := func(id int64, sequence int32, bits uint16) error {
		_, err := l.AppendRaw(numberedBatch(t, 0, 1, func(h *codec.Header) {
			h.ProducerID, h.ProducerEpoch, h.BaseSequence, h.Attributes = id, 0, sequence, bits
		}), RawOptions{Transactional: true})
		return err
	}
	require.NoError(t, send(1, 0, 0))
	require.NoError(t, send(2, 0, codec.TransactionalBit))
	require.ErrorIs(t, send(1, 9, 0), ErrOutOfOrderSequence)
	l.expireAt = 0 // ten minutes later
	require.NoError(t, send(1, 9, 0), "its records are of long ago")
	require.ErrorIs(t, send(2, 9, codec.TransactionalBit), ErrOutOfOrderSequence)
}

// TestAdoptedRollAtEnd: the segment that was active when a log was adopted is not
// taken for a sealed one because the next begins where it ended then.
func TestAdoptedRollAtEnd(t *testing.T) {
	g := newRig(t, WriterPwrite, true, Config{SegmentBytes: 4096, Durability: Written, FlushInterval: time.Hour})
	l := g.open()
	_, err := l.Append(context.Background(), []Record{numbered(0)}, Synced)
	require.NoError(t, err)
	l.Abandon()
	g.remove(sumsName)
	g.st = OpenState{RecoveryPoint: 0, StartOffset: -1, HighWatermark: -1, Adopted: true}
	l = g.open()
	_, err = l.Append(context.Background(), []Record{{Value: make([]byte, 4000)}}, Synced)
	require.NoError(t, err)
	require.Len(t, l.Segments(), 2)
	require.Equal(t, int64(1), l.Segments()[1].BaseOffset)
	l.Abandon() // not sealed
	g.st.RecoveryPoint = 2
	l = g.open()
	require.Len(t, readAllRecords(t, l, 0), 2)
}

// TestRawAdopted: a log that came from Kafka, with gaps between its segments,
// follows on with gaps of its own. A crash then is no damage.
func TestRawAdopted(t *testing.T) {
	g := newRig(t, WriterPwrite, true, Config{SegmentBytes: 4096, TimestampAfter: -1})
	for _, base := range []int64{0, 1000, 2000} {
		g.putFile(g.logFile(base), numberedBatch(t, base, 3, at(base, 0)))
	}
	g.st = OpenState{RecoveryPoint: 2003, StartOffset: -1, HighWatermark: -1, Adopted: true, Clean: true}
	l := g.open()
	require.Equal(t, int64(2003), l.LogEndOffset())
	want := 9
	for base := int64(3000); base < 3600; base += 10 {
		r, err := l.AppendRaw(numberedBatch(t, base, 4, at(base, 0)), RawOptions{Follower: true})
		require.NoError(t, err)
		require.NoError(t, l.WaitDurable(context.Background(), r.Durable, r.Generation))
		want += 4
	}
	require.Greater(t, len(l.Segments()), 4)
	for _, s := range l.Segments()[3:] {
		require.Equal(t, int64(4), s.BaseOffset%10, "a segment begins where the one before ends: %+v", s)
	}
	for _, point := range []int64{-1, 0, 2003, l.LogEndOffset()} {
		l.Abandon()
		g.st.Clean, g.st.RecoveryPoint = false, point
		l = g.open()
		require.Nil(t, g.rep.Damage)
		require.Zero(t, g.rep.BytesCut)
		require.Equal(t, int64(3594), l.LogEndOffset())
		require.Len(t, readAllRecords(t, l, 0), want)
	}

	// Kafka has it again, compacts it, and gives it back.
	l.Abandon()
	for _, s := range l.Segments()[4:] {
		for name := range g.files() {
			if strings.HasPrefix(name, fmt.Sprintf("%020d", s.BaseOffset)) {
				g.remove(name)
			}
		}
	}
	g.putFile(g.logFile(9000), numberedBatch(t, 9000, 3, at(9000, 0)))
	g.st = OpenState{RecoveryPoint: 0, StartOffset: -1, HighWatermark: -1, Adopted: true, Marks: NewMarks(new([8]uint64), nil)}
	l = g.open()
	require.Nil(t, g.rep.Damage)
	require.Zero(t, g.rep.BytesCut)
	require.Equal(t, int64(9003), l.LogEndOffset())
}
