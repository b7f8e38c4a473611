package golden

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/golden again from the full set")

// smallLimit keeps a clone quick; what is left out is tested where the full set is.
const smallLimit = 600 << 10

// packAbove is the size from which a sidecar is compressed: smaller ones are for
// people to read.
const packAbove = 8 << 10

// keep names the files and folders of the small copy.
var keep = []string{
	"batches/none/one", "batches/none/json100", "batches/none/nulls", "batches/none/headers", "batches/none/negdelta",
	"batches/none/logappend", "batches/none/notimestamp", "batches/none/idempotent", "batches/none/transactional",
	"batches/gzip/one", "batches/gzip/json100", "batches/gzip/headers", "batches/gzip/transactional",
	"batches/snappy/one", "batches/snappy/json100", "batches/snappy/headers", "batches/snappy/transactional",
	"batches/lz4/one", "batches/lz4/json100", "batches/lz4/headers", "batches/lz4/transactional",
	"batches/zstd/one", "batches/zstd/json100", "batches/zstd/headers", "batches/zstd/transactional",
	"batches/misc/mixed", "batches/misc/seqwrap", "batches/misc/extremes", "batches/misc/tsdeltas",
	"batches/control/", "batches/compacted/none-retain-empty", "batches/compacted/zstd-retain-empty",
	"batches/old/magic0-none", "batches/old/magic1-none", "batches/index.json",
	"corrupt/segments.json", "corrupt/indexes.json", "corrupt/indexes/",
	"partition/p1/", "compacted/txn/",
	"offsets/",
	"behaviour/", "murmur2.json", "varint.json", "crc32c.json",
}

// keepSegments names the damaged segments of the small copy: one of each kind
// that the scan must tell apart.
var keepSegments = []string{
	"good", "empty", "cut-first-plus1", "cut-first-plus16", "cut-first-plus17", "cut-first-plus60", "cut-only-first",
	"cut-third-plus17", "cut-third-plus61", "cut-third-plus186",
	"flip-third-baseOffset", "flip-third-crc", "flip-third-payload497", "magic-1", "magic-3", "magic-255",
	"length-0", "length-14", "length-2147483647", "length-plus1", "zeros-61", "garbage-17", "hole-third",
	"duplicate-last", "offset-overflow", "offset-gap", "count-plus1-crc-ok", "codec-wrong-crc-ok",
	"compressed-garbage-crc-ok", "lastdelta-negative-crc-ok",
}

func kept(name string) bool {
	if base, in := strings.CutPrefix(name, "corrupt/segments/"); in {
		return slices.Contains(keepSegments, strings.TrimSuffix(base, ".log"))
	}
	return slices.ContainsFunc(keep, func(k string) bool {
		return name == k || name == k+".log" || name == k+".json" || strings.HasSuffix(k, "/") && strings.HasPrefix(name, k)
	})
}

// shorten returns a sidecar with less white space, and fewer members in the
// lists of independent cases.
func shorten(t *testing.T, name string, b []byte) []byte {
	if path.Ext(name) != ".json" {
		return b
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	require.NoError(t, d.Decode(&v))
	every := func(list []any, n int) (some []any) {
		for i := 0; i < len(list); i += n {
			some = append(some, list[i])
		}
		return some
	}
	switch name {
	case "batches/index.json":
		v = slices.DeleteFunc(v.([]any), func(e any) bool { return !kept("batches/" + e.(string) + ".log") })
	case "corrupt/segments.json":
		m := v.(map[string]any)
		m["cases"] = slices.DeleteFunc(m["cases"].([]any), func(e any) bool {
			return !slices.Contains(keepSegments, e.(map[string]any)["name"].(string))
		})
	case "murmur2.json":
		m := v.(map[string]any)
		m["keys"] = every(m["keys"].([]any), 4)
	case "varint.json":
		for k, list := range v.(map[string]any) {
			if k != "edge" {
				v.(map[string]any)[k] = every(list.([]any), 3)
			}
		}
	case "crc32c.json":
		v = every(v.([]any), 2)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	require.NoError(t, e.Encode(v))
	return out.Bytes()
}

// The small copy is what this test makes of the full set: nothing in it was
// edited, and a change of the full set cannot go unnoticed.
func TestSmallCopy(t *testing.T) {
	if root() == "" {
		t.Fatal("no root")
	}
	if Full() {
		want := map[string][]byte{}
		err := filepath.WalkDir(full(), func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(full(), name)
			rel = filepath.ToSlash(rel)
			if err != nil || !kept(rel) {
				return err
			}
			b, err := os.ReadFile(name)
			want[rel] = shorten(t, rel, b)
			return err
		})
		require.NoError(t, err)
		if *update {
			require.NoError(t, os.RemoveAll(small()))
			for name, b := range want {
				name = filepath.Join(small(), name)
				require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
				if path.Ext(name) == ".json" && len(b) > packAbove {
					var out bytes.Buffer
					z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
					require.NoError(t, err)
					_, err = z.Write(b)
					require.NoError(t, errors.Join(err, z.Close()))
					name, b = name+".gz", out.Bytes()
				}
				require.NoError(t, os.WriteFile(name, b, 0o644))
			}
		}
		for name, b := range want {
			// Unpacked: what gzip makes of it may change with the Go version.
			got, err := read(filepath.Join(small(), name))
			require.NoError(t, err)
			require.True(t, bytes.Equal(b, got), "%s differs from the full set; -update writes it again", name)
		}
	}
	var size int64
	err := filepath.WalkDir(small(), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		size += info.Size()
		return err
	})
	require.NoError(t, err)
	require.NotZero(t, size)
	require.Less(t, size, int64(smallLimit))
	t.Logf("%d bytes", size)
}
