package index

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// Increments between entries: how even the index is must not matter much.
var shapes = []struct {
	name string
	step func(i int, r *rand.Rand) int64
}{
	{"even", func(int, *rand.Rand) int64 { return 40 }},
	{"random", func(_ int, r *rand.Rand) int64 { return 1 + r.Int64N(80) }},
	{"bursts", func(i int, r *rand.Rand) int64 { return 1 + r.Int64N(4)*int64(1+i/125_000*1000) }},
}

const benchEntries = 250_000 // those of a 1 GiB segment at one an interval of 4096 bytes

// targets are looked up in turn; drawing them costs more than the lookup.
func targets(last int64) []int64 {
	r := rand.New(rand.NewPCG(3, 4))
	list := make([]int64, 1<<14)
	for i := range list {
		list[i] = r.Int64N(last + last/50)
	}
	return list
}

func BenchmarkLookup(b *testing.B) {
	for _, shape := range shapes {
		b.Run(fmt.Sprintf("offset/%s", shape.name), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			build, at := NewOffsetBuilder(0, benchEntries), int64(0)
			for i := range benchEntries {
				at += shape.step(i, r)
				if err := build.Append(at, int64(i+1)*4096); err != nil {
					b.Fatal(err)
				}
			}
			list, sum, i := targets(at), int64(0), 0
			b.ReportAllocs()
			for b.Loop() {
				offset, position := build.View().Lookup(list[i&(len(list)-1)])
				sum += offset + position
				i++
			}
		})
		b.Run(fmt.Sprintf("time/%s", shape.name), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			build, at := NewTimeBuilder(0, benchEntries+1), int64(0)
			for i := range benchEntries {
				at += shape.step(i, r)
				if err := build.MaybeAppend(at, int64(i+1), false); err != nil {
					b.Fatal(err)
				}
			}
			list, sum, i := targets(at), int64(0), 0
			b.ReportAllocs()
			for b.Loop() {
				timestamp, offset := build.View().Lookup(list[i&(len(list)-1)])
				sum += timestamp + offset
				i++
			}
		})
	}
}

func BenchmarkOffsetBuilderAppend(b *testing.B) {
	build := NewOffsetBuilder(0, 1<<31-1)
	b.ReportAllocs()
	at := int64(0)
	for b.Loop() {
		if at++; at == benchEntries {
			build.Reset()
			at = 1
		}
		if err := build.Append(at, at); err != nil {
			b.Fatal(err)
		}
	}
}
