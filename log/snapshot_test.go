package log

import (
	"encoding/binary"
	"math"
	"path"
	"strings"
	"testing"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/golden"
	"github.com/stretchr/testify/require"
)

func TestCorruptSnapshots(t *testing.T) {
	var cases []golden.CorruptIndex
	golden.JSON(t, &cases, "corrupt", "indexes.json")
	seen := 0
	for _, c := range cases {
		if path.Ext(c.File) != ".snapshot" {
			continue
		}
		seen++
		t.Run(c.File, func(t *testing.T) {
			b := golden.Bytes(t, "corrupt", "indexes", c.File)
			list, err := ParseSnapshot(b)
			if c.Read != "ok" {
				require.Equal(t, "CorruptSnapshotException", c.Read)
				require.ErrorIs(t, err, ErrSnapshot)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.Entries.Count, len(list))
			if c.Entries.Count > 0 {
				require.Equal(t, c.Entries.Producers, goldenSnapshots(list))
			}
			require.Equal(t, b, AppendSnapshot(nil, list), "in the order given")
			require.Equal(t, append([]byte("kept"), b...), AppendSnapshot([]byte("kept"), list))
		})
	}
	require.Equal(t, 8, seen)
}

func TestKafkaSnapshots(t *testing.T) {
	seen := 0
	check := func(files map[string]golden.File, folder ...string) {
		for name, want := range files {
			if !strings.HasSuffix(name, ".snapshot") {
				continue
			}
			seen++
			b := golden.Bytes(t, append(folder[:len(folder):len(folder)], name)...)
			list, err := ParseSnapshot(b)
			require.NoError(t, err)
			require.Equal(t, want.Entries.Count, len(list))
			if len(list) > 0 {
				require.Equal(t, want.Entries.Producers, goldenSnapshots(list))
			}
			require.Equal(t, b, AppendSnapshot(nil, list))
		}
	}
	for _, set := range []string{"p1", "p2-deleted-head"} {
		if golden.Has("partition", set) {
			var e golden.Partition
			golden.JSON(t, &e, "partition", set, "expected.json")
			check(e.Clean, "partition", set, "clean", "orders-3")
			check(e.Crash, "partition", set, "crash", "orders-3")
		}
	}
	for _, set := range []string{"plain", "txn", "txn-compressed"} {
		if golden.Has("compacted", set) {
			var e golden.Compacted
			golden.JSON(t, &e, "compacted", set, "expected.json")
			for _, step := range e.Steps {
				check(step.Files, "compacted", set, step.Dir, "kv-0")
			}
		}
	}
	require.NotZero(t, seen)
}

// seal gives a changed snapshot a valid CRC, so that what follows is looked at.
func sealSnapshot(b []byte) []byte {
	binary.BigEndian.PutUint32(b[2:], codec.CRC(b[6:]))
	return b
}

func TestSnapshotRefuses(t *testing.T) {
	good := ProducerSnapshot{ProducerID: 7, LastOffset: 9, OffsetDelta: 9, CurrentTxnFirstOffset: -1}
	change := func(f func(*ProducerSnapshot)) []byte {
		p := good
		f(&p)
		return AppendSnapshot(nil, []ProducerSnapshot{{ProducerID: 1, LastOffset: -1}, p})
	}
	count := func(n int32) []byte {
		b := AppendSnapshot(nil, []ProducerSnapshot{good})
		binary.BigEndian.PutUint32(b[6:], uint32(n))
		return sealSnapshot(b)
	}
	for want, b := range map[string][]byte{
		"producer id -1":                     change(func(p *ProducerSnapshot) { p.ProducerID = -1 }),
		"producer 1 is listed twice":         change(func(p *ProducerSnapshot) { p.ProducerID = 1 }),
		"offset delta 10 of last offset 9":   change(func(p *ProducerSnapshot) { p.OffsetDelta = 10 }),
		"offset delta -1 of last offset 9":   change(func(p *ProducerSnapshot) { p.OffsetDelta = -1 }),
		"56 bytes for 2147483647 producers":  count(math.MaxInt32),
		"56 bytes for -1 producers":          count(-1),
		"56 bytes for 0 producers":           count(0),
		"9 bytes, at least 10 needed":        make([]byte, 9),
		"version 0, not 1":                   make([]byte, 10),
		"CRC is 00000000, computed":          {0, 1, 0, 0, 0, 0, 0, 0, 0, 0},
		"56 bytes for -2147483648 producers": count(math.MinInt32),
		"57 bytes for 1 producers":           sealSnapshot(append(AppendSnapshot(nil, []ProducerSnapshot{good}), 0)),
	} {
		_, err := ParseSnapshot(b)
		require.ErrorIs(t, err, ErrSnapshot)
		require.ErrorContains(t, err, want)
	}
	list, err := ParseSnapshot(change(func(p *ProducerSnapshot) { p.LastOffset = math.MaxInt64; p.OffsetDelta = math.MaxInt32 }))
	require.NoError(t, err)
	require.Len(t, list, 2)

	huge := count(math.MaxInt32)
	require.LessOrEqual(t, testing.AllocsPerRun(10, func() { _, _ = ParseSnapshot(huge) }), 8.0, "a count that is not borne out allocates nothing")
}
