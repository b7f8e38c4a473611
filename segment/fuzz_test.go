package segment

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
)

// FuzzScan takes any bytes for a segment. Nothing panics or hangs or takes memory
// beyond a few times their size; what is found valid is found valid again when it
// is all there is, and can be read, searched and appended to.
func FuzzScan(f *testing.F) {
	var good []byte
	for i := range 5 {
		good = append(good, spec{base: 100 + int64(i)*2, records: 2, size: 60, time: int64(i)}.encode()...)
	}
	f.Add(good, false)
	f.Add(append(good, make([]byte, 200)...), true)
	f.Add(good[:len(good)-3], false)
	f.Add(append(good[:300:300], good[200:]...), true)
	f.Fuzz(func(t *testing.T, b []byte, kafka bool) {
		m := vfs.NewMem()
		m.SetMapped(true)
		g := &rig{t: t, fs: m, mem: m, maps: NewMaps(4), cfg: Config{
			Bytes: int64(len(b)) + 4096, IndexBytes: 4096, IndexInterval: 100, Mapped: true}}
		require.NoError(t, g.fs.Mkdir(testDir))
		g.write(100, LogSuffix, b)

		s := g.open(100)
		r, err := s.Scan(ScanOptions{Kafka: kafka})
		require.NoError(t, err)
		require.LessOrEqual(t, r.Valid, int64(len(b)))
		around, err := s.Scan(ScanOptions{Around: true})
		require.NoError(t, err)
		if !kafka {
			require.GreaterOrEqual(t, around.Batches, r.Batches)
		}
		s.maps = NewMaps(0) // the same without a map
		unmapped, err := s.Scan(ScanOptions{Kafka: kafka})
		require.NoError(t, err)
		require.Equal(t, []any{r.Valid, r.Next, r.Stop}, []any{unmapped.Valid, unmapped.Next, unmapped.Stop})
		s.maps = g.maps

		readAround(t, g, around)

		g.write(100, LogSuffix, b[:r.Valid])
		s = g.open(100)
		again, err := s.Scan(ScanOptions{Kafka: kafka})
		require.NoError(t, err)
		require.Equal(t, []any{r.Valid, r.Next, r.Batches, StopEnd}, []any{again.Valid, again.Next, again.Batches, again.Stop})
		if kafka || r.Next < 100 || r.Next > 1<<30 {
			return
		}
		require.NoError(t, s.Activate(again))
		require.NoError(t, put(s, spec{base: again.Next, records: 1, size: 50, time: 7}.encode()))
		g.seal(s)
		require.NoError(t, s.Close())
		s = g.open(100)
		last, err := s.Resume()
		require.NoError(t, err)
		require.Equal(t, again.Next+1, last.Next)
		require.NoError(t, s.Close())
		require.Zero(t, g.maps.Count())
	})
}

// readAround reads a segment that was scanned around its damage.
func readAround(t *testing.T, g *rig, r *Scan) {
	s := g.open(100)
	s.Damaged(r)
	require.NoError(t, s.Pin())
	var buf Buffer
	for target := int64(100); target < min(r.Next, 200); target++ {
		pos, err := s.Find(target, &buf)
		if err != nil {
			var c *CorruptError
			require.True(t, errors.As(err, &c), "%v", err)
			continue
		}
		if pos < s.Size() {
			b, err := s.BatchAt(pos, target, &buf)
			require.NoError(t, err)
			require.NoError(t, b.Check())
			require.GreaterOrEqual(t, b.LastOffset(), target)
		}
	}
	_, _, err := s.MaxTimestamp(&buf)
	require.NoError(t, err)
	_, err = s.FindTime(3, 0, &buf)
	require.NoError(t, err)
	s.Unpin()
	require.NoError(t, s.Close())
}

// The scan of a hostile file does not depend on where its lies are: every cut and
// a flip of every byte of a small segment.
func TestScanEveryCutAndFlip(t *testing.T) {
	g := newRig(t, small, true)
	var good []byte
	var ends []int64
	for i := range 4 {
		good = append(good, spec{base: int64(i) * 2, records: 2, size: 40, time: int64(i)}.encode()...)
		ends = append(ends, int64(len(good)))
	}
	whole := func(n int64) (end int64) {
		for _, e := range ends {
			if e <= n {
				end = e
			}
		}
		return end
	}
	for n := range len(good) {
		g.write(0, LogSuffix, good[:n])
		r, err := g.open(0).Scan(ScanOptions{})
		require.NoError(t, err)
		require.Equal(t, whole(int64(n)), r.Valid, "cut to %d", n)

		b := append([]byte(nil), good...)
		b[n] ^= 0x81
		g.write(0, LogSuffix, b)
		r, err = g.open(0).Scan(ScanOptions{})
		require.NoError(t, err)
		switch at := int64(n) - whole(int64(n)); {
		case at >= 12 && at < 16: // the leader epoch is outside of the CRC, and any will do
			require.Equal(t, int64(len(good)), r.Valid)
		case at < 8 && n >= 8:
			// A base offset that rises looks like a gap, until the next batch lies below.
			require.LessOrEqual(t, r.Valid, whole(int64(n))+ends[0])
			require.True(t, r.Stop != StopEnd || int64(n) >= ends[2], "nothing follows the last one")
		default:
			require.LessOrEqual(t, r.Valid, whole(int64(n))+codec.HeaderSize+100)
		}
	}
}
