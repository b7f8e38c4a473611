package leat

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/golden"
)

// readAllOf reads what a store in a directory has, by the folders of partitions,
// and that it can be appended to.
func readAllOf(t testing.TB, dir string) map[string]map[int64]string {
	t.Helper()
	st, err := Open(dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, st.Close()) }()
	all := map[string]map[int64]string{}
	for tp := range st.Topics() {
		for p := range tp.Partitions() {
			values := map[int64]string{}
			r, err := p.Reader(ReaderOptions{UntilEnd: true, Isolation: ReadUncommitted})
			require.NoError(t, err)
			for rec, err := range r.Records(ctx) {
				require.NoError(t, err)
				values[rec.Offset] = string(rec.Value)
			}
			require.NoError(t, r.Close())
			all[p.String()] = values
			end := p.LogEndOffset()
			offset, err := p.Append(ctx, Record{Key: []byte("k"), Value: []byte("more")})
			require.NoError(t, err)
			require.Equal(t, end, offset)
		}
	}
	return all
}

// TestRepairKinds: each kind of damage there is around the log.
func TestRepairKinds(t *testing.T) {
	logOf := func(dir string, i int) string {
		folder := filepath.Join(dir, "orders-0")
		return filepath.Join(folder, fmt.Sprintf("%020d.log", bases(t, folder)[i]))
	}
	write := func(dir, name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	for name, test := range map[string]struct {
		harm func(dir string)
		// lost says that some records are, and fresh that a partition begins anew.
		lost, fresh bool
	}{
		"base offset":      {harm: func(dir string) { flip(t, logOf(dir, 1), 7) }},
		"high base offset": {harm: func(dir string) { flip(t, logOf(dir, 1), 1) }},
		"leader epoch":     {harm: func(dir string) { flip(t, logOf(dir, 2), 15) }},
		"magic":            {harm: func(dir string) { flip(t, logOf(dir, 1), 16) }},
		"last base offset": {harm: func(dir string) { flip(t, logOf(dir, len(bases(t, filepath.Join(dir, "orders-0")))-1), 6) }},
		"last segment": {harm: func(dir string) {
			require.NoError(t, os.Remove(logOf(dir, len(bases(t, filepath.Join(dir, "orders-0")))-1)))
		}, lost: true},
		"batch":         {harm: func(dir string) { flip(t, logOf(dir, 1), 100) }, lost: true},
		"first segment": {harm: func(dir string) { require.NoError(t, os.Remove(logOf(dir, 0))) }, lost: true},
		"all segments":  {harm: func(dir string) { removeAll(t, filepath.Join(dir, "orders-0", "*.log")) }, lost: true, fresh: true},
		"folder":        {harm: func(dir string) { require.NoError(t, os.RemoveAll(filepath.Join(dir, "orders-0"))) }, lost: true, fresh: true},
		"topic id": {harm: func(dir string) {
			write(dir, "orders-0/"+partitionMetadata, "version: 0\ntopic_id: 2AAAAAAAAAAAAAAAAAAAAA\n")
		}},
		"epochs of others":  {harm: func(dir string) { write(dir, "orders-0/leader-epoch-checkpoint", "0\n2\n3 0\n4 50\n") }},
		"epochs":            {harm: func(dir string) { write(dir, "orders-0/leader-epoch-checkpoint", "0\n1\nrubbish\n") }},
		"recovery point":    {harm: func(dir string) { write(dir, recoveryName, "rubbish") }},
		"watermark":         {harm: func(dir string) { write(dir, watermarkName, "0\n1\norders 0 3\n") }},
		"state":             {harm: func(dir string) { write(dir, stateName, strings.Repeat("rubbish ", 512)) }},
		"snapshot":          {harm: func(dir string) { harmSnapshot(t, dir) }},
		"metadata record":   {harm: func(dir string) { flip(t, filepath.Join(dir, "__metadata-0", "00000000000000000000.log"), 100) }},
		"metadata folder":   {harm: func(dir string) { require.NoError(t, os.RemoveAll(filepath.Join(dir, "__metadata-0"))) }},
		"metadata segments": {harm: func(dir string) { removeAll(t, filepath.Join(dir, "__metadata-0", "*.log")) }},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := damaged(t, rand.New(rand.NewPCG(1, 2)))
			copied := filepath.Join(t.TempDir(), "sound")
			require.NoError(t, os.CopyFS(copied, os.DirFS(dir)))
			want := readAllOf(t, copied)["orders-0"]
			test.harm(dir)
			require.NotEmpty(t, unsound(t, dir))
			before := tree(t, dir)
			dry := repaired(t, dir, false)
			require.NotEmpty(t, dry)
			require.Equal(t, before, tree(t, dir))
			steps := repaired(t, dir, true)
			if !strings.HasPrefix(name, "metadata") { // what is lost there is known only when it is mended
				require.Equal(t, len(dry), len(steps), "%v\n%v", dry, steps)
			}
			require.Empty(t, unsound(t, dir), "%v", steps)
			got, ok := readAllOf(t, dir)["orders-0"]
			require.True(t, ok, "%v", steps)
			if !test.lost {
				require.Equal(t, want, got, "%v", steps)
			}
			for offset, v := range got {
				require.Equal(t, want[offset], v)
			}
			if name == "last segment" {
				require.Equal(t, int32(1), reopened(t, diskStore(t, dir, nil), "orders").LeaderEpoch(), "offsets are given again")
			}
			if test.fresh {
				require.Empty(t, got)
				st := diskStore(t, dir, nil)
				require.Equal(t, int64(len(want)+1), reopened(t, st, "orders").LogEndOffset(), "no offset is used again")
			} else {
				require.Greater(t, len(got), len(want)/2)
			}
		})
	}
}

