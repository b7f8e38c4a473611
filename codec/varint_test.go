package codec

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/golden"
)

func TestVarintGolden(t *testing.T) {
	var g golden.Varints
	golden.JSON(t, &g, "varint.json")
	require.NotEmpty(t, g.Varint)
	require.NotEmpty(t, g.Varlong)
	require.NotEmpty(t, g.UnsignedVarint)
	require.NotEmpty(t, g.Edge)

	for _, c := range g.Varint {
		v, want := int32(c.Value), []byte(c.Bytes)
		require.Equal(t, want, AppendVarint([]byte{}, v), "%d", v)
		require.Equal(t, len(want), SizeVarint(v), "%d", v)
		buf := make([]byte, len(want))
		require.Equal(t, len(want), PutVarint(buf, v))
		require.Equal(t, want, buf)
		got, n := Varint(append(buf, 0xff))
		require.Equal(t, v, got)
		require.Equal(t, len(want), n)
	}
	for _, c := range g.Varlong {
		v, want := c.Value, []byte(c.Bytes)
		require.Equal(t, want, AppendVarlong([]byte{}, v), "%d", v)
		require.Equal(t, len(want), SizeVarlong(v), "%d", v)
		buf := make([]byte, len(want))
		require.Equal(t, len(want), PutVarlong(buf, v))
		require.Equal(t, want, buf)
		got, n := Varlong(append(buf, 0xff))
		require.Equal(t, v, got)
		require.Equal(t, len(want), n)
	}
	for _, c := range g.UnsignedVarint {
		v, want := uint32(c.Value), []byte(c.Bytes)
		require.Equal(t, want, AppendUvarint([]byte{}, v), "%d", v)
		require.Equal(t, len(want), SizeUvarint(v), "%d", v)
		got, n := Uvarint(append(append([]byte{}, want...), 0xff))
		require.Equal(t, v, got)
		require.Equal(t, len(want), n)
	}
}

// Kafka accepts longer forms than needed and ignores bits that do not fit.
func TestVarintEdges(t *testing.T) {
	var g golden.Varints
	golden.JSON(t, &g, "varint.json")
	check := func(want golden.Result, v int64, n int, in []byte, what string) {
		t.Helper()
		switch want.Err {
		case "":
			require.Equal(t, want.Value, v, "%s of %x", what, in)
			require.Positive(t, n, "%s of %x", what, in)
		case "BufferUnderflowException":
			require.Zero(t, n, "%s of %x", what, in)
		case "IllegalArgumentException":
			require.Negative(t, n, "%s of %x", what, in)
		default:
			t.Fatalf("what is %s?", want.Err)
		}
	}
	for _, c := range g.Edge {
		v32, n := Varint(c.Bytes)
		check(c.Varint, int64(v32), n, c.Bytes, "varint")
		v64, n := Varlong(c.Bytes)
		check(c.Varlong, v64, n, c.Bytes, "varlong")
		u, n := Uvarint(c.Bytes)
		check(c.UnsignedVarint, int64(u), n, c.Bytes, "unsigned varint")
	}
}

// The standard library writes the same bytes.
func TestVarintPowers(t *testing.T) {
	for shift := range 64 {
		for d := int64(-2); d <= 2; d++ {
			for _, v := range []int64{1<<shift + d, -(1 << shift) + d} {
				want := binary.AppendVarint([]byte{}, v)
				require.Equal(t, want, AppendVarlong([]byte{}, v))
				require.Equal(t, len(want), SizeVarlong(v))
				got, n := Varlong(want)
				require.Equal(t, v, got)
				require.Equal(t, len(want), n)
				if v < math.MinInt32 || v > math.MaxInt32 {
					continue
				}
				require.Equal(t, want, AppendVarint([]byte{}, int32(v)))
				require.Equal(t, len(want), SizeVarint(int32(v)))
				w, n := Varint(want)
				require.Equal(t, int32(v), w)
				require.Equal(t, len(want), n)
			}
		}
	}
}

func FuzzVarint(f *testing.F) {
	f.Add([]byte{0})
	f.Add([]byte{0x80, 0x80, 0x80, 0x80, 0x80})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		// A reference that only counts bytes: where is the first one without
		// the top bit?
		end := 0
		for end < len(b) && b[end] >= 0x80 {
			end++
		}
		check := func(n, most int) {
			t.Helper()
			switch {
			case end < min(len(b), most):
				require.Equal(t, end+1, n)
			case len(b) < most:
				require.Zero(t, n)
			default:
				require.Negative(t, n)
			}
		}
		v, n := Varint(b)
		check(n, maxVarint)
		if n > 0 {
			again, m := Varint(AppendVarint(nil, v))
			require.Equal(t, v, again)
			require.LessOrEqual(t, m, n)
		}
		l, n := Varlong(b)
		check(n, maxVarlong)
		if n > 0 {
			again, m := Varlong(AppendVarlong(nil, l))
			require.Equal(t, l, again)
			require.LessOrEqual(t, m, n)
		}
		u, n := Uvarint(b)
		check(n, maxVarint)
		if n > 0 {
			require.Equal(t, fmt.Sprint(u), fmt.Sprint(fold32(v)))
		}
	})
}
