package leat

import (
	"context"
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
			for _, f := range list {
				t.Log(f)
			}
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
