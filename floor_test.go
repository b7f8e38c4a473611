package leat

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/leatlog/leat/internal/accesslog"
	"github.com/leatlog/leat/internal/vfs"
)

// The floors: the same bytes moved with nothing but copy, CRC32C and the fewest
// system calls. A budget is a ratio to the floor of the same run (DESIGN,
// section 17), because this machine is not the next one.

// Append benchmarks and their floors keep benchFiles files of benchFile bytes
// alive, and begin again with new ones: more would measure how the kernel
// throttles who dirties pages.
const (
	benchFile  = 64 << 20
	benchFiles = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// benchDir is a directory for one benchmark, below LEAT_BENCH_DIR if that is set.
func benchDir(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp(os.Getenv("LEAT_BENCH_DIR"), "leat-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func must[T any](b testing.TB) func(T, error) T {
	return func(v T, err error) T {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
		return v
	}
}

// encodedSize is what a batch of n records with values of size bytes takes, as
// Leat encodes it.
func encodedSize(n, size int) int {
	total := 61
	for i := range n {
		delta := 1
		if i >= 64 {
			delta = 2
		}
		body := 1 + 1 + delta + 1 + 2 + size + 1 // attributes, times, offset, key, value length, value, headers
		total += 2 + body
	}
	return total
}

func perRecord(b *testing.B, records int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(records), "ns/record")
}

func BenchmarkFloor(b *testing.B) {
	for _, c := range []struct {
		name        string
		batch, size int
	}{
		{"append/batch=100/size=100", 100, 100},
		{"append/batch=1/size=100", 1, 100},
		{"append/batch=100/size=1024", 100, 1024},
	} {
		b.Run(c.name, func(b *testing.B) { floorAppend(b, c.batch, c.size) })
	}
	b.Run("read/batch=100/size=100", floorRead)
	b.Run("sync", floorSync)
	b.Run("crc", floorCRC)
	b.Run("handoff/rate=10000", floorHandoff)
	b.Run("sendfile", floorSendfile)
	b.Run("copy", floorCopy)
}

// floorAppend copies encoded batches into freshly allocated mapped files, whose
// pages are cold, and stores their CRC.
func floorAppend(b *testing.B, batch, size int) {
	fsys := must[vfs.FS](b)(vfs.OS(benchDir(b), vfs.Options{}))
	n := encodedSize(batch, size)
	src := make([]byte, n)
	for i := range src {
		src[i] = byte(i)
	}
	names := []string{"0", "1", "2", "3"}
	var files []vfs.File
	var maps []vfs.Map
	drop := func() {
		for i := range files {
			maps[i].Unmap()
			files[i].Close()
			fsys.Remove(names[i])
		}
		files, maps = nil, nil
	}
	defer func() { drop() }()
	var to []byte
	next := func() {
		b.StopTimer()
		if len(files) == benchFiles {
			drop()
		}
		f := must[vfs.File](b)(fsys.Create(names[len(files)]))
		if err := f.Allocate(0, benchFile); err != nil {
			b.Fatal(err)
		}
		m := must[vfs.Map](b)(f.Map(benchFile, true))
		files, maps = append(files, f), append(maps, m)
		to = m.Bytes()
		b.StartTimer()
	}
	b.ReportAllocs()
	b.SetBytes(int64(batch * size))
	for b.Loop() {
		if len(to) < n {
			next()
		}
		copy(to, src)
		binary.BigEndian.PutUint32(to[17:], crc32.Checksum(to[21:n], castagnoli))
		to = to[n:]
	}
	perRecord(b, b.N*batch)
}

// floorFile is a mapped file of whole batches.
func floorFile(b *testing.B, size int) []byte {
	fsys := must[vfs.FS](b)(vfs.OS(benchDir(b), vfs.Options{}))
	f := must[vfs.File](b)(fsys.Create("floor"))
	chunk := make([]byte, 1<<20)
	for i := range chunk {
		chunk[i] = byte(i * 7)
	}
	for pos := 0; pos < size; pos += len(chunk) {
		if _, err := f.WriteAt(chunk, int64(pos)); err != nil {
			b.Fatal(err)
		}
	}
	m := must[vfs.Map](b)(f.Map(int64(size), false))
	b.Cleanup(func() { m.Unmap(); f.Close() })
	return m.Bytes()
}

var sink uint32

// floorRead computes the CRC of batch after batch, warm.
func floorRead(b *testing.B) {
	n := encodedSize(100, 100)
	data := floorFile(b, benchFile)
	sink += crc32.Checksum(data, castagnoli)
	b.ReportAllocs()
	b.SetBytes(100 * 100)
	rest := data
	for b.Loop() {
		if len(rest) < n {
			rest = data
		}
		sink += crc32.Checksum(rest[21:n], castagnoli)
		rest = rest[n:]
	}
	perRecord(b, b.N*100)
}

// floorSync writes the bytes of one append of 100 B into an allocated file, one
// after the other, each with its fdatasync.
func floorSync(b *testing.B) {
	fsys := must[vfs.FS](b)(vfs.OS(benchDir(b), vfs.Options{}))
	f := must[vfs.File](b)(fsys.Create("floor"))
	defer f.Close()
	if err := f.Allocate(0, benchFile); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	src := make([]byte, encodedSize(1, 100))
	pos := int64(0)
	b.ReportAllocs()
	b.SetBytes(100)
	for b.Loop() {
		if pos+int64(len(src)) > benchFile {
			pos = 0
		}
		if _, err := f.WriteAt(src, pos); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		pos += int64(len(src))
	}
	perRecord(b, b.N)
}

func floorCRC(b *testing.B) {
	data := floorFile(b, 1<<30)
	sink += crc32.Checksum(data, castagnoli)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		sink += crc32.Checksum(data, castagnoli)
	}
}

// floorHandoff passes a value over a channel to a goroutine that waits for it,
// ten thousand times a second, and measures from the intended start.
func floorHandoff(b *testing.B) {
	ch := make(chan time.Time)
	got := make(chan time.Duration, 1)
	go func() {
		for t := range ch {
			got <- time.Since(t)
		}
		close(got)
	}()
	pace(b, 10000, func(start time.Time) time.Duration {
		ch <- start
		return <-got
	})
	close(ch)
}

// pace calls f at a fixed rate and reports quantiles of what it returns. It
// spins between calls: a sleep would oversleep by more than what is measured.
func pace(b *testing.B, rate int, f func(start time.Time) time.Duration) {
	gap := time.Second / time.Duration(rate)
	var all []time.Duration
	next := time.Now().Add(gap)
	for b.Loop() {
		for time.Now().Before(next) {
		}
		all = append(all, f(next))
		next = next.Add(gap)
		if now := time.Now(); next.Before(now) {
			next = now.Add(gap) // late: nothing is made up for
		}
	}
	slices.Sort(all)
	at := func(q float64) float64 { return float64(all[int(q*float64(len(all)-1))].Nanoseconds()) }
	b.ReportMetric(at(0.5), "p50-ns")
	b.ReportMetric(at(0.99), "p99-ns")
	b.ReportMetric(at(0.999), "p99.9-ns")
}

// accessLines are lines like an access log's.
func accessLines(n int) [][]byte {
	g := accesslog.New(1)
	lines := make([][]byte, n)
	for i := range lines {
		_, lines[i] = g.Line()
	}
	return lines
}
