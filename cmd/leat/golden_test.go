package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/golden"
)

// same compares what Kafka's classes wrote into a sidecar with what dump prints:
// the same members, no more and no less, and the same values. A long value has
// only a hash in a sidecar; dump prints it in full.
func same(t testing.TB, want, got any, at string) {
	t.Helper()
	switch want := want.(type) {
	case object:
		if hash, ok := want["sha256"]; ok && len(want) == 2 {
			text, ok := got.(string)
			require.True(t, ok, "%s: %v", at, got)
			b, err := base64.StdEncoding.DecodeString(text)
			require.NoError(t, err, at)
			require.Equal(t, number(t, want, "len"), int64(len(b)), at)
			require.Equal(t, hash, golden.Hash(b), at)
			return
		}
		got, ok := got.(object)
		require.True(t, ok, "%s: no object", at)
		require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)), at)
		for name := range want {
			same(t, want[name], got[name], at+"."+name)
		}
	case []any:
		got, ok := got.([]any)
		require.True(t, ok, "%s: no list", at)
		require.Len(t, got, len(want), at)
		for i := range want {
			same(t, want[i], got[i], fmt.Sprintf("%s[%d]", at, i))
		}
	default:
		require.Equal(t, want, got, at)
	}
}

func sameBatches(t testing.TB, want []any, got []object) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		same(t, want[i], got[i], fmt.Sprintf("batch %d", i))
	}
}

func TestGoldenBatches(t *testing.T) {
	var names []string
	golden.JSON(t, &names, "batches", "index.json")
	require.NotEmpty(t, names)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			log := golden.Path(t, "batches", filepath.FromSlash(name)+".log")
			if path.Dir(name) == "old" {
				for _, form := range [][]string{{log}, {"--json", log}} {
					r := tool(t, append([]string{"dump"}, form...)...)
					require.Equal(t, exitFailed, r.status)
					require.NotContains(t, r.stdout, "batch")
					require.Regexp(t, `^leat: .*\.log: position 0: .*magic byte `+name[len("old/magic"):][:1]+` .*older than 0\.11\n$`, r.stderr)
				}
				return
			}
			want := parse(t, golden.Bytes(t, "batches", filepath.FromSlash(name)+".json"))
			sameBatches(t, want["batches"].([]any), lines(t, sound(t, "--json", log)))
			require.NotEmpty(t, sound(t, log))
		})
	}
}

func TestGoldenOffsets(t *testing.T) {
	want := parse(t, golden.Bytes(t, "offsets", "consumer_offsets_log.json"))["batches"].([]any)
	folder := golden.Path(t, "offsets", "__consumer_offsets-12")
	got := lines(t, sound(t, "--json", filepath.Join(folder, "00000000000000000000.log")))
	sameBatches(t, want, got)

	// The same from the folder, where each batch also says its file.
	all := lines(t, sound(t, "--json", folder))
	for _, b := range all {
		require.Equal(t, "00000000000000000000.log", b["file"])
		delete(b, "file")
	}
	require.Equal(t, got, all)
}

func TestGoldenPartition(t *testing.T) {
	for _, set := range []string{"p1", "p2-deleted-head"} {
		if !golden.Has("partition", set) {
			continue
		}
		expected := parse(t, golden.Bytes(t, "partition", set, "expected.json"))
		for _, copied := range []string{"clean", "crash"} {
			t.Run(set+"/"+copied, func(t *testing.T) {
				folder := golden.Path(t, "partition", set, copied, "orders-3")
				inFiles := goldenFiles(t, folder, expected[copied].(object))
				require.NotEmpty(t, inFiles)
				require.Equal(t, inFiles, lines(t, sound(t, "--json", folder)))
				require.NotEmpty(t, sound(t, folder))
			})
		}
	}
}

func TestGoldenCompacted(t *testing.T) {
	for _, set := range []string{"plain", "txn", "txn-compressed"} {
		if !golden.Has("compacted", set) {
			continue
		}
		expected := parse(t, golden.Bytes(t, "compacted", set, "expected.json"))
		for _, step := range expected["steps"].([]any) {
			step := step.(object)
			t.Run(set+"/"+step["dir"].(string), func(t *testing.T) {
				folder := golden.Path(t, "compacted", set, step["dir"].(string), "kv-0")
				inFiles := goldenFiles(t, folder, step["files"].(object))
				require.Equal(t, inFiles, lines(t, sound(t, "--json", folder)))
				require.NotEmpty(t, sound(t, folder))
			})
		}
	}
}

