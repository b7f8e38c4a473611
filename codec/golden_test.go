package codec

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/internal/golden"
)

const unpackLimit = 64 << 20

func goldenNames(t *testing.T, old bool) []string {
	t.Helper()
	var names []string
	golden.JSON(t, &names, "batches", "index.json")
	names = slices.DeleteFunc(names, func(name string) bool {
		return strings.HasPrefix(name, "old/") != old || !golden.Has("batches", name+".log")
	})
	require.NotEmpty(t, names)
	return names
}

func TestGoldenBatches(t *testing.T) {
	coders := compress.New()
	defer coders.Close()
	for _, name := range goldenNames(t, false) {
		t.Run(name, func(t *testing.T) {
			var want golden.BatchFile
			golden.JSON(t, &want, "batches", name+".json")
			data := golden.Bytes(t, "batches", name+".log")
			require.Equal(t, want.SizeInBytes, int64(len(data)))
			requireLog(t, coders, want.Batches, data, true)
		})
	}
}

func TestGoldenConsumerOffsets(t *testing.T) {
	if !golden.Has("offsets", "consumer_offsets_log.json") {
		t.Skip("not in the small copy")
	}
	coders := compress.New()
	defer coders.Close()
	var want golden.ConsumerOffsetsLog
	golden.JSON(t, &want, "offsets", "consumer_offsets_log.json")
	requireLog(t, coders, want.Batches, golden.Bytes(t, "offsets", filepath.FromSlash(want.File)), true)
}

func TestGoldenPartitions(t *testing.T) {
	coders := compress.New()
	defer coders.Close()
	seen := 0
	for _, set := range []string{"p1", "p2-deleted-head"} {
		if !golden.Has("partition", set, "expected.json") {
			continue
		}
		var want golden.Partition
		golden.JSON(t, &want, "partition", set, "expected.json")
		for name, f := range want.Clean {
			if path.Ext(name) != ".log" {
				continue
			}
			t.Run(set+"/"+name, func(t *testing.T) {
				requireLog(t, coders, f.Batches, golden.Bytes(t, "partition", set, "clean", "orders-3", name), true)
			})
			seen++
		}
	}
	require.NotZero(t, seen)
}

func TestGoldenCompacted(t *testing.T) {
	coders := compress.New()
	defer coders.Close()
	for _, set := range []string{"plain", "txn", "txn-compressed"} {
		if !golden.Has("compacted", set, "expected.json") {
			continue
		}
		var want golden.Compacted
		golden.JSON(t, &want, "compacted", set, "expected.json")
		for _, step := range want.Steps {
			for name, f := range step.Files {
				if path.Ext(name) != ".log" || !golden.Has("compacted", set, step.Dir, "kv-0", name) {
					continue
				}
				t.Run(set+"/"+step.Dir+"/"+name, func(t *testing.T) {
					requireLog(t, coders, f.Batches, golden.Bytes(t, "compacted", set, step.Dir, "kv-0", name), false)
				})
			}
		}
	}
}

// requireLog reads a whole log file and compares all of it with its sidecar.
// Those of compacted sets lack some fields that follow from others.
func requireLog(t *testing.T, coders *compress.Coders, want []golden.Batch, data []byte, full bool) {
	t.Helper()
	pos := int64(0)
	for i := range want {
		w := &want[i]
		require.Equal(t, w.Position, pos)
		b, err := Next(data[pos:])
		require.NoError(t, err, "at %d", pos)
		require.NoError(t, b.Check(), "at %d", pos)
		require.NoError(t, b.CheckCRC(), "at %d", pos)
		requireHeader(t, w, b, full)
		records := requireBatchRecords(t, coders, w, b)
		requireSameBytes(t, b, records)
		pos += w.SizeInBytes
	}
	_, err := Next(data[pos:])
	require.Equal(t, io.EOF, err, "batches not in the sidecar at %d", pos)
}

