package main

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

var someRecord = leat.Record{
	Topic: "orders", Partition: 3, Offset: 17, Timestamp: time.UnixMilli(1700000000123),
	Key: []byte("42"), Value: []byte("paid\x00"),
	Headers: []leat.Header{{Key: "a", Value: []byte("b")}, {Key: "c", Value: []byte{}}, {Key: "d"}},
}

func TestFormat(t *testing.T) {
	tombstone := leat.Record{Topic: "t", Timestamp: time.UnixMilli(-1)}
	empty := leat.Record{Topic: "t", Key: []byte{}, Value: []byte{}}
	for _, test := range []struct {
		format string
		record *leat.Record
		want   string
	}{
		{`%s`, &someRecord, "paid\x00\n"},
		{``, &someRecord, "\n"},
		{`%t[%p]@%o %T: %k=%s\n`, &someRecord, "orders[3]@17 1700000000123: 42=paid\x00\n"},
		{`%K %S %%%%`, &someRecord, "2 5 %%\n"},
		{`%R%s\0`, &someRecord, "\x00\x00\x00\x05paid\x00\x00"},
		{`%h`, &someRecord, "a=b,c=,d=NULL\n"},
		{`%o\t%o\r\n`, &someRecord, "17\t17\r\n"},
		{`\x41\x7e\x00\\%o`, &someRecord, "A~\x00\\17\n"},
		{`%o\x0a`, &someRecord, "17\n"},
		{`%k|%s|%K|%S|%h|%T`, &tombstone, "NULL|NULL|-1|-1||-1\n"},
		{`%R`, &tombstone, "\xff\xff\xff\xff\n"},
		{`%k|%s|%K|%S`, &empty, "||0|0\n"},
		{"a newline\nis one", &empty, "a newline\nis one\n"},
		{"a newline\n", &empty, "a newline\n\n"}, // no escape: printed as it is
	} {
		f, err := parseTemplate(test.format, "NULL", "\n")
		require.NoError(t, err, "%q", test.format)
		require.Equal(t, "> "+test.want, string(f.append([]byte("> "), test.record)), "%q", test.format)
	}
	for format, want := range map[string]string{
		`%`: "single '%'", `%s %`: "single '%'", `%z`: "%z is none of %k %K %s %S %R %h %o %p %T %t",
		`\`: `single '\'`, `\q`: `\q`, `\x4`: `\x`, `\xg0`: `\x`, `%s\`: `single '\'`,
	} {
		_, err := parseTemplate(format, "", "\n")
		require.ErrorContains(t, err, want, "%q", format)
	}
	s, err := unescape(`a\tb\x2c\0\\n`)
	require.NoError(t, err)
	require.Equal(t, "a\tb,\x00\\n", s)
}

func TestPrintedJSON(t *testing.T) {
	require.Equal(t, `{"topic":"orders","partition":3,"offset":17,"timestamp":1700000000123,"key":"42","value":"paid\u0000",`+
		`"headers":[{"key":"a","value":"b"},{"key":"c","value":""},{"key":"d","value":null}]}`+"\n",
		string(asJSON{}.append(nil, &someRecord)))
	require.Equal(t, `{"topic":"t","partition":0,"offset":0,"timestamp":-1,"key":null,"valueBase64":"/w=="}`+"\n",
		string(asJSON{}.append(nil, &leat.Record{Topic: "t", Timestamp: time.UnixMilli(-1), Value: []byte{0xff}})))
}

// randomBytes are a text, something near one, or none.
func randomBytes(r *rand.Rand) []byte {
	pieces := []string{"a", "\"", "\\", "\n", "\r", "\t", "\x00", "\x1f", "\x7f", "é", "\u2028", "\U0001f600", "</script>", "\xff", "\xc3", "\xed\xa0\x80", "\ufffd", " "}
	switch n := r.IntN(12); n {
	case 0:
		return nil
	case 1:
		return []byte{}
	default:
		b := []byte{}
		for range r.IntN(10) {
			// The pieces that are no UTF-8 come now and then only.
			p := pieces[r.IntN(len(pieces))]
			if n > 4 {
				p = strings.ToValidUTF8(p, "?")
			}
			b = append(b, p...)
		}
		return b
	}
}

func randomRecord(r *rand.Rand) leat.Record {
	rec := leat.Record{Topic: "orders", Partition: r.Int32N(4), Offset: r.Int64(), Timestamp: time.UnixMilli(r.Int64N(1700000000000)), Key: randomBytes(r), Value: randomBytes(r)}
	for range r.IntN(3) {
		rec.Headers = append(rec.Headers, leat.Header{Key: string(randomBytes(r)), Value: randomBytes(r)})
	}
	return rec
}

// requireSame compares a record with what was made of its JSON.
func requireSame(t testing.TB, rec *leat.Record, in *incoming) {
	t.Helper()
	require.Equal(t, rec.Partition, *in.partition)
	require.Equal(t, rec.Timestamp.UnixMilli(), *in.timestamp)
	require.Equal(t, rec.Key, in.key)
	require.Equal(t, rec.Value, in.value)
	require.Len(t, in.headers, len(rec.Headers))
	for i := range rec.Headers {
		require.Equal(t, rec.Headers[i], in.headers[i])
	}
}

// What consume prints produce reads, whatever it is; and others read it, too.
func TestJSONBothWays(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		rec := randomRecord(r)
		line := asJSON{}.append(nil, &rec)
		require.True(t, json.Valid(line), "%q", line)
		require.Equal(t, 1, strings.Count(string(line), "\n"))
		var in incoming
		require.NoError(t, parseJSON(line, &in), "%q", line)
		requireSame(t, &rec, &in)
	}
}

