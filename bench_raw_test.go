package leat

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
)

// BenchmarkAppendBatches appends one encoded batch of 100 records of 100 B a
// call. Its floor copies the same bytes into mapped files whose pages are cold,
// and computes the CRC twice: of what came, and of what is stored, which a stamped
// batch needs. A leader looks at every record besides, a follower does not.
func BenchmarkAppendBatches(b *testing.B) {
	b.Run("leader", func(b *testing.B) { benchAppendBatches(b, TopicConfig{Durability: Written}, false) })
	b.Run("leader/times=log", func(b *testing.B) {
		benchAppendBatches(b, TopicConfig{Durability: Written, Timestamps: LogAppendTime}, false)
	})
	b.Run("follower", func(b *testing.B) { benchAppendBatches(b, TopicConfig{Durability: Written}, true) })
	b.Run("floor", floorAppendBatches)
}

const rawRecords, rawSize = 100, 100

func rawBenchBatch(b *testing.B) []byte {
	rs := make([]codec.Record, rawRecords)
	for i, r := range benchRecords(rawRecords, rawSize) {
		rs[i] = codec.Record{Offset: int64(i), Timestamp: 1_700_000_000_000, Value: r.Value}
	}
	return must[[]byte](b)(codec.AppendBatch(nil, codec.NewHeader(0, rs), rs, nil))
}

func benchAppendBatches(b *testing.B, c TopicConfig, follower bool) {
	t := newBenchTopic(b, c)
	raw := rawBenchBatch(b)
	next := int64(0)
	b.ReportAllocs()
	b.SetBytes(rawRecords * rawSize)
	t.start()
	for b.Loop() {
		if follower {
			codec.SetBaseOffset(raw, next)
		}
		r, err := t.p.AppendBatches(raw, AppendOptions{Follower: follower})
		if err != nil {
			b.Fatal(err)
		}
		next = r.LastOffset + 1
		n := t.n
		if t.wrote(len(raw)); t.n != n {
			next = 0
		}
	}
	t.report(b.N * rawRecords)
}

func floorAppendBatches(b *testing.B) {
	fsys := must[vfs.FS](b)(vfs.OS(benchDir(b), vfs.Options{}))
	src := rawBenchBatch(b)
	var f vfs.File
	var m vfs.Map
	drop := func() {
		if f != nil {
			m.Unmap()
			f.Close()
			fsys.Remove("floor")
		}
	}
	defer func() { drop() }()
	var to []byte
	b.ReportAllocs()
	b.SetBytes(rawRecords * rawSize)
	for b.Loop() {
		if len(to) < len(src) {
			b.StopTimer()
			drop()
			f = must[vfs.File](b)(fsys.Create("floor"))
			if err := f.Allocate(0, benchFile); err != nil {
				b.Fatal(err)
			}
			m = must[vfs.Map](b)(f.Map(benchFile, true))
			to = m.Bytes()
			b.StartTimer()
		}
		if crc32.Checksum(src[21:], castagnoli) != binary.BigEndian.Uint32(src[17:]) {
			b.Fatal("CRC")
		}
		copy(to, src)
		binary.BigEndian.PutUint32(to[17:], crc32.Checksum(to[21:len(src)], castagnoli))
		to = to[len(src):]
	}
	perRecord(b, b.N*rawRecords)
}