func requireHeader(t *testing.T, w *golden.Batch, b Batch, full bool) {
	t.Helper()
	h, err := ParseHeader(b)
	require.NoError(t, err)
	if !full {
		w.BatchLength, w.Magic, w.CRCValid = int32(w.SizeInBytes-12), 2, true
		w.NextOffset, w.TimestampType = w.LastOffset+1, "CreateTime"
		if w.LastSequence == 0 && w.BaseSequence < 0 {
			w.LastSequence = -1
		}
	}
	require.Equal(t, Header{
		BaseOffset: w.BaseOffset, BatchLength: w.BatchLength, LeaderEpoch: w.PartitionLeaderEpoch, Magic: w.Magic,
		CRC: w.CRC, Attributes: w.Attributes, LastOffsetDelta: w.LastOffsetDelta, BaseTimestamp: w.BaseTimestamp,
		MaxTimestamp: w.MaxTimestamp, ProducerID: w.ProducerID, ProducerEpoch: w.ProducerEpoch,
		BaseSequence: w.BaseSequence, RecordCount: w.RecordCount,
	}, h)
	copied := make([]byte, HeaderSize)
	h.Put(copied)
	require.Equal(t, []byte(b[:HeaderSize]), copied)

	require.Equal(t, w.SizeInBytes, int64(b.Size()))
	require.Equal(t, w.BaseOffset, b.BaseOffset())
	require.Equal(t, w.BatchLength, b.BatchLength())
	require.Equal(t, w.PartitionLeaderEpoch, b.LeaderEpoch())
	require.Equal(t, w.Magic, b.Magic())
	require.Equal(t, w.CRC, b.CRC())
	require.Equal(t, w.Attributes, b.Attributes())
	require.Equal(t, w.LastOffsetDelta, b.LastOffsetDelta())
	require.Equal(t, w.BaseTimestamp, b.BaseTimestamp())
	require.Equal(t, w.MaxTimestamp, b.MaxTimestamp())
	require.Equal(t, w.ProducerID, b.ProducerID())
	require.Equal(t, w.ProducerEpoch, b.ProducerEpoch())
	require.Equal(t, w.BaseSequence, b.BaseSequence())
	require.Equal(t, w.RecordCount, b.RecordCount())

	require.Equal(t, w.LastOffset, b.LastOffset())
	require.Equal(t, w.NextOffset, b.NextOffset())
	require.Equal(t, w.LastSequence, b.LastSequence())
	require.Equal(t, w.Compression, b.Compression().String())
	require.Equal(t, w.TimestampType, b.TimestampType().String())
	require.Equal(t, w.IsTransactional, b.IsTransactional())
	require.Equal(t, w.IsControl, b.IsControl())
	require.Equal(t, w.CRCValid, b.CRCValid())
	require.Equal(t, w.DeleteHorizonMs != nil, b.HasDeleteHorizon())
	if w.DeleteHorizonMs != nil {
		require.Equal(t, *w.DeleteHorizonMs, b.BaseTimestamp())
	}
}

