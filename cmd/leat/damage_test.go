package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/internal/golden"
)

func write(t testing.TB, name string, data ...[]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, bytes.Join(data, nil), 0o600))
	return path
}

// makeBatch is a batch of one record at an offset.
func makeBatch(t testing.TB, offset int64, value []byte, k compress.Codec) []byte {
	t.Helper()
	records := []codec.Record{{Offset: offset, Timestamp: 1700000000000, Key: []byte("k"), Value: value}}
	h := codec.NewHeader(offset, records)
	h.Attributes = uint16(k)
	coders := compress.New()
	defer coders.Close()
	b, err := codec.AppendBatch(nil, h, records, coders)
	require.NoError(t, err)
	return b
}

const firstLog = "00000000000000000000.log"

// Cut at every length, a file gives the whole batches before the cut, and fails
// unless the cut is between two.
func TestTruncated(t *testing.T) {
	data := golden.Bytes(t, "corrupt", "segments", "good.log")
	var layout golden.CorruptSegments
	golden.JSON(t, &layout, "corrupt", "segments.json")
	ends := map[int64]int{0: 0}
	for i, l := range layout.GoodLayout {
		ends[l[0]+l[1]] = i + 1
	}
	whole, lastEnd := 0, int64(0)
	for n := range int64(len(data)) + 1 {
		var stdout, stderr bytes.Buffer
		path := write(t, "cut.log", data[:n])
		status := run(t.Context(), []string{"dump", "--json", path}, &stdout, &stderr)
		count, between := ends[n]
		if !between && len(bytes.Trim(data[lastEnd:n], "\x00")) == 0 {
			count, between = whole, true // zeros of a base offset, and no others, look like space
		}
		if _, end := ends[n]; end {
			whole, lastEnd = count, n
		}
		require.Equal(t, between, status == exitOK, "%d bytes: %s", n, stderr.String())
		list := lines(t, stdout.String())
		for i, b := range list {
			require.Equal(t, i < whole, b["crcValid"])
			require.Equal(t, i < whole, b["records"] != nil)
		}
		require.GreaterOrEqual(t, len(list), whole)
		require.LessOrEqual(t, len(list), whole+1) // the header of the one that is cut
		if !between {
			require.Equal(t, 1, strings.Count(stderr.String(), "\n"), stderr.String())
			require.Contains(t, stderr.String(), path+": position ")
		}
	}
}

