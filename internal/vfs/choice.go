package vfs

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
)

// Choice says what a power cut keeps of a DirtyState. The zero value keeps
// nothing that was not durable.
type Choice struct {
	Pages, Names, Sizes Pick
}

// The corners: only what was durable, and everything that was live.
var (
	None = Choice{}
	All  = Choice{Pages: Pick{rest: true}, Names: Pick{rest: true}, Sizes: Pick{rest: true}}
)

func (c Choice) String() string {
	return fmt.Sprintf("pages %v, names %v, sizes %v", c.Pages, c.Names, c.Sizes)
}

// Pick is a set of indexes. The zero value is empty.
type Pick struct {
	bits []uint64
	rest bool // what is in bits is not picked, and all else is
}

// Has reports whether i is picked.
func (p Pick) Has(i int) bool {
	in := i>>6 < len(p.bits) && p.bits[i>>6]>>(i&63)&1 != 0
	return in != p.rest
}

func (p *Pick) set(i int) {
	for i>>6 >= len(p.bits) {
		p.bits = append(p.bits, 0)
	}
	p.bits[i>>6] |= 1 << (i & 63)
}

// PickAll is every index.
func PickAll() Pick { return Pick{rest: true} }

// Only is the given indexes.
func Only(index ...int) (p Pick) {
	for _, i := range index {
		p.set(i)
	}
	return p
}

// Except is all but the given indexes.
func Except(index ...int) Pick { return Only(index...).inverse() }

// Below is the indexes less than n.
func Below(n int) (p Pick) {
	for i := range n {
		p.set(i)
	}
	return p
}

// From is the indexes from n on.
func From(n int) Pick { return Below(n).inverse() }

func (p Pick) inverse() Pick {
	p.rest = !p.rest
	return p
}

// String is as in "{0 3}", "all" or "all but {2}".
func (p Pick) String() string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range len(p.bits) * 64 {
		if (Pick{bits: p.bits}).Has(i) {
			if b.Len() > 1 {
				b.WriteByte(' ')
			}
			fmt.Fprint(&b, i)
		}
	}
	b.WriteByte('}')
	switch {
	case !p.rest:
		return b.String()
	case b.Len() == 2:
		return "all"
	}
	return "all but " + b.String()
}

// bitsOf is the set that the bits of v are.
func bitsOf(v uint64) Pick { return Pick{bits: []uint64{v}} }

func randomPick(n int, rng *rand.Rand) (p Pick) {
	for i := 0; i < n; i += 64 {
		p.bits = append(p.bits, rng.Uint64())
	}
	return p
}

// exhaustive is how many things are tried in every combination: 1024 of them.
const exhaustive = 10

// picks is every set of n indexes when n is at most full, else the empty one,
// the whole, each single one in and out, each prefix and each suffix.
func picks(n, full int) (list []Pick) {
	if n <= full {
		for v := range uint64(1) << n {
			list = append(list, bitsOf(v))
		}
		return list
	}
	list = append(list, Pick{}, PickAll())
	for i := range n {
		list = append(list, Only(i), Except(i))
	}
	for i := 2; i < n-1; i++ { // shorter and longer ones are there already
		list = append(list, Below(i), From(i))
	}
	return list
}

// Choices enumerates crash states as FAULTS.md has it. Up to ten undecided
// things: every combination. Else every choice of pages (all subsets of up to
// ten; of more none, all, each missing, each alone, each prefix, each suffix)
// with names and sizes kept and lost, every choice of names and of sizes with
// the others kept and lost, and k random choices of seed.
func Choices(d *DirtyState, k int, seed uint64) (list []Choice) {
	p, n, s := len(d.Pages), len(d.Names), len(d.Sizes)
	if p+n+s <= exhaustive {
		for v := range uint64(1) << (p + n + s) {
			list = append(list, Choice{
				Pages: bitsOf(v & (1<<p - 1)),
				Names: bitsOf(v >> p & (1<<n - 1)),
				Sizes: bitsOf(v >> (p + n)),
			})
		}
		return list
	}
	corners := []Pick{{}, PickAll()}
	for _, pages := range picks(p, exhaustive) {
		for _, c := range corners {
			list = append(list, Choice{pages, c, c})
		}
	}
	for _, a := range corners {
		for _, b := range corners {
			for _, names := range picks(n, 4) {
				list = append(list, Choice{a, names, b})
			}
			for _, sizes := range picks(s, 4) {
				list = append(list, Choice{a, b, sizes})
			}
		}
	}
	rng := rand.New(rand.NewPCG(seed, uint64(p+n+s)))
	for range k {
		list = append(list, Choice{randomPick(p, rng), randomPick(n, rng), randomPick(s, rng)})
	}
	return list
}

// States clones each state of Choices once: choices that come to the same are
// told by Hash.
func (d *DirtyState) States(k int, seed uint64) iter.Seq2[Choice, *Mem] {
	return func(yield func(Choice, *Mem) bool) {
		seen := make(map[uint64]bool)
		for _, c := range Choices(d, k, seed) {
			m := d.Clone(c)
			if h := m.Hash(); seen[h] {
				continue
			} else {
				seen[h] = true
			}
			if !yield(c, m) {
				return
			}
		}
	}
}
