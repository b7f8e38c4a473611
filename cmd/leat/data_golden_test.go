package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
	"github.com/leatlog/leat/internal/golden"
)

// goldenPartitions runs a test on a copy of each directory that Kafka wrote: as
// it was closed, as a crash left it, which consume and fetch read as it is, and
// after leat has recovered that.
func goldenPartitions(t *testing.T, do func(t *testing.T, want *golden.Partition, dir string)) {
	for _, set := range []string{"p1", "p2-deleted-head"} {
		for _, form := range []string{"clean", "crash"} {
			if !golden.Has("partition", set, form) {
				continue
			}
			var want golden.Partition
			golden.JSON(t, &want, "partition", set, "expected.json")
			t.Run(set+"/"+form, func(t *testing.T) { do(t, &want, golden.CopyDir(t, "partition", set, form)) })
			t.Run(set+"/"+form+"/opened", func(t *testing.T) {
				dir := golden.CopyDir(t, "partition", set, form)
				st, err := leat.Open(dir, nil)
				require.NoError(t, err)
				topic, err := st.Topic(want.Topic)
				require.NoError(t, err)
				_, err = topic.Partition(want.Partition)
				require.NoError(t, err)
				require.NoError(t, st.Close())
				do(t, &want, dir)
			})
		}
	}
}

// What a consumer sees of Kafka's partitions, under both isolation levels.
func TestGoldenConsume(t *testing.T) {
	goldenPartitions(t, func(t *testing.T, want *golden.Partition, dir string) {
		for _, test := range []struct {
			isolation string
			want      []int64
		}{
			{"read_committed", want.State.ReadCommittedOffsets},
			{"read_uncommitted", want.State.ReadUncommittedOffsets},
		} {
			all := []string{"consume", want.Topic, "--dir", dir, "--offsets-only", "--no-follow", "--isolation", test.isolation}
			r := tool(t, all...)
			require.Equal(t, exitOK, r.status, r.stderr)
			require.Empty(t, r.stderr)
			var offsets []int64
			for line := range strings.Lines(r.stdout) {
				n, err := strconv.ParseInt(strings.TrimSuffix(line, "\n"), 10, 64)
				require.NoError(t, err)
				offsets = append(offsets, n)
			}
			require.Equal(t, test.want, offsets)
			named := tool(t, append(all, "--partition", fmt.Sprint(want.Partition))...)
			require.Equal(t, r.stdout, named.stdout)

			// The last n are n, whatever lies between them.
			for _, n := range []int{1, 2, 7, len(offsets) - 1, len(offsets), len(offsets) + 1, 1 << 30} {
				r := tool(t, append(all, "--last", fmt.Sprint(n))...)
				require.Equal(t, exitOK, r.status, r.stderr)
				var text strings.Builder
				for _, offset := range offsets[max(0, len(offsets)-n):] {
					fmt.Fprintln(&text, offset)
				}
				require.Equal(t, text.String(), r.stdout, "--last %d", n)
			}
		}

		// Contents, as JSON.
		byOffset := map[int64]golden.Record{}
		for name, f := range want.Clean {
			if filepath.Ext(name) == ".log" {
				for _, b := range f.Batches {
					for _, rec := range b.Records {
						byOffset[rec.Offset] = rec
					}
				}
			}
		}
		r := tool(t, "consume", want.Topic, "--dir", dir, "--no-follow", "--json")
		require.Equal(t, exitOK, r.status, r.stderr)
		for line := range strings.Lines(r.stdout) {
			var in incoming
			require.NoError(t, parseJSON([]byte(line), &in))
			var at struct{ Offset int64 }
			require.NoError(t, json.Unmarshal([]byte(line), &at))
			rec := byOffset[at.Offset]
			require.Equal(t, rec.Timestamp, *in.timestamp)
			require.Equal(t, want.Partition, *in.partition)
			require.True(t, rec.Key.Equal(in.key), "offset %d: key", at.Offset)
			require.True(t, rec.Value.Equal(in.value), "offset %d: value", at.Offset)
			require.Len(t, in.headers, len(rec.Headers))
			for i, h := range rec.Headers {
				require.Equal(t, h.Key, in.headers[i].Key)
				require.True(t, h.Value.Equal(in.headers[i].Value))
			}
		}
	})
}

