package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
)

// rig is one segment's surroundings: a directory in memory or on the disk, and
// a writer.
type rig struct {
	t    testing.TB
	fs   vfs.FS
	mem  *vfs.Mem // nil on the disk
	maps *Maps
	cfg  Config
	// canMap: files can be mapped here at all, and canWrite through a map.
	canMap, canWrite bool
}

const testDir = "t-0"

// small is a segment that fits a test: an index entry every few batches.
var small = Config{Bytes: 1 << 20, IndexBytes: 4096, IndexInterval: 300}

// forEachWriter runs a test with both writers, over memory and over the disk.
func forEachWriter(t *testing.T, c Config, f func(t *testing.T, g *rig)) {
	for _, mapped := range []bool{true, false} {
		for _, mem := range []bool{true, false} {
			t.Run(fmt.Sprintf("mapped=%v/mem=%v", mapped, mem), func(t *testing.T) {
				c := c
				c.Mapped = mapped
				g := newRig(t, c, mem)
				f(t, g)
				require.Zero(t, g.maps.Count(), "maps that nobody gave back")
			})
		}
	}
}

func newRig(t testing.TB, c Config, mem bool) *rig {
	g := &rig{t: t, cfg: c, maps: NewMaps(100)}
	if mem {
		g.mem = vfs.NewCrashMem()
		g.fs = g.mem
	} else {
		fsys, err := vfs.OS(t.TempDir(), vfs.Options{})
		require.NoError(t, err)
		t.Cleanup(func() { _ = fsys.Close() })
		g.fs = fsys
	}
	require.NoError(t, g.fs.Mkdir(testDir))
	g.probe()
	return g
}

// probe finds out what the system can do: a 32-bit one has no maps, others than
// Linux no blocks.
func (g *rig) probe() {
	f, err := g.fs.Create("probe")
	require.NoError(g.t, err)
	aerr := f.Allocate(0, 4096)
	m, err := f.Map(4096, true)
	if err == nil {
		require.NoError(g.t, m.Unmap())
	}
	g.canMap, g.canWrite = err == nil, g.cfg.Mapped && err == nil && aerr == nil
	require.NoError(g.t, f.Close())
	require.NoError(g.t, g.fs.Remove("probe"))
	if g.mem != nil {
		require.NoError(g.t, g.mem.SyncDir("."))
	}
}

func (g *rig) create(base int64) *Segment {
	g.t.Helper()
	s, err := Create(g.fs, g.maps, testDir, base, g.cfg)
	require.NoError(g.t, err)
	return s
}

// open describes the segment as a log does that finds its files.
func (g *rig) open(base int64) *Segment {
	g.t.Helper()
	return Open(g.fs, g.maps, testDir, base, int64(len(g.read(base, LogSuffix))), g.cfg)
}

func (g *rig) seal(s *Segment) {
	g.t.Helper()
	require.NoError(g.t, s.Inactivate())
	_, err := s.Seal(false)
	require.NoError(g.t, err)
}

func (g *rig) name(base int64, suffix string) string { return Join(testDir, FileName(base, suffix)) }

func (g *rig) has(base int64, suffix string) bool {
	_, err := g.fs.Stat(g.name(base, suffix))
	return err == nil
}

func (g *rig) read(base int64, suffix string) []byte {
	g.t.Helper()
	b, err := readFile(g.fs, g.name(base, suffix))
	require.NoError(g.t, err)
	return b
}

func readFile(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name, vfs.ReadOnly)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, n)
	if m, err := f.ReadAt(b, 0); m < len(b) {
		return nil, err
	}
	return b, nil
}

// write replaces a file.
func (g *rig) write(base int64, suffix string, b []byte) {
	g.t.Helper()
	if g.has(base, suffix) {
		require.NoError(g.t, g.fs.Remove(g.name(base, suffix)))
	}
	f, err := g.fs.Create(g.name(base, suffix))
	require.NoError(g.t, err)
	if len(b) > 0 {
		_, err = f.WriteAt(b, 0)
		require.NoError(g.t, err)
	}
	require.NoError(g.t, f.Close())
}

// spec is what a test says of a batch.
type spec struct {
	base    int64
	records int
	size    int   // of the values together, in bytes
	time    int64 // the largest timestamp
}

func (b spec) last() int64 { return b.base + int64(b.records) - 1 }

// encode makes the batch. Every value begins with its offset, so that bytes
// which are at the wrong place do not go unnoticed.
func (b spec) encode() codec.Batch {
	records := make([]codec.Record, b.records)
	for i := range records {
		v := binary.BigEndian.AppendUint64(nil, uint64(b.base+int64(i)))
		for len(v) < b.size/b.records {
			v = append(v, byte(b.base))
		}
		records[i] = codec.Record{Offset: b.base + int64(i), Timestamp: b.time, Value: v}
	}
	out, err := codec.AppendBatch(nil, codec.NewHeader(b.base, records), records, nil)
	if err != nil {
		panic(err)
	}
	return out
}

// put appends a batch the way a log does.
func put(s *Segment, b codec.Batch) error {
	to, err := s.Reserve(len(b))
	if err != nil {
		return err
	}
	copy(to, b)
	return s.Commit(len(b), Entry{LastOffset: b.LastOffset(), MaxTimestamp: b.MaxTimestamp()})
}