// goldenFiles compares each file of a partition's folder with what a sidecar
// says, and returns the batches of all as the folder's dump should have them.
func goldenFiles(t *testing.T, folder string, files object) (batches []object) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		want := files[name].(object)
		delete(want, "sha256")
		out := sound(t, "--json", filepath.Join(folder, name))
		if filepath.Ext(name) == ".log" {
			got := lines(t, out)
			if list, ok := want["batches"].([]any); ok {
				require.Len(t, got, len(list), name)
				for i := range list {
					w, g := list[i].(object), maps.Clone(got[i])
					shorten(t, w, g)
					same(t, w, g, fmt.Sprintf("%s, batch %d", name, i))
				}
			}
			for _, b := range got {
				b["file"] = name
				batches = append(batches, b)
			}
			continue
		}
		got := lines(t, out)
		require.Len(t, got, 1)
		require.Equal(t, name, got[0]["file"])
		delete(got[0], "file")
		if name == "leader-epoch-checkpoint" {
			require.NotEmpty(t, got[0]["entries_epoch_startOffset"])
			delete(got[0], "entries_epoch_startOffset") // only the text is in the sidecar
		}
		same(t, want, got[0], name)
	}
	return batches
}

// shorten makes of a dumped batch what the compacted sets have of one.
func shorten(t *testing.T, want, got object) {
	if _, short := want["records_offset_timestamp_key_valueLen"]; !short {
		return
	}
	for _, name := range []string{"magic", "nextOffset", "crcValid", "batchLength", "timestampType"} {
		require.Contains(t, got, name)
		delete(got, name)
	}
	list := []any{}
	for _, r := range got["records"].([]any) {
		r := r.(object)
		row := []any{r["offset"], r["timestamp"], r["key"], nil}
		if key, ok := r["key"].(string); ok && got["isControl"] == false {
			b, err := base64.StdEncoding.DecodeString(key)
			require.NoError(t, err)
			row[2] = string(b)
		}
		if value, ok := r["value"].(string); ok {
			b, err := base64.StdEncoding.DecodeString(value)
			require.NoError(t, err)
			row[3] = json.Number(fmt.Sprint(len(b)))
		}
		list = append(list, row)
	}
	delete(got, "records")
	got["records_offset_timestamp_key_valueLen"] = list
}

// What recovery keeps of a damaged segment, dump shows with its records, and
// what recovery drops behind the damage although it is sound, too.
func TestGoldenCorruptSegments(t *testing.T) {
	var all golden.CorruptSegments
	golden.JSON(t, &all, "corrupt", "segments.json")
	good := golden.Bytes(t, "corrupt", "segments", "good.log")
	// Sound batches whose offsets are wrong only in the log as a whole, which is
	// not what dump judges.
	orderOnly := []string{"offset-goes-back", "duplicate-last", "offset-below-base", "offset-overflow"}
	// Kafka's recovery lets them pass, and its readers too; Leat's do not.
	otherMagic := []string{"magic-3", "magic-4", "magic-127", "flip-third-magic"}

	for _, c := range all.Cases {
		t.Run(c.Name, func(t *testing.T) {
			name := golden.Path(t, "corrupt", "segments", c.Name+".log")
			data := golden.Bytes(t, "corrupt", "segments", c.Name+".log")
			r := tool(t, "dump", "--json", name)
			got := map[int64]object{}
			for _, b := range lines(t, r.stdout) {
				got[number(t, b, "position")] = b
			}

			want := exitOK
			if c.RecoverThrows != "" && !slices.Contains(orderOnly, c.Name) ||
				c.RecoverThrows == "" && len(bytes.Trim(data[c.ValidBytes:], "\x00")) > 0 {
				want = exitFailed
			}
			intact := 0
			for _, layout := range all.GoodLayout {
				pos, end := layout[0], layout[0]+layout[1]
				if end <= int64(len(data)) && bytes.Equal(data[pos:end], good[pos:end]) {
					intact++
					require.Contains(t, got, pos)
					require.Contains(t, got[pos], "records")
				}
			}
			for _, b := range c.Batches {
				require.Contains(t, got, b.Position)
				o := got[b.Position]
				require.Equal(t, true, o["crcValid"])
				require.Equal(t, b.SizeInBytes, number(t, o, "sizeInBytes"))
				require.Equal(t, b.BaseOffset, number(t, o, "baseOffset"))
				require.Equal(t, b.LastOffset, number(t, o, "lastOffset"))
				if b.ReadError != "" || number(t, o, "magic") != 2 {
					require.True(t, b.ReadError != "" || slices.Contains(otherMagic, c.Name))
					require.NotContains(t, o, "records")
					require.NotEmpty(t, o["error"])
					want = exitFailed
					continue
				}
				require.NotContains(t, o, "error")
				require.Len(t, o["records"], int(b.RecordsRead))
			}
			for pos, o := range got {
				if o["crcValid"] == false {
					require.NotContains(t, o, "records")
					require.NotContains(t, o, "error")
					want = exitFailed
					require.Contains(t, r.stderr, fmt.Sprintf("%s: position %d: ", name, pos))
				}
			}
			require.Equal(t, want, r.status, "%s\n%s", c.About, r.stderr)
			require.Equal(t, want == exitOK, r.stderr == "", r.stderr)
			if c.Name == "hole-third" || c.Name == "flip-third-crc" || c.Name == "length-2147483647" {
				require.Equal(t, len(all.GoodLayout)-1, intact) // the check above is about something
			}

			// People are told the same.
			text := tool(t, "dump", name)
			require.Equal(t, want, text.status)
			require.Equal(t, r.stderr, text.stderr)
		})
	}
}