func requireBatchRecords(t *testing.T, coders *compress.Coders, w *golden.Batch, b Batch) []Record {
	t.Helper()
	require.NoError(t, Validate(b, coders, unpackLimit, false))
	payload, err := Unpack(b, nil, coders, unpackLimit)
	require.NoError(t, err)
	records, err := DecodeAll(b, payload, nil)
	require.NoError(t, err)

	// One by one gives the same as all at once.
	var d Decoder
	require.NoError(t, d.Reset(b, payload))
	for i := range records {
		var r Record
		require.NoError(t, d.Next(&r))
		require.True(t, records[i].Equal(&r))
	}
	require.Equal(t, io.EOF, d.Next(new(Record)))

	require.Len(t, records, int(w.RecordCount))
	require.Len(t, records, len(w.Records)+len(w.Short))
	for i, wr := range w.Records {
		r := &records[i]
		require.Equal(t, wr.Offset, r.Offset)
		require.Equal(t, wr.Timestamp, r.Timestamp, "offset %d", r.Offset)
		seq := int32(-1)
		if wr.Sequence != nil {
			seq = *wr.Sequence
		}
		require.Equal(t, seq, b.Sequence(r.Offset), "offset %d", r.Offset)
		require.True(t, wr.Key.Equal(r.Key), "key at offset %d: want %s", r.Offset, wr.Key)
		require.True(t, wr.Value.Equal(r.Value), "value at offset %d: want %s", r.Offset, wr.Value)
		require.Len(t, r.Headers, len(wr.Headers), "offset %d", r.Offset)
		for k, wh := range wr.Headers {
			require.Equal(t, wh.Key, r.Headers[k].Key)
			require.True(t, wh.Value.Equal(r.Headers[k].Value), "header %d at offset %d: want %s", k, r.Offset, wh.Value)
		}
	}
	for i, ws := range w.Short {
		r := &records[i]
		require.Equal(t, ws.Offset, r.Offset)
		require.Equal(t, ws.Timestamp, r.Timestamp)
		require.Equal(t, ws.HasKey, r.Key != nil)
		key := string(r.Key)
		if w.IsControl {
			key = base64.StdEncoding.EncodeToString(r.Key)
		}
		require.Equal(t, ws.Key, key)
		if ws.ValueLen < 0 {
			require.Nil(t, r.Value)
		} else {
			require.NotNil(t, r.Value)
			require.Len(t, r.Value, int(ws.ValueLen))
		}
	}
	requireControl(t, w, b)
	return records
}

func requireControl(t *testing.T, w *golden.Batch, b Batch) {
	t.Helper()
	if !b.IsControl() {
		require.Nil(t, w.Control)
		return
	}
	c, ok, err := DecodeControl(b)
	require.NoError(t, err)
	require.Equal(t, b.RecordCount() == 1, ok)
	if w.Control != nil {
		require.Equal(t, Control{
			Type: w.Control.TypeID, KeyVersion: w.Control.KeyVersion,
			ValueVersion: w.Control.ValueVersion, CoordinatorEpoch: w.Control.CoordinatorEpoch,
		}, c)
		require.Equal(t, w.Control.Type == "COMMIT", c.Type == ControlCommit)
		require.Equal(t, w.Control.Type == "ABORT", c.Type == ControlAbort)
	}
	if ok && len(b) == MarkerSize && !b.HasDeleteHorizon() {
		require.Equal(t, []byte(b), AppendMarker(nil, b.Header(), c.Type == ControlCommit, c.CoordinatorEpoch))
	}
}

// requireSameBytes encodes an uncompressed batch again.
func requireSameBytes(t *testing.T, b Batch, records []Record) {
	t.Helper()
	if b.Compression() != compress.None {
		return
	}
	if b.TimestampType() == LogAppendTime {
		// The records show one time for all; what their deltas say is seen
		// without the bit.
		plain := slices.Clone(b)
		plain[attributesPos+1] &^= TimestampTypeBit
		var err error
		records, err = DecodeAll(plain, plain.Payload(), nil)
		require.NoError(t, err)
	}
	again, err := AppendBatch(nil, b.Header(), records, nil)
	require.NoError(t, err)
	require.Equal(t, []byte(b), again)

	dense := len(records) > 0 && records[0].Offset == b.BaseOffset() && int64(len(records)) == records[len(records)-1].Offset-records[0].Offset+1
	if dense {
		base := b.BaseTimestamp()
		require.Equal(t, len(b), HeaderSize+RecordsSize(records, base))
		inPlace := make([]byte, len(b))
		PutRecords(inPlace[HeaderSize:], records, 0, base)
		h := b.Header()
		h.CRC, h.BatchLength = 0, 0
		h.Put(inPlace)
		Seal(inPlace)
		require.Equal(t, []byte(b), inPlace)
	}
}