// Where dump goes on, in files made of parts.
func TestResync(t *testing.T) {
	a, b, c := makeBatch(t, 0, []byte("a"), 0), makeBatch(t, 1, []byte("b"), 0), makeBatch(t, 2, []byte("c"), 0)
	zeros := make([]byte, 3*windowSize)
	garbage := bytes.Repeat([]byte{2, 0xff, 0x7f}, windowSize)
	flip := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] ^= 1
		return b
	}
	length := func(b []byte, n int32) []byte {
		b = bytes.Clone(b)
		binary.BigEndian.PutUint32(b[lengthPos:], uint32(n))
		return b
	}
	// A batch within a value begins a batch as much as any; it is not taken for
	// one as long as the length of the batch around it is good.
	outer := makeBatch(t, 1, makeBatch(t, 7, []byte("inner"), 0), 0)

	for _, test := range []struct {
		name    string
		parts   [][]byte
		valid   []int64 // base offsets
		damaged int     // headers shown as such
		errors  []string
	}{
		{"zeros behind", [][]byte{a, zeros}, []int64{0}, 0, nil},
		{"only zeros", [][]byte{zeros}, nil, 0, nil},
		{"few zeros", [][]byte{a, zeros[:3]}, []int64{0}, 0, nil},
		{"empty", nil, nil, 0, nil},
		{"hole", [][]byte{a, zeros, c}, []int64{0, 2}, 0, []string{"zero bytes"}},
		{"zeros, then garbage", [][]byte{a, zeros, {1}}, []int64{0}, 0, []string{"zero bytes.*nothing readable"}},
		{"garbage between", [][]byte{a, garbage, c}, []int64{0, 2}, 1, []string{fmt.Sprintf("position %d: .*going on at position %d", len(a), len(a)+len(garbage))}},
		{"garbage behind", [][]byte{a, garbage}, []int64{0}, 1, []string{"nothing readable"}},
		{"a few bytes behind", [][]byte{a, garbage[:17]}, []int64{0}, 0, []string{"cut: 17 bytes"}},
		{"flip", [][]byte{a, flip(b, 65), c}, []int64{0, 2}, 1, []string{"CRC is"}},
		{"two flips", [][]byte{flip(a, 65), flip(b, 65), c}, []int64{2}, 2, []string{"position 0: .*CRC is", "CRC is"}},
		{"last flipped, zeros behind", [][]byte{a, flip(b, 65), zeros}, []int64{0}, 1, []string{"CRC is"}},
		{"length too large", [][]byte{a, length(b, 1<<30), c}, []int64{0, 2}, 1, []string{"cut, or damaged"}},
		{"length negative", [][]byte{a, length(b, -5), c}, []int64{0, 2}, 1, []string{"batch length -5"}},
		{"length one less", [][]byte{a, length(b, int32(len(b)-13)), c}, []int64{0, 2}, 1, []string{"CRC is"}},
		{"length too small", [][]byte{a, length(b, 48), c}, []int64{0, 2}, 1, []string{"batch length 48"}},
		{"magic", [][]byte{a, flip(b, magicPos), c}, []int64{0, 2, 1}, 0, []string{"magic byte 3"}},
		{"magic of an old format", [][]byte{a, append(append(bytes.Clone(b[:16]), 1), b[17:]...), c}, []int64{0, 2}, 1, []string{"damaged; magic byte 1"}},
		{"batch in a damaged batch", [][]byte{a, flip(outer, len(outer)-1), c}, []int64{0, 2}, 1, []string{"CRC is"}},
		{"batch in a batch of bad length", [][]byte{a, length(outer, 1<<30), c}, []int64{0, 7, 2}, 2, []string{"cut, or damaged", "."}},
		{"cut", [][]byte{a, b[:len(b)-1]}, []int64{0}, 1, []string{"cut, or damaged"}},
		{"large batches", [][]byte{makeBatch(t, 0, zeros, 0), flip(makeBatch(t, 1, zeros, 0), 9999), makeBatch(t, 2, garbage, compress.Zstd)}, []int64{0, 2}, 1, []string{"CRC is"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, firstLog, test.parts...)
			r := tool(t, "dump", "--json", path)
			var valid []int64
			damaged := 0
			for _, b := range lines(t, r.stdout) {
				if b["crcValid"] == true {
					valid = append(valid, number(t, b, "baseOffset"))
				} else {
					damaged++
				}
			}
			require.ElementsMatch(t, test.valid, valid, r.stderr)
			require.Equal(t, test.damaged, damaged)
			require.Equal(t, len(test.errors), strings.Count(r.stderr, "\n"), r.stderr)
			for i, line := range strings.Split(strings.TrimSuffix(r.stderr, "\n"), "\n")[:len(test.errors)] {
				require.Regexp(t, test.errors[i], line)
			}
			if len(test.errors) == 0 {
				require.Equal(t, exitOK, r.status)
			} else {
				require.Equal(t, exitFailed, r.status)
			}
		})
	}
}

// Where output and findings go to one terminal, each finding follows the header
// that it is about.
func TestOrderOfFindings(t *testing.T) {
	bad := makeBatch(t, 1, nil, 0)
	bad[len(bad)-1] ^= 1
	path := write(t, firstLog, makeBatch(t, 0, nil, 0), bad, makeBatch(t, 2, nil, 0))
	out, err := exec.CommandContext(t.Context(), built, "dump", path).CombinedOutput()
	require.Equal(t, exitFailed, status(t, err))
	require.Regexp(t, `^0+\.log: \d+ bytes\nbatch 0\.\.0 .* valid\n  0 .*\nbatch 1\.\.1 .* DAMAGED\nleat: .*\nbatch 2\.\.2 .* valid\n  2 .*\n$`, string(out))
}