func TestWrongJSON(t *testing.T) {
	for line, want := range map[string]string{
		`{"value":"a"`:                         "does not end",
		`{"value":"a"} {}`:                     "something behind the object",
		`{"value":"a"}]`:                       "something behind the object",
		`"a"`:                                  "cannot unmarshal",
		`null`:                                 "is missing",
		`{}`:                                   `"value" is missing`,
		`{"key":"a"}`:                          `"value" is missing`,
		`{"value":1}`:                          "cannot unmarshal number",
		`{"value":"a","vlaue":"b"}`:            `unknown field "vlaue"`,
		`{"value":"a","valueBase64":"YQ=="}`:   "both",
		`{"valueBase64":"#"}`:                  "illegal base64",
		`{"value":"a","partition":4294967296}`: "cannot unmarshal",
		`{"value":"a","timestamp":"now"}`:      "cannot unmarshal",
		`{"value":"a","headers":[{"value":"b"}]}`: `header 0: "key" is missing`,
		"{\"value\":\"\xff\"}":                    "no UTF-8",
	} {
		var in incoming
		require.ErrorContains(t, parseJSON([]byte(line), &in), want, "%q", line)
	}
	var in incoming
	require.NoError(t, parseJSON([]byte(` {"value":null,"valueBase64":null,"key":null,"headers":null} `), &in))
	require.Nil(t, in.value)
	require.NoError(t, parseJSON([]byte(`{"valueBase64":""}`), &in))
	require.NotNil(t, in.value)
}

// FuzzJSON: what is taken is printed as it was meant.
func FuzzJSON(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		rec := randomRecord(r)
		f.Add(asJSON{}.append(nil, &rec))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var in incoming
		if parseJSON(line, &in) != nil {
			return
		}
		rec := leat.Record{Key: in.key, Value: in.value, Headers: in.headers, Timestamp: time.UnixMilli(0)}
		if in.partition != nil {
			rec.Partition = *in.partition
		}
		if in.timestamp != nil {
			rec.Timestamp = time.UnixMilli(*in.timestamp)
		}
		var again incoming
		require.NoError(t, parseJSON(asJSON{}.append(nil, &rec), &again))
		requireSame(t, &rec, &again)
	})
}

// Lines are the same, however the input comes in pieces.
func TestSplitter(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, delimiter := range []string{"\n", "\r\n", "\x00", "aab"} {
		for range 300 {
			var text []byte
			for range r.IntN(60) {
				text = append(text, "a\r\nb\x00"[r.IntN(5)])
			}
			want := strings.Split(string(text), delimiter)
			if want[len(want)-1] == "" {
				want = want[:len(want)-1] // what ends with a delimiter has no line behind it
			}
			s := splitter{delimiter: []byte(delimiter), limit: 60}
			got := []string{}
			for rest := text; ; {
				n := min(1+r.IntN(5), len(rest))
				p := piece{data: rest[:n], end: n == len(rest)}
				require.NoError(t, s.split(p, func(line []byte) error {
					got = append(got, string(line))
					return nil
				}))
				if rest = rest[n:]; p.end {
					break
				}
			}
			require.Equal(t, want, got, "%q by %q", text, delimiter)
		}
	}

	// A line that is too long is one as soon as that is clear.
	s := splitter{delimiter: []byte("\n"), limit: 4}
	never := func(line []byte) error { panic(string(line)) }
	require.NoError(t, s.split(piece{data: []byte("1234")}, never))
	require.NoError(t, s.split(piece{data: []byte("5")}, never))
	require.ErrorIs(t, s.split(piece{data: []byte("6")}, never), errLongLine)
	s = splitter{delimiter: []byte("\n"), limit: 4}
	require.ErrorIs(t, s.split(piece{data: []byte("12345\n")}, never), errLongLine)
	s = splitter{delimiter: []byte("\n"), limit: 4}
	require.ErrorIs(t, s.split(piece{data: []byte("12345"), end: true}, never), errLongLine)
}

func TestParseTime(t *testing.T) {
	for s, want := range map[string]time.Time{
		"1700000000123":             time.UnixMilli(1700000000123),
		"-1":                        time.UnixMilli(-1),
		"2026-01-31T08:00:00Z":      time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC),
		"2026-01-31T08:00:00.5Z":    time.Date(2026, 1, 31, 8, 0, 0, 5e8, time.UTC),
		"2026-01-31T08:00:00+02:00": time.Date(2026, 1, 31, 6, 0, 0, 0, time.UTC),
		"2026-01-31T08:00:00":       time.Date(2026, 1, 31, 8, 0, 0, 0, time.Local),
		"2026-01-31 08:00":          time.Date(2026, 1, 31, 8, 0, 0, 0, time.Local),
		"2026-01-31":                time.Date(2026, 1, 31, 0, 0, 0, 0, time.Local),
	} {
		got, err := parseTime(s)
		require.NoError(t, err, s)
		require.True(t, want.Equal(got), "%s is %v", s, got)
	}
	before := time.Now()
	got, err := parseTime("5m")
	require.NoError(t, err)
	require.WithinRange(t, got, before.Add(-5*time.Minute), time.Now().Add(-5*time.Minute))
	_, err = parseTime("yesterday")
	require.ErrorContains(t, err, `"yesterday" is neither`)
}