// Each fetch of the sidecar is made, and gives the bytes and the aborted
// transactions that Kafka gave, cut behind the last whole batch.
func TestGoldenFetch(t *testing.T) {
	goldenPartitions(t, func(t *testing.T, want *golden.Partition, dir string) {
		levels := map[string]string{"LOG_END": "log_end", "HIGH_WATERMARK": "read_uncommitted", "TXN_COMMITTED": "read_committed"}
		exact, short := 0, 0
		for _, f := range want.State.Fetches {
			if !f.MinOneMessage {
				continue // Leat always gives the first batch
			}
			args := []string{
				"fetch", want.Topic, "--dir", dir, "--partition", fmt.Sprint(want.Partition), "--isolation", levels[f.Isolation],
				"--offset", fmt.Sprint(f.StartOffset), "--max-bytes", fmt.Sprint(f.MaxBytes),
			}
			r := tool(t, append(args, "--raw")...)
			if f.Error != "" {
				require.Equal(t, exitFailed, r.status)
				require.Empty(t, r.stdout)
				require.Contains(t, r.stderr, fmt.Sprintf("offset %d is no", f.StartOffset))
				continue
			}
			require.Equal(t, exitOK, r.status, r.stderr)
			file, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("%s-%d", want.Topic, want.Partition), fmt.Sprintf("%020d.log", f.Segment)))
			require.NoError(t, err)
			given := file[f.Position:][:f.SizeInBytes]
			sum := sha256.Sum256(given)
			require.Equal(t, f.SHA256, hex.EncodeToString(sum[:]))
			whole := wholeBatches(want.Clean[fmt.Sprintf("%020d.log", f.Segment)], f.Position, f.SizeInBytes)
			require.True(t, bytes.Equal(given[:whole], []byte(r.stdout)), "%+v: %d bytes", f, len(r.stdout))
			if whole == f.SizeInBytes {
				exact++
			} else {
				short++
			}
			var aborted []golden.AbortedTxn
			for _, o := range lines(t, r.stderr) {
				require.Len(t, o, 2)
				aborted = append(aborted, golden.AbortedTxn{ProducerID: number(t, o, "producerId"), FirstOffset: number(t, o, "firstOffset")})
			}
			require.Len(t, aborted, len(f.AbortedTransactions))
			for i, a := range f.AbortedTransactions {
				require.Equal(t, a, aborted[i])
			}

			// The same, described.
			r = tool(t, args...)
			require.Equal(t, exitOK, r.status, r.stderr)
			require.Empty(t, r.stderr)
			o := parse(t, []byte(r.stdout))
			require.Equal(t, whole, number(t, o, "sizeInBytes"))
			require.Equal(t, want.State.LogStartOffset, number(t, o, "logStartOffset"))
			require.Equal(t, want.State.LastStableOffset, number(t, o, "lastStableOffset"))
			require.Equal(t, want.State.HighWatermark, number(t, o, "highWatermark"))
			require.Len(t, o["abortedTransactions"], len(f.AbortedTransactions))
		}
		require.Positive(t, exact)
		t.Log(exact, "runs are Kafka's,", short, "end before a batch that Kafka cuts")
	})
}

// wholeBatches is how much of a stretch of a segment are whole batches.
func wholeBatches(f golden.File, pos, size int64) (n int64) {
	for _, b := range f.Batches {
		if end := b.Position + b.SizeInBytes; b.Position >= pos && end <= pos+size {
			n = end - pos
		}
	}
	return n
}
