package golden

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// strict decodes a sidecar and fails on any field that the type does not have,
// so that nothing in a sidecar goes unseen.
func strict(t *testing.T, into any, path ...string) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(Bytes(t, path...)))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(into), path)
	require.False(t, d.More())
}

func TestBatchSidecars(t *testing.T) {
	var names []string
	JSON(t, &names, "batches", "index.json")
	require.NotEmpty(t, names)
	for _, name := range names {
		var f BatchFile
		strict(t, &f, "batches", name+".json")
		require.NotEmpty(t, f.Batches, name)
		log := Bytes(t, "batches", name+".log")
		require.Equal(t, f.SizeInBytes, int64(len(log)), name)
		var end int64
		for _, b := range f.Batches {
			require.Equal(t, end, b.Position, name)
			require.NotNil(t, b.Records, name)
			end += b.SizeInBytes
		}
		require.Equal(t, end, f.SizeInBytes, name)
	}
}

func TestNullIsNotEmpty(t *testing.T) {
	var f BatchFile
	JSON(t, &f, "batches", "none", "headers.json")
	first, second := f.Batches[0].Records[0], f.Batches[0].Records[1]
	require.Nil(t, first.Sequence)
	require.True(t, first.Headers[1].Value.Null)
	require.True(t, first.Headers[1].Value.Equal(nil))
	require.False(t, first.Headers[1].Value.Equal([]byte{}))
	require.False(t, first.Headers[2].Value.Null)
	require.True(t, first.Headers[2].Value.Equal([]byte{}))
	require.False(t, first.Headers[2].Value.Equal(nil))
	require.True(t, second.Key.Null)

	long := strings.Repeat("x", 2000)
	var d Data
	require.NoError(t, json.Unmarshal([]byte(`{"len":2000,"sha256":"`+Hash([]byte(long))+`"}`), &d))
	require.True(t, d.Equal([]byte(long)))
	require.False(t, d.Equal([]byte(long[1:])))
	require.False(t, d.Equal(nil))
}

func TestCorruptSidecars(t *testing.T) {
	var s CorruptSegments
	strict(t, &s, "corrupt", "segments.json")
	require.Equal(t, int64(100), s.SegmentBaseOffset)
	require.Len(t, s.GoodBatches, len(s.GoodLayout))
	throws := 0
	for _, c := range s.Cases {
		require.True(t, Has("corrupt", "segments", c.Name+".log"), c.Name)
		require.Len(t, Bytes(t, "corrupt", "segments", c.Name+".log"), int(c.SizeInBytes), c.Name)
		if c.RecoverThrows != "" {
			throws++
			continue
		}
		require.Equal(t, c.SizeInBytes, c.ValidBytes+c.TruncatedBytes, c.Name)
		require.NotEmpty(t, c.SHA256After, c.Name)
	}
	require.NotZero(t, throws)

	var x []CorruptIndex
	strict(t, &x, "corrupt", "indexes.json")
	for _, c := range x {
		require.True(t, Has("corrupt", "indexes", c.File), c.File)
		require.True(t, (c.SanityCheck == "") != (c.Read == ""), c.File)
		if c.File == "good.snapshot" {
			require.Equal(t, c.Entries.Count, len(c.Entries.Producers))
			require.Equal(t, int64(900), c.Entries.Producers[0].ProducerID)
		}
		if c.File == "good.index" {
			require.Equal(t, 10, c.Entries.Count)
			require.Equal(t, int64(570), *c.LastOffset)
		}
	}
}

func TestPartitionSidecars(t *testing.T) {
	sets := 0
	for _, set := range []string{"p1", "p2-deleted-head"} {
		if !Has("partition", set) {
			continue
		}
		sets++
		var p Partition
		strict(t, &p, "partition", set, "expected.json")
		require.NotEmpty(t, p.State.Fetches)
		require.NotEmpty(t, p.CrashAfterRecovery.Files)
		for kind, files := range map[string]map[string]File{"clean": p.Clean, "crash": p.Crash} {
			for name, f := range files {
				b := Bytes(t, "partition", set, kind, "orders-3", name)
				require.Equal(t, f.SizeInBytes, int64(len(b)), name)
				require.Equal(t, f.SHA256, Hash(b), name)
				switch filepath.Ext(name) {
				case ".log":
					require.Equal(t, kind == "clean", f.Batches != nil, name)
				case ".index":
					require.NotNil(t, f.Offsets, name)
				case ".timeindex":
					require.NotNil(t, f.Times, name)
				case ".txnindex":
					require.NotEmpty(t, f.Entries.Aborted, name)
				case ".snapshot":
					require.NotEmpty(t, f.Entries.Producers, name)
				default:
					require.Equal(t, string(b), *f.Text, name)
				}
			}
		}
	}
	require.NotZero(t, sets)
}