// model is what a segment holds, told without it.
type model struct {
	base  int64
	specs []spec
	at    []int64 // positions
	size  int64
}

func (m *model) next() int64 {
	if n := len(m.specs); n > 0 {
		return m.specs[n-1].last() + 1
	}
	return m.base
}

func (m *model) note(b spec) codec.Batch {
	e := b.encode()
	m.specs = append(m.specs, b)
	m.at = append(m.at, m.size)
	m.size += int64(len(e))
	return e
}

// fill appends n batches of changing sizes, gaps and times.
func (m *model) fill(t testing.TB, s *Segment, n int) {
	t.Helper()
	for i := range n {
		k := len(m.specs)
		b := spec{base: m.next(), records: 1 + k%4, size: 20 + k*37%300, time: 1_000_000 + int64(k)*10}
		if k%7 == 3 {
			b.base += 5 // a gap, as compaction leaves them
		}
		if k%5 == 2 {
			b.time -= 35 // late
		}
		require.NoError(t, put(s, m.note(b)), "batch %d", i)
	}
}

// find is Find by looking at everything.
func (m *model) find(target int64) int64 {
	for i, b := range m.specs {
		if b.last() >= target {
			return m.at[i]
		}
	}
	return m.size
}

func (m *model) findTime(ms, start int64) int64 {
	for i, b := range m.specs {
		if b.time >= ms && b.last() >= start {
			return m.at[i]
		}
	}
	return m.size
}

func (m *model) maxTime() (ms, offset int64) {
	ms, offset = -1, m.base
	for _, b := range m.specs {
		if b.time > ms {
			ms, offset = b.time, b.last()
		}
	}
	return ms, offset
}

// entries are the offset and time index entries by Kafka's rule, from the text
// of KAFKA_RULES 4.3 and not from our code.
func (m *model) entries(interval int64) (offsets, times [][2]int64) {
	since, ms, at, lastMs := int64(0), int64(-1), m.base, int64(-1)
	for i, b := range m.specs {
		if b.time > ms {
			ms, at = b.time, b.last()
		}
		if since > interval {
			offsets = append(offsets, [2]int64{b.last(), m.at[i]})
			if ms > lastMs {
				times = append(times, [2]int64{ms, at})
				lastMs = ms
			}
			since = 0
		}
		end := m.size
		if i+1 < len(m.at) {
			end = m.at[i+1]
		}
		since += end - m.at[i]
	}
	if ms > lastMs {
		times = append(times, [2]int64{ms, at})
	}
	return offsets, times
}

// check reads everything and asks for everything, and compares.
func (m *model) check(t testing.TB, s *Segment) {
	t.Helper()
	require.NoError(t, s.Pin())
	defer s.Unpin()
	var buf Buffer
	require.Equal(t, m.size, s.Size())
	i := 0
	for pos := int64(0); ; i++ {
		b, err := s.BatchAt(pos, -1, &buf)
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		require.Equal(t, m.specs[i].encode(), b, "batch %d at %d", i, pos)
		require.Equal(t, len(b), cap(b))
		pos += int64(len(b))
	}
	require.Len(t, m.specs, i)
	m.checkLookups(t, s)
}

// checkLookups asks a pinned segment for offsets and times.
func (m *model) checkLookups(t testing.TB, s *Segment) {
	t.Helper()
	require.NoError(t, m.lookups(s))
}

func (m *model) lookups(s *Segment) error {
	var buf Buffer
	for target := m.base - 1; target <= m.next()+1; target += 3 {
		if pos, err := s.Find(target, &buf); err != nil || pos != m.find(target) {
			return fmt.Errorf("find %d: %d %w, expected %d", target, pos, err, m.find(target))
		}
	}
	want, at := m.maxTime()
	if ms, offset, err := s.MaxTimestamp(&buf); err != nil || ms != want || offset != at {
		return fmt.Errorf("max timestamp %d of offset %d %w, expected %d %d", ms, offset, err, want, at)
	}
	if ms, err := s.LargestTimestamp(&buf); !errors.Is(err, ErrClosed) && (err != nil || ms != want) {
		return fmt.Errorf("largest timestamp %d %w, expected %d", ms, err, want)
	}
	for _, b := range m.specs {
		for _, ms := range []int64{b.time - 1, b.time, b.time + 1} {
			for _, start := range []int64{m.base, b.base, b.last() + 1} {
				if pos, err := s.FindTime(ms, start, &buf); err != nil || pos != m.findTime(ms, start) {
					return fmt.Errorf("find time %d from %d: %d %w, expected %d", ms, start, pos, err, m.findTime(ms, start))
				}
			}
		}
	}
	return nil
}

// failing is a hook that fails the calls that match, from the nth on.
type failing struct {
	op    vfs.Op
	n     int // calls let through
	err   error
	count int
}

func (f *failing) hook(op vfs.Op, _ string, before bool) error {
	if op != f.op || !before {
		return nil
	}
	f.count++
	if f.count > f.n {
		return f.err
	}
	return nil
}

var errDisk = errors.New("disk on fire")

// counting is a hook that counts files made.
type counting struct{ creates int }

func (c *counting) hook(op vfs.Op, _ string, before bool) error {
	if op == vfs.OpCreate && before {
		c.creates++
	}
	return nil
}

func crc(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }
