package codec

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/compress"
)

func TestValidateClient(t *testing.T) {
	records := benchRecords(3, 20)
	for _, c := range []struct {
		name string
		edit func(h *Header, r []Record) []Record
		want string // for clients only
	}{
		{"plain", func(h *Header, r []Record) []Record { return r }, ""},
		{"idempotent", func(h *Header, r []Record) []Record { h.ProducerID, h.BaseSequence = 1, 0; return r }, ""},
		{"no sequence", func(h *Header, r []Record) []Record { h.ProducerID = 0; return r }, "producer id 0 with base sequence -1"},
		{"control", func(h *Header, r []Record) []Record { h.Attributes = ControlBit; return r }, "control batch from a client"},
		{"gap at the end", func(h *Header, r []Record) []Record { h.LastOffsetDelta++; return r }, "record count 3 and last offset delta 3"},
		{"gap inside", func(h *Header, r []Record) []Record { return append(r[:1:1], r[2]) }, "record count 2 and last offset delta 2"},
		{"no records", func(h *Header, r []Record) []Record { return nil }, "record count 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := NewHeader(0, records)
			kept := c.edit(&h, records)
			out, err := AppendBatch(nil, h, kept, nil)
			require.NoError(t, err)
			require.NoError(t, Validate(out, nil, 0, false))
			err = Validate(out, nil, 0, true)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrInvalid)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "at byte")
		})
	}
}

// With as many records as offsets, deltas that rise are 0, 1, 2 and so on; any
// other order is damage, for clients and for the log.
func TestValidateDeltas(t *testing.T) {
	b := plainBatch(2, 1, raw(rec(attr, 0, 1, -1, -1, 0), rec(attr, 0, 0, -1, -1, 0)))
	require.NoError(t, b.Check())
	require.ErrorIs(t, Validate(b, nil, 0, true), ErrCorrupt)
	require.ErrorIs(t, Validate(b, nil, 0, false), ErrCorrupt)
}

func TestValidateCompressed(t *testing.T) {
	coders := compress.New()
	defer coders.Close()
	records := benchRecords(100, 100)
	for k := compress.Gzip; k <= compress.Zstd; k++ {
		t.Run(k.String(), func(t *testing.T) {
			h := NewHeader(0, records)
			h.Attributes = uint16(k)
			out, err := AppendBatch(nil, h, records, coders)
			require.NoError(t, err)
			size := RecordsSize(records, h.BaseTimestamp)
			s, err := Inspect(out, coders, size, true)
			require.NoError(t, err)
			require.Equal(t, Summary{Records: 100, MaxTimestamp: h.MaxTimestamp, MinTimestamp: s.MinTimestamp, NullKeys: 100}, s)

			err = Validate(out, coders, size-1, true)
			require.ErrorIs(t, err, compress.ErrTooLarge)
			require.NotErrorIs(t, err, ErrCorrupt, "the limit is the caller's")

			garbage := sealed(h, []byte("this is not compressed at all, whatever the header says"))
			err = Validate(garbage, coders, 1<<20, true)
			require.ErrorIs(t, err, ErrCorrupt)
			require.ErrorIs(t, err, compress.ErrCorrupt)
			require.ErrorContains(t, err, k.String()+" records at byte 61 of the batch")

			cut := append(Batch(nil), out[:len(out)-10]...)
			Seal(cut)
			require.ErrorIs(t, Validate(cut, coders, 1<<20, true), ErrCorrupt)
		})
	}
}

func TestInspect(t *testing.T) {
	records := []Record{{Timestamp: 5, Key: []byte{}}, {Offset: 1, Timestamp: -9}, {Offset: 2, Timestamp: 4}}
	h := NewHeader(0, records)
	h.MaxTimestamp = 1000 // a client that lies
	out, err := AppendBatch(nil, h, records, nil)
	require.NoError(t, err)
	s, err := Inspect(out, nil, 0, true)
	require.NoError(t, err)
	require.Equal(t, Summary{Records: 3, MaxTimestamp: 5, MinTimestamp: -9, NullKeys: 2}, s)

	s, err = Inspect(sealed(NewHeader(0, nil), nil), nil, 0, false)
	require.NoError(t, err)
	require.Equal(t, Summary{MaxTimestamp: -1, MinTimestamp: math.MaxInt64}, s)
}

// TestInspectKeepsNothing: a small compressed batch may unpack to millions of
// headers, and checking them must not cost memory.
func TestInspectKeepsNothing(t *testing.T) {
	headers := make([]RecordHeader, 10_000)
	rs := []Record{{Headers: headers}, {Offset: 1, Headers: headers[:3]}, {Offset: 2}}
	b, err := AppendBatch(nil, NewHeader(0, rs), rs, nil)
	require.NoError(t, err)
	var d Decoder
	require.Zero(t, testing.AllocsPerRun(3, func() {
		s, err := d.Inspect(b, Batch(b).Payload())
		require.NoError(t, err)
		require.Equal(t, 3, s.Records)
	}))
	require.Zero(t, cap(d.headers))
	got, err := d.DecodeAll(b, Batch(b).Payload(), nil)
	require.NoError(t, err)
	require.Len(t, got[0].Headers, 10_000, "the next use keeps them")
}