// A bomb, and a batch larger than what may be read at once, are shown by their
// headers.
func TestMaxBytes(t *testing.T) {
	for _, k := range []compress.Codec{compress.None, compress.Gzip, compress.Snappy, compress.LZ4, compress.Zstd} {
		path := write(t, firstLog, makeBatch(t, 0, make([]byte, 4<<20), k), makeBatch(t, 1, []byte("x"), k))
		r := tool(t, "dump", "--json", "--max-bytes", "1000000", path)
		require.Equal(t, exitFailed, r.status)
		list := lines(t, r.stdout)
		require.Len(t, list, 2)
		require.Equal(t, true, list[0]["crcValid"])
		require.NotContains(t, list[0], "records")
		require.Regexp(t, "max-bytes|larger than the limit", list[0]["error"])
		require.Len(t, list[1]["records"], 1)
		require.Len(t, lines(t, sound(t, "--json", path)), 2)
	}
}

// A file made to be slow, each position the header of a batch up to the end of
// the file, is given up.
func TestGivesUp(t *testing.T) {
	data := make([]byte, 0, 64<<20)
	h := codec.Header{Magic: codec.Magic}
	for len(data) < cap(data)-codec.HeaderSize {
		h.BatchLength = int32(cap(data) - 1 - len(data) - codec.LogOverhead)
		data = data[:len(data)+codec.HeaderSize]
		h.Put(data[len(data)-codec.HeaderSize:])
	}
	var stdout, stderr bytes.Buffer
	path := write(t, firstLog, []byte{1}, data[:cap(data)-1])
	require.Equal(t, exitFailed, run(t.Context(), []string{"dump", "--json", path}, &stdout, &stderr))
	require.Contains(t, stderr.String(), "gave up")
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr bytes.Buffer
	path := write(t, firstLog, makeBatch(t, 0, nil, 0))
	require.Equal(t, exitInterrupted, run(ctx, []string{"dump", path}, &stdout, &stderr))
	require.Equal(t, "leat: interrupted\n", stderr.String())
}

// Control records other than markers are shown as far as they are known, and one
// that is none is an error.
func TestControl(t *testing.T) {
	marker := func(key []byte) []byte {
		records := []codec.Record{{Offset: 0, Key: key, Value: []byte{}}}
		h := codec.NewHeader(0, records)
		h.Attributes = codec.ControlBit
		b, err := codec.AppendBatch(nil, h, records, nil)
		require.NoError(t, err)
		return b
	}
	b := lines(t, sound(t, "--json", write(t, firstLog, marker([]byte{0, 1, 0, 2}))))[0]
	require.Equal(t, "LEADER_CHANGE", b["control"].(object)["type"])
	require.Len(t, b["control"], 3)
	b = lines(t, sound(t, "--json", write(t, firstLog, marker([]byte{0, 0, 0, 99}))))[0]
	require.Equal(t, "UNKNOWN", b["control"].(object)["type"])
	r := tool(t, "dump", "--json", write(t, firstLog, marker([]byte{0})))
	require.Equal(t, exitFailed, r.status)
	require.NotEmpty(t, lines(t, r.stdout)[0]["error"])
}

// Whatever a file has in it, dump ends, and prints JSON.
func FuzzDump(f *testing.F) {
	var all golden.CorruptSegments
	golden.JSON(f, &all, "corrupt", "segments.json")
	for _, c := range all.Cases {
		f.Add(golden.Bytes(f, "corrupt", "segments", c.Name+".log"))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(dir, firstLog)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		var stdout bytes.Buffer
		status := run(t.Context(), []string{"dump", "--json", "--max-bytes", "1000000", path}, &stdout, io.Discard)
		require.Contains(t, []int{exitOK, exitFailed}, status)
		at := int64(-1)
		for _, b := range lines(t, stdout.String()) {
			pos := number(t, b, "position")
			require.Greater(t, pos, at)
			at = pos
			if b["crcValid"] == true {
				require.NotEqual(t, b["records"] != nil, b["error"] != nil)
			}
		}
		require.Equal(t, status, run(t.Context(), []string{"dump", path, "--max-bytes", "1000000"}, io.Discard, io.Discard))
	})
}
