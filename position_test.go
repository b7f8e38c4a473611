package leat

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPosition: its text says all, and is what JSON has of it, as a value and as
// the key of an object.
func TestPosition(t *testing.T) {
	for text, p := range map[string]Position{
		"":                                       {},
		"orders-3@17":                            {Topic: "orders", Partition: 3, Offset: 17},
		"a-b-1-0@0":                              {Topic: "a-b-1"},
		"orders-2@-1":                            {Topic: "orders", Partition: 2, Offset: -1},
		"__x.y-2147483646@9223372036854775807":   {Topic: "__x.y", Partition: math.MaxInt32 - 1, Offset: math.MaxInt64},
		`orders-3@17 "host a"`:                   {Topic: "orders", Partition: 3, Offset: 17, Metadata: "host a"},
		`orders-3@17 "a@b-1@2 \"\\\n\xff\u2028"`: {Topic: "orders", Partition: 3, Offset: 17, Metadata: "a@b-1@2 \"\\\n\xff\u2028"},
	} {
		require.Equal(t, text, p.String())
		back, err := ParsePosition(text)
		require.NoError(t, err)
		require.Equal(t, p, back)

		b, err := json.Marshal(map[Position][]Position{p: {p}})
		require.NoError(t, err)
		var m map[Position][]Position
		require.NoError(t, json.Unmarshal(b, &m))
		require.Equal(t, map[Position][]Position{p: {p}}, m)
	}
	for _, text := range []string{
		"orders", "orders-3", "orders@1", "-3@1", "orders-3@", "orders-3@x", "orders-3@1 ", "orders-3@1 x", "orders-03@1",
		"orders-3@+1", "orders-3@01", "or ders-3@1", " orders-3@1", "orders-3@1 'x'", `orders-3@1 ""`, "orders-3@1 `x`", "orders-3@9223372036854775808",
	} {
		_, err := ParsePosition(text)
		require.Error(t, err, "%q", text)
		p := Position{Topic: "kept"}
		require.Error(t, p.UnmarshalText([]byte(text)))
		require.Equal(t, Position{Topic: "kept"}, p)
	}
	_, err := Position{Topic: "not a topic"}.MarshalText()
	require.Error(t, err, "nobody could read it back")
}

func FuzzPosition(f *testing.F) {
	f.Add("orders-3@17")
	f.Add(`a-b-0@-1 "x\"y"`)
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePosition(s)
		if err == nil && p.String() != s {
			t.Fatalf("%q is read as %#v, whose text is %q", s, p, p.String())
		}
	})
}