// The oldest formats are refused by name, not taken for damage.
func TestGoldenOldFormats(t *testing.T) {
	for _, name := range goldenNames(t, true) {
		t.Run(name, func(t *testing.T) {
			b, err := Next(golden.Bytes(t, "batches", name+".log"))
			if err == nil {
				require.ErrorIs(t, b.CheckCRC(), ErrUnsupportedMagic)
				require.ErrorIs(t, Validate(b, nil, 0, false), ErrUnsupportedMagic)
				err = b.Check()
			}
			require.ErrorIs(t, err, ErrUnsupportedMagic)
			require.NotErrorIs(t, err, ErrCorrupt)
			require.ErrorContains(t, err, "magic byte "+strings.TrimPrefix(path.Base(name), "magic")[:1]+" ")
			require.ErrorContains(t, err, "written by a Kafka older than 0.11")
		})
	}
}

// What recovery of a damaged segment leaves, batch by batch, and which of these
// batches cannot be decoded. Some of them pass Kafka's recovery all the same.
func TestGoldenCorruptSegments(t *testing.T) {
	coders := compress.New()
	defer coders.Close()
	var set golden.CorruptSegments
	golden.JSON(t, &set, "corrupt", "segments.json")
	seen, unreadable := 0, 0
	for _, c := range set.Cases {
		if !golden.Has("corrupt", "segments", c.Name+".log") {
			continue
		}
		seen++
		t.Run(c.Name, func(t *testing.T) {
			data := golden.Bytes(t, "corrupt", "segments", c.Name+".log")
			require.Equal(t, c.SizeInBytes, int64(len(data)))
			if c.RecoverThrows != "" {
				for pos := 0; ; { // the segment decides these; here they only must not hurt
					b, err := Next(data[pos:])
					if err != nil {
						break
					}
					_ = Validate(b, coders, unpackLimit, false)
					pos += len(b)
				}
				return
			}
			pos := int64(0)
			for _, w := range c.Batches {
				require.Equal(t, w.Position, pos)
				b, err := Next(data[pos:])
				require.NoError(t, err)
				require.NoError(t, b.CheckCRC())
				require.Equal(t, w.SizeInBytes, int64(len(b)))
				require.Equal(t, w.BaseOffset, b.BaseOffset())
				require.Equal(t, w.LastOffset, b.LastOffset())

				n, err := decodeCount(coders, b)
				if w.ReadError != "" {
					unreadable++
					require.Error(t, err, "Kafka says %s", w.ReadError)
					require.True(t, errors.Is(err, ErrCorrupt) || errors.Is(err, ErrUnsupported), "%v", err)
					require.ErrorContains(t, err, "at byte")
				} else {
					require.NoError(t, err)
					require.Equal(t, w.RecordsRead, int64(n))
				}
				if b.Magic() != Magic {
					require.ErrorIs(t, b.Check(), ErrUnsupportedMagic, "stricter than Kafka on purpose")
				}
				pos += int64(len(b))
			}
			require.Equal(t, c.ValidBytes, pos)
			b, err := Next(data[pos:])
			if c.TruncatedBytes == 0 {
				require.Equal(t, io.EOF, err)
				return
			}
			if err == nil {
				err = b.CheckCRC()
			}
			require.Error(t, err)
			require.NotEqual(t, io.EOF, err)
			switch {
			case len(bytes.Trim(data[pos:], "\x00")) == 0: // also the first bytes of a small offset
				require.Equal(t, ErrZero, err)
			case strings.HasPrefix(c.Name, "cut-"):
				require.Equal(t, ErrShort, err)
			}
		})
	}
	require.NotZero(t, seen)
	require.NotZero(t, unreadable)
}

func decodeCount(coders *compress.Coders, b Batch) (int, error) {
	payload, err := Unpack(b, nil, coders, unpackLimit)
	if err != nil {
		return 0, err
	}
	records, err := DecodeAll(b, payload, nil)
	return len(records), err
}
