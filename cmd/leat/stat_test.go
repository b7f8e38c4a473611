package main

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/golden"
)

// TestStatGolden: what Kafka's open log said of a partition is what stat says of
// its files, closed cleanly or copied from under it. Of the batches that Kafka
// remembered of each producer, the files tell the newest before the last segment,
// and those in it.
func TestStatGolden(t *testing.T) {
	for _, set := range []string{"p1", "p2-deleted-head"} {
		if !golden.Has("partition", set) {
			continue
		}
		expected := parse(t, golden.Bytes(t, "partition", set, "expected.json"))
		want := expected["state"].(object)
		for _, name := range []string{"endOffsetForEpoch_epoch_offset", "readUncommittedOffsets", "readCommittedOffsets",
			"offsetLookups", "timestampLookups", "timeIndexLookups", "fetches"} {
			require.Contains(t, want, name)
			delete(want, name) // they follow from the rest, or other commands tell
		}
		bases := want["segmentBaseOffsets"].([]any)
		last := number(t, object{"n": bases[len(bases)-1]}, "n")
		snapshot := expected["clean"].(object)[fmt.Sprintf("%020d.snapshot", last)].(object)
		forgetBatches(t, want["producers"].([]any), last, snapshot["entries"].([]any))
		for _, copied := range []string{"clean", "crash"} {
			t.Run(set+"/"+copied, func(t *testing.T) {
				dir := golden.CopyDir(t, "partition", set, copied)
				list := lines(t, good(t, "stat", "orders", "--json", "--dir", dir))
				require.Len(t, list, 1)
				got := list[0]
				require.Equal(t, list, lines(t, good(t, "stat", "--json", "--dir", dir, "orders", "--partition", "3")))
				require.Equal(t, "orders", got["topic"])
				require.Equal(t, int64(3), number(t, got, "partition"))
				require.Equal(t, expected["topicId"], got["topicId"])
				var bytes int64
				for i, s := range got["segments"].([]any) {
					s := s.(object)
					require.Equal(t, bases[i], s["baseOffset"])
					file := expected["clean"].(object)[segmentFile(number(t, s, "baseOffset"))].(object)
					require.Equal(t, file["sizeInBytes"], s["sizeInBytes"])
					bytes += number(t, s, "sizeInBytes")
				}
				require.Equal(t, bytes, number(t, got, "sizeInBytes"))
				for _, name := range []string{"topic", "topicId", "partition", "segments", "sizeInBytes"} {
					delete(got, name)
				}
				same(t, want, got, "state")

				// People are shown the same.
				text := good(t, "stat", "orders", "--partition", "3", "--dir", dir)
				require.Contains(t, text, "\n  last stable offset     "+want["lastStableOffset"].(json.Number).String()+"\n")
				require.Contains(t, text, "\nleader epochs\n")
				require.NotContains(t, text, "no producers")
			})
		}
	}
}

// forgetBatches leaves of each producer's batches the newest below base, as the
// snapshot there has it, and those from there on. A snapshot has no timestamp of
// a batch: the producer's serves, which may be of a marker behind it.
func forgetBatches(t *testing.T, producers []any, base int64, snapshot []any) {
	forgotten := 0
	for _, p := range producers {
		p := p.(object)
		list := p["cachedBatches"].([]any)
		for len(list) > 1 && number(t, list[1].(object), "firstOffset") < base {
			list = list[1:]
			forgotten++
		}
		p["cachedBatches"] = list
		for _, e := range snapshot {
			if e := e.(object); e["producerId"] == p["producerId"] && len(list) > 0 && number(t, list[0].(object), "firstOffset") < base {
				require.Equal(t, e["lastOffset"], list[0].(object)["lastOffset"])
				list[0].(object)["timestamp"] = e["timestamp"]
			}
		}
	}
	require.NotZero(t, forgotten)
}

// TestStatDamaged: damage in one partition is told, and the others are shown.
func TestStatDamaged(t *testing.T) {
	t.Parallel() // it is waited whether the damage stays
	dir := newStore(t)
	good(t, "topics", "create", "sound", "--dir", dir)
	if bits.UintSize == 64 { // else what is damaged looks like the end of the log to who has no lock
		name := filepath.Join(dir, "orders-0", segmentFile(0))
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		b[len(b)-1] ^= 1
		require.NoError(t, os.WriteFile(name, b, 0o600))
		for _, args := range [][]string{{"stat", "--json"}, {"stat", "--json", "orders", "--partition", "0"}} {
			r := tool(t, append(args, "--dir", dir)...)
			require.Equal(t, exitFailed, r.status)
			list := lines(t, r.stdout)
			require.Contains(t, list[0]["error"], name)
			require.Equal(t, int64(9), number(t, list[0], "highWatermark"))
			if len(args) == 2 {
				require.Len(t, list, 3)
				require.NotContains(t, list[1], "error")
				require.NotContains(t, list[2], "error")
			}
			require.Contains(t, r.stderr, "leat: orders-0: ")
			require.Contains(t, r.stderr, name)
			require.Contains(t, r.stderr, "leat: 'leat check DIR' looks at everything")
		}
		r := tool(t, "stat", "--dir", dir)
		require.Equal(t, exitFailed, r.status)
		require.Regexp(t, `\nsound +0 `, r.stdout)
	}

	require.NoError(t, os.RemoveAll(filepath.Join(dir, "sound-0")))
	r := tool(t, "stat", "--dir", dir, "sound", "--json")
	require.Equal(t, exitFailed, r.status)
	o := lines(t, r.stdout)[0]
	require.Nil(t, o["logEndOffset"])
	require.Contains(t, o["error"], "the folder of the partition is gone")
}

func segmentFile(base int64) string { return fmt.Sprintf("%020d.log", base) }