func TestGoldenCorruptIndexes(t *testing.T) {
	// Kafka's checks let these pass.
	stricter := []string{
		"middle-out-of-order.index", "position-decreases.index", "middle-out-of-order.timeindex", "ragged.txnindex",
		"out-of-order.txnindex", "bad-version.txnindex", "version-2.txnindex", "last-zero.index",
		"leader-epoch-checkpoint.epochs-out-of-order",
	}
	var all []golden.CorruptIndex
	golden.JSON(t, &all, "corrupt", "indexes.json")
	require.NotEmpty(t, all)
	for _, c := range all {
		t.Run(c.File, func(t *testing.T) {
			data := golden.Bytes(t, "corrupt", "indexes", c.File)
			name := c.File
			if filepath.Ext(name) != "" && c.LeaderEpochs == nil && c.BaseOffset > 0 {
				name = fmt.Sprintf("%020d%s", c.BaseOffset, filepath.Ext(name))
			}
			name = filepath.Join(t.TempDir(), name)
			require.NoError(t, os.WriteFile(name, data, 0o400))
			r := tool(t, "dump", "--json", name)

			want := exitOK
			if c.SanityCheck+c.Read != "ok" || slices.Contains(stricter, c.File) {
				want = exitFailed
			}
			require.Equal(t, want, r.status, "%s\n%s", r.stdout, r.stderr)
			require.Equal(t, want == exitOK, r.stderr == "", r.stderr)
			require.Equal(t, want, tool(t, "dump", name).status)
			if c.SanityCheck+c.Read != "ok" && filepath.Ext(c.File) == ".snapshot" {
				require.Empty(t, r.stdout)
				return
			}
			got := parse(t, []byte(r.stdout))
			require.Equal(t, c.SizeInBytes, number(t, got, "sizeInBytes")+c.SizeInBytes-int64(len(data)))
			if c.SanityCheck+c.Read != "ok" {
				return
			}
			list := func(name string) []any {
				require.Contains(t, got, name)
				return got[name].([]any)
			}
			// Kafka counts the unused end of a preallocated index as entries.
			entries := -1
			switch {
			case c.LastOffset != nil:
				entries = len(list("entries_offset_position"))
			case c.LastTime != nil:
				entries = len(list("entries_timestamp_offset"))
			case c.LeaderEpochs != nil:
				require.Len(t, list("entries_epoch_startOffset"), len(c.LeaderEpochs))
			case c.Entries != nil:
				require.Len(t, list("entries"), c.Entries.Count)
			}
			if entries >= 0 {
				require.Equal(t, entries < c.Entries.Count, got["preallocated"], "%d of %d", entries, c.Entries.Count)
			}
		})
	}
}
