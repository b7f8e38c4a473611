package codec

import (
	"bytes"
	"fmt"
	"io"
	"testing"
)

func benchRecords(n, size int) []Record {
	records := make([]Record, n)
	for i := range records {
		records[i] = Record{Offset: int64(i), Timestamp: 1700000000000 + int64(i), Value: bytes.Repeat([]byte{byte(i)}, size)}
	}
	return records
}

var shapes = []struct{ batch, size int }{{1, 100}, {100, 100}, {100, 1024}}

func perRecord(b *testing.B, s struct{ batch, size int }) {
	b.SetBytes(int64(s.batch * s.size))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(s.batch), "ns/record")
}

// BenchmarkHeaders encodes and decodes records that the fast paths leave: each
// has a key of 16 bytes and two headers.
func BenchmarkHeaders(b *testing.B) {
	s := struct{ batch, size int }{100, 100}
	records := benchRecords(s.batch, s.size)
	for i := range records {
		records[i].Key = bytes.Repeat([]byte("k"), 16)
		records[i].Headers = []RecordHeader{{Key: "trace-id", Value: make([]byte, 16)}, {Key: "content-type", Value: []byte("json")}}
	}
	data, err := AppendBatch(nil, NewHeader(0, records), records, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			PutRecords(data[HeaderSize:], records, 0, records[0].Timestamp)
		}
		perRecord(b, s)
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		var d Decoder
		var dst []Record
		for b.Loop() {
			if dst, err = d.DecodeAll(data, Batch(data).Payload(), dst); err != nil {
				b.Fatal(err)
			}
		}
		perRecord(b, s)
	})
}

// BenchmarkFloor is what no encoder or decoder can do without: a copy of the
// batch's bytes and their CRC.
func BenchmarkFloor(b *testing.B) {
	for _, s := range shapes {
		batch, err := AppendBatch(nil, NewHeader(0, benchRecords(s.batch, s.size)), benchRecords(s.batch, s.size), nil)
		if err != nil {
			b.Fatal(err)
		}
		dst := make([]byte, len(batch))
		b.Run(fmt.Sprintf("copy+crc/batch=%d/size=%d", s.batch, s.size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				copy(dst, batch)
				CRC(dst[attributesPos:])
			}
			perRecord(b, s)
		})
		b.Run(fmt.Sprintf("crc/batch=%d/size=%d", s.batch, s.size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				CRC(batch[attributesPos:])
			}
			perRecord(b, s)
		})
	}
}

// BenchmarkEncode sizes, writes and seals a batch in place.
func BenchmarkEncode(b *testing.B) {
	for _, s := range shapes {
		records := benchRecords(s.batch, s.size)
		dst := make([]byte, 1<<20)
		b.Run(fmt.Sprintf("batch=%d/size=%d", s.batch, s.size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				base := records[0].Timestamp
				size := HeaderSize + RecordsSize(records, base)
				n, maxTimestamp := PutRecords(dst[HeaderSize:size], records, 0, base)
				h := Header{
					LeaderEpoch: -1, Magic: Magic, BaseTimestamp: base, MaxTimestamp: maxTimestamp,
					ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1,
					LastOffsetDelta: int32(len(records) - 1), RecordCount: int32(len(records)),
				}
				h.Put(dst)
				Seal(dst[:HeaderSize+n])
			}
			perRecord(b, s)
		})
		b.Run(fmt.Sprintf("records+seal/batch=%d/size=%d", s.batch, s.size), func(b *testing.B) {
			b.ReportAllocs()
			size := HeaderSize + RecordsSize(records, records[0].Timestamp)
			for b.Loop() {
				PutRecords(dst[HeaderSize:size], records, 0, records[0].Timestamp)
				Seal(dst[:size])
			}
			perRecord(b, s)
		})
		b.Run(fmt.Sprintf("records/batch=%d/size=%d", s.batch, s.size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				PutRecords(dst, records, 0, records[0].Timestamp)
			}
			perRecord(b, s)
		})
		b.Run(fmt.Sprintf("size/batch=%d/size=%d", s.batch, s.size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				RecordsSize(records, records[0].Timestamp)
			}
			perRecord(b, s)
		})
	}
}

// BenchmarkEncodeOne is the shortest way to a batch of one record: the header
// is written first, so that its stores are done when the CRC reads them.
func BenchmarkEncodeOne(b *testing.B) {
	r := benchRecords(1, 100)[0]
	dst := make([]byte, 1<<12)
	h := Header{LeaderEpoch: -1, Magic: Magic, ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1, RecordCount: 1}
	b.ReportAllocs()
	for b.Loop() {
		size := HeaderSize + RecordSize(0, 0, r.Key, r.Value, r.Headers)
		h.BaseOffset++
		h.BaseTimestamp, h.MaxTimestamp = r.Timestamp, r.Timestamp
		h.Put(dst)
		PutRecord(dst[HeaderSize:size], 0, 0, r.Key, r.Value, r.Headers)
		Seal(dst[:size])
	}
	perRecord(b, struct{ batch, size int }{1, 100})
}

// BenchmarkDecode reads the records of a batch, without its CRC.
func BenchmarkDecode(b *testing.B) {
	for _, s := range shapes {
		records := benchRecords(s.batch, s.size)
		data, err := AppendBatch(nil, NewHeader(0, records), records, nil)
		if err != nil {
			b.Fatal(err)
		}
		batch := Batch(data)
		b.Run(fmt.Sprintf("next/batch=%d/size=%d", s.batch, s.size), func(b *testing.B) {
			b.ReportAllocs()
			var d Decoder
			var r Record
			for b.Loop() {
				if err := d.Reset(batch, batch.Payload()); err != nil {
					b.Fatal(err)
				}
				for {
					err := d.Next(&r)
					if err == io.EOF {
						break
					}
					if err != nil {
						b.Fatal(err)
					}
				}
			}
			perRecord(b, s)
		})
		b.Run(fmt.Sprintf("all/batch=%d/size=%d", s.batch, s.size), func(b *testing.B) {
			b.ReportAllocs()
			var d Decoder
			var dst []Record
			for b.Loop() {
				if dst, err = d.DecodeAll(batch, batch.Payload(), dst); err != nil {
					b.Fatal(err)
				}
			}
			perRecord(b, s)
		})
	}
}