func removeAll(t testing.TB, pattern string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		require.NoError(t, os.Remove(f))
	}
}

func harmSnapshot(t testing.TB, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "orders-0", "*.snapshot"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	require.NoError(t, os.WriteFile(files[0], []byte("rubbish"), 0o600))
}

// TestRepairGolden: what Kafka's recovery was given damaged, below what is known to
// be durable.
func TestRepairGolden(t *testing.T) {
	var all golden.CorruptSegments
	golden.JSON(t, &all, "corrupt", "segments.json")
	good := string(golden.Bytes(t, "corrupt", "segments", "good.log"))
	sound := soundBatches(t, good)
	for i, c := range all.Cases {
		if !golden.Has("corrupt", "segments", c.Name+".log") || i%8 > 0 && os.Getenv("LEAT_LONG") == "" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			dir := t.TempDir()
			folder := filepath.Join(dir, "orders-0")
			require.NoError(t, os.Mkdir(folder, 0o700))
			data := golden.Bytes(t, "corrupt", "segments", c.Name+".log")
			for name, text := range map[string]string{
				"orders-0/00000000000000000100.log":         string(data),
				"orders-0/leader-epoch-checkpoint":          "0\n2\n1 100\n2 118\n",
				"recovery-point-offset-checkpoint":          "0\n1\norders 0 140\n",
				"orders-0/partition.metadata":               "version: 0\ntopic_id: 2AAAAAAAAAAAAAAAAAAAAA\n",
				"replication-offset-checkpoint":             "0\n0\n",
				"log-start-offset-checkpoint":               "0\n0\n",
				"meta.properties":                           "version=1\ncluster.id=x\nnode.id=0\n",
				"orders-0/00000000000000000100.snapshot.no": "",
			} {
				require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
			}
			failed := false
			for s, err := range Repair(ctx, dir, &RepairOptions{Apply: true}) {
				require.NoError(t, err)
				failed = failed || s.Err != nil
			}
			after := tree(t, folder)
			kept := 0
			for name, text := range after {
				if strings.HasSuffix(name, ".log") {
					kept += len(text)
				} else if strings.HasSuffix(name, ".quarantine") {
					kept += len(text)
				}
			}
			require.GreaterOrEqual(t, kept, len(strings.TrimRight(string(data), "\x00")), "%v", maps.Keys(after))
			if failed { // an older format, or a newer one
				require.True(t, strings.Contains(c.Name, "magic") || strings.Contains(c.Name, "codec"), "%s", c.Name)
				require.True(t, string(data) == after["00000000000000000100.log"])
				return
			}
			require.Empty(t, unsound(t, dir))
			got := readAllOf(t, dir)["orders-0"]
			if c.Name == "lastdelta-plus-crc-ok" {
				return // it is believed, so that the next one comes too early
			}
			for pos, b := range sound {
				if end := pos + len(b); end <= len(data) && string(data[pos:end]) == good[pos:end] && !b.IsControl() {
					require.Contains(t, got, b.BaseOffset(), "position %d", pos)
				}
			}
		})
	}
}
