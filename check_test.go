package leat

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/golden"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
)

// checkAll gathers what a check yields.
func checkAll(t testing.TB, fsys vfs.FS, folder string) (list []Finding, errs []error) {
	t.Helper()
	checkFS(context.Background(), fsys, folder, nil, func(f Finding, err error) bool {
		if err != nil {
			errs = append(errs, err)
		} else {
			list = append(list, f)
		}
		return true
	})
	return list, errs
}

// checkDir is the same of a directory, by Check.
func checkDir(t testing.TB, dir string) (list []Finding, errs []error) {
	t.Helper()
	for f, err := range Check(context.Background(), dir, nil) {
		if err != nil {
			errs = append(errs, err)
		} else {
			list = append(list, f)
		}
	}
	return list, errs
}

func damageOf(list []Finding) (damage []Finding) {
	for _, f := range list {
		if f.Severity == SeverityDamage {
			damage = append(damage, f)
		}
	}
	return damage
}

// requireSound wants nothing to be found, or notices at most.
func requireSound(t testing.TB, list []Finding, errs []error) {
	t.Helper()
	require.Empty(t, errs)
	require.Empty(t, damageOf(list))
}

// TestCheckGolden: what Apache Kafka's own classes wrote is sound.
func TestCheckGolden(t *testing.T) {
	sound := func(path ...string) {
		t.Run(filepath.Join(path...), func(t *testing.T) {
			list, errs := checkDir(t, golden.Path(t, path...))
			requireSound(t, list, errs)
		})
	}
	for _, set := range []string{"p1", "p2-deleted-head"} {
		for _, state := range []string{"clean", "crash"} {
			if golden.Has("partition", set, state) {
				sound("partition", set, state)
				sound("partition", set, state, "orders-3")
			}
		}
	}
	for _, set := range []string{"plain", "txn", "txn-compressed"} {
		if !golden.Has("compacted", set, "expected.json") {
			continue
		}
		var want golden.Compacted
		golden.JSON(t, &want, "compacted", set, "expected.json")
		for _, step := range want.Steps {
			sound("compacted", set, step.Dir)
			sound("compacted", set, step.Dir, "kv-0")
		}
	}
	if golden.Has("offsets", "__consumer_offsets-12", "00000000000000000000.log") {
		sound("offsets")
		sound("offsets", "__consumer_offsets-12")
	}
}

var _ log.Finding

// TestCheckCorrupt: every damaged segment of the golden set, alone in a folder, is
// found damaged.
func TestCheckCorrupt(t *testing.T) {
	var set golden.CorruptSegments
	golden.JSON(t, &set, "corrupt", "segments.json")
	good := golden.Bytes(t, "corrupt", "segments", "good.log")
	ends := []int{0}
	for _, b := range set.GoodLayout {
		ends = append(ends, int(b[0]+b[1]))
	}
	for _, c := range set.Cases {
		if !golden.Has("corrupt", "segments", c.Name+".log") {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "orders-0")
			require.NoError(t, os.Mkdir(dir, 0o700))
			data := golden.Bytes(t, "corrupt", "segments", c.Name+".log")
			require.NoError(t, os.WriteFile(filepath.Join(dir, "00000000000000000100.log"), data, 0o600))
			epochs := "0\n2\n1 100\n2 118\n"
			if len(bytes.Trim(data, "\x00")) < 1664 {
				epochs = "0\n1\n1 100\n"
			}
			require.NoError(t, os.WriteFile(filepath.Join(dir, "leader-epoch-checkpoint"), []byte(epochs), 0o600))
			list, errs := checkDir(t, dir)
			require.Empty(t, errs)
			if c.Name == "offset-gap" || c.Name == "attributes-unused-bits-crc-ok" { // legal, says Kafka
				require.Empty(t, damageOf(list), c.About)
				return
			}
			for _, end := range ends {
				// A crash leaves whole batches and zeros: nothing tells that there was more.
				if end <= len(data) && bytes.Equal(data[:end], good[:end]) && len(bytes.Trim(data[end:], "\x00")) == 0 {
					require.Empty(t, damageOf(list), c.About)
					return
				}
			}
			require.NotEmpty(t, damageOf(list), c.About)
		})
	}
}
