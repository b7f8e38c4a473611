package log

import (
	"hash/crc32"
	"testing"
	"time"
)

func BenchmarkEnc(b *testing.B) {
	v := make([]byte, 100)
	for _, n := range []int{1, 100} {
		rs := make([]Record, n)
		for i := range rs {
			rs[i] = Record{Value: v, Timestamp: time.UnixMilli(1700000000000)}
		}
		buf := make([]byte, 16<<10)
		g := [][]Record{rs}
		name := map[int]string{1: "1", 100: "100"}[n]
		b.Run("enc/"+name, func(b *testing.B) {
			for b.Loop() {
				encodeBatch(buf, g, 1234, 0, facts{latest: 1700000000000}, stamps{})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
		})
		sz := encodeBatch(buf, g, 1234, 0, facts{latest: 1700000000000}, stamps{})
		src := make([]byte, sz)
		b.Run("floor/"+name, func(b *testing.B) {
			for b.Loop() {
				copy(buf, src)
				crc32.Checksum(buf[21:sz], castagnoli)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
		})
		b.Run("now", func(b *testing.B) {
			for b.Loop() {
				_ = time.Now()
			}
		})
		l := &Log{cfg: Config{MaxBatchBytes: 1 << 20, TimestampAfter: time.Hour, TimestampBefore: -1}}
		b.Run("inspect/"+name, func(b *testing.B) {
			for b.Loop() {
				l.inspect(rs)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/record")
		})
	}
}