func TestCompactedSidecars(t *testing.T) {
	for _, set := range []string{"plain", "txn", "txn-compressed"} {
		if !Has("compacted", set) {
			continue // only in the full set
		}
		var c Compacted
		strict(t, &c, "compacted", set, "expected.json")
		require.NotEmpty(t, c.Steps)
		var records, control, tombstones int
		for _, s := range c.Steps {
			require.Equal(t, strings.HasSuffix(s.Dir, "-cleaned"), s.NewFirstDirtyOffset != nil)
			for name, f := range s.Files {
				b := Bytes(t, "compacted", set, s.Dir, "kv-0", name)
				require.Equal(t, f.SHA256, Hash(b), name)
				for _, batch := range f.Batches {
					require.Len(t, batch.Short, int(batch.RecordCount))
					records += len(batch.Short)
					if batch.Control != nil {
						control++
					}
					for _, r := range batch.Short {
						if r.ValueLen < 0 {
							tombstones++
						}
					}
				}
			}
		}
		require.NotZero(t, records)
		require.NotZero(t, tombstones)
		require.Equal(t, set != "plain", control > 0)
	}
}

func TestOffsetsAndVectors(t *testing.T) {
	var l ConsumerOffsetsLog
	strict(t, &l, "offsets", "consumer_offsets_log.json")
	require.NotEmpty(t, l.Batches)
	require.True(t, Has("offsets", "__consumer_offsets-12", "00000000000000000000.log"))

	var m Murmur2
	strict(t, &m, "murmur2.json")
	require.NotEmpty(t, m.Keys)
	require.Len(t, m.Keys[1].Partitions, len(m.PartitionCounts))

	var v Varints
	strict(t, &v, "varint.json")
	require.Equal(t, Varint{-2147483648, Hex("\xff\xff\xff\xff\x0f")}, v.Varint[0])
	require.Equal(t, int64(-9223372036854775808), v.Varlong[0].Value)
	require.Equal(t, int64(2147483648), v.UnsignedVarint[0].Value)
	require.Equal(t, VarintEdge{
		Bytes:          Hex("\x80\x80\x80\x80\x80\x01"),
		Varint:         Result{Err: "IllegalArgumentException"},
		Varlong:        Result{Value: 17179869184},
		UnsignedVarint: Result{Err: "IllegalArgumentException"},
	}, v.Edge[1])

	var c []CRC32C
	strict(t, &c, "crc32c.json")
	require.NotEmpty(t, c)
}

func TestCopyDir(t *testing.T) {
	to := CopyDir(t, "partition", "p1", "clean")
	name := filepath.Join("orders-3", "leader-epoch-checkpoint")
	got, err := os.ReadFile(filepath.Join(to, name))
	require.NoError(t, err)
	require.Equal(t, Bytes(t, "partition", "p1", "clean", name), got)
	if runtime.GOOS != "windows" {
		for path, mode := range map[string]os.FileMode{name: 0o600, "orders-3": 0o700, ".": 0o700} {
			info, err := os.Stat(filepath.Join(to, path))
			require.NoError(t, err)
			require.Equal(t, mode, info.Mode().Perm(), path)
		}
	}
	require.NoError(t, os.WriteFile(filepath.Join(to, name), nil, 0o600))
	require.NotEmpty(t, Bytes(t, "partition", "p1", "clean", name))
	_, err = os.Stat(filepath.Join(to, ".kafka_cleanshutdown"))
	require.NoError(t, err)
}

// A fresh clone has only the small copy; everything here must hold there too.
func TestFreshClone(t *testing.T) {
	if !Full() {
		t.Skip("this is one")
	}
	clone := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(clone, "go.mod"), []byte(module), 0o600))
	require.NoError(t, os.CopyFS(filepath.Join(clone, "testdata", "golden"), os.DirFS(small())))
	was := root
	defer func() { root = was }()
	root = func() string { return clone }
	require.False(t, Full())
	require.False(t, Has("partition", "p2-deleted-head"))
	require.True(t, Has("partition", "p1", "expected.json"))
	for name, test := range map[string]func(*testing.T){
		"batches": TestBatchSidecars, "null": TestNullIsNotEmpty, "corrupt": TestCorruptSidecars,
		"partition": TestPartitionSidecars, "vectors": TestOffsetsAndVectors, "copy": TestCopyDir,
	} {
		t.Run(name, test)
	}
}

func TestBehaviour(t *testing.T) {
	var times []Timestamped
	strict(t, &times, "behaviour", "timestamps.json")
	require.Len(t, times, 54)
	require.Equal(t, "INVALID_RECORD", times[1].Result.Error)
	require.True(t, times[0].Result.Appended)
	var scripts []ProducerOps
	strict(t, &scripts, "behaviour", "producer-ops.json")
	require.Len(t, scripts, 2)
	for _, s := range scripts {
		require.NotEmpty(t, s.Ops)
		require.NotEmpty(t, s.FinalProducers)
		require.NotEmpty(t, s.FinalAbortedTransactions)
	}
}
