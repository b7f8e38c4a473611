package log

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
)

// BenchmarkClean is one round over a log of 100 B records in batches of 100, on
// the disk, where each of 10 updates takes the place of a record before. SetBytes
// counts the bytes of the log.
func BenchmarkClean(b *testing.B) {
	size := int64(64 << 20)
	if os.Getenv("LEAT_LONG") != "" {
		size = 1 << 30
	}
	c := Config{Topic: "t", SegmentBytes: 64 << 20, Durability: Written, FlushInterval: -1, ExternalEpochs: true, TimestampAfter: -1}
	var keys, read, used int64
	for b.Loop() {
		b.StopTimer()
		fsys, err := vfs.OS(b.TempDir(), vfs.Options{Create: true})
		require.NoError(b, err)
		require.NoError(b, fsys.Mkdir("t-0"))
		env := NewEnv(EnvOptions{FS: fsys, MaxMaps: 100})
		l, _, err := Open(env, "t-0", c, OpenState{New: true, RecoveryPoint: -1, StartOffset: -1, HighWatermark: -1})
		require.NoError(b, err)
		fillUpdates(b, l, size, 10)
		require.NoError(b, l.RollLarge(1))
		require.NoError(b, l.Sync(context.Background()))
		before := l.Size()
		b.SetBytes(before)
		b.StartTimer()
		r, err := l.Compact(context.Background(), CleanOptions{Now: time.Now(), From: -1, MaxLag: -1, TombstoneRetain: time.Hour, MapBytes: 64 << 20})
		require.NoError(b, err)
		b.StopTimer()
		require.Equal(b, l.LogEndOffset(), r.To)
		keys, read, used = keys+r.Keys, read+r.RecordsRead, max(used, r.MapBytes)
		require.NoError(b, l.Close())
		env.Close()
		require.NoError(b, fsys.Close())
		b.StartTimer()
	}
	b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(keys)/b.Elapsed().Seconds(), "keys/s")
	b.ReportMetric(float64(used)/(1<<20), "map-MiB")
}

// fillUpdates appends records of 100 B, each with one of size/100/updates keys.
func fillUpdates(b *testing.B, l *Log, size int64, updates uint64) {
	n := uint64(size / 100)
	r := rand.New(rand.NewPCG(1, 2))
	value := noise(100 - 16 - 10)
	rs := make([]codec.Record, 100)
	keys := make([]byte, 16*len(rs))
	var raw []byte
	for at := int64(0); at < int64(n); at += int64(len(rs)) {
		for i := range rs {
			key := keys[16*i : 16*i+16]
			binary.BigEndian.PutUint64(key, r.Uint64N(n/updates))
			rs[i] = codec.Record{Offset: at + int64(i), Timestamp: 1_700_000_000_000 + at, Key: key, Value: value}
		}
		h := newHeader()
		h.BaseOffset, h.LastOffsetDelta = at, int32(len(rs)-1)
		h.BaseTimestamp, h.MaxTimestamp = rs[0].Timestamp, rs[0].Timestamp
		var err error
		raw, err = codec.AppendBatch(raw[:0], h, rs, nil)
		require.NoError(b, err)
		_, err = l.AppendRaw(raw, RawOptions{Follower: true, Durability: Written})
		require.NoError(b, err)
	}
}
