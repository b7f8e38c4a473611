package log

import "math/bits"

// keyMap is the cleaner's map from the hash of a key to the offset of its newest
// record (Kafka's SkimpyOffsetMap): open addressing in one piece of memory, whose
// size does not change.
type keyMap struct {
	slots []keySlot
	n     int
	max   int // keys it takes: Kafka's load factor of 0.9

	touched int64 // keeps touch from being left out
}

// keySlot is 24 bytes on every system.
type keySlot struct {
	key  sum128
	next int64 // the offset and 1, so that 0 is an empty slot
}

const keySlotSize = 24

// newKeyMap makes a map of at most the given bytes, and of no more than it takes
// for so many keys. It holds one key at least.
func newKeyMap(bytes, keys int64) *keyMap {
	slots := min(max(bytes, 0)/keySlotSize, int64(maxMapBytes)/keySlotSize)
	if keys < slots { // else keys+keys/9 may be more than an int64 holds
		slots = min(slots, keys+keys/9+2)
	}
	slots = max(slots, 2)
	return &keyMap{slots: make([]keySlot, slots), max: max(int(slots)/10*9+int(slots)%10*9/10, 1)}
}

// maxMapBytes is what one slice can be on any system.
const maxMapBytes = 1<<(bits.UintSize-2) - 1

func (m *keyMap) bytes() int64 { return int64(len(m.slots)) * keySlotSize }

// home is where the search for a key begins.
func (m *keyMap) home(k sum128) int {
	hi, _ := bits.Mul64(k.a, uint64(len(m.slots)))
	return int(hi)
}

// put notes the newest offset of a key. It is false when the key is new and there
// is no room for it.
func (m *keyMap) put(k sum128, offset int64) bool {
	for i := m.home(k); ; {
		s := &m.slots[i]
		switch {
		case s.next == 0:
			if m.n >= m.max {
				return false
			}
			m.n++
			s.key = k
			fallthrough
		case s.key == k:
			s.next = offset + 1
			return true
		}
		if i++; i == len(m.slots) {
			i = 0
		}
	}
}

// get is the newest offset of a key, -1 for one that is not in the map.
func (m *keyMap) get(k sum128) int64 {
	for i := m.home(k); ; {
		s := &m.slots[i]
		if s.key == k || s.next == 0 {
			return s.next - 1
		}
		if i++; i == len(m.slots) {
			i = 0
		}
	}
}

// A probe is a record whose key is asked for together with others: one search
// waits for memory nearly all the time that it takes, and many wait together.
type probe struct {
	key    sum128
	offset int64
	record int  // its number in the batch
	value  bool // it has one
}

// maxProbes are as many as processors wait for at once, and some.
const maxProbes = 64

// touch asks for the memory of all probes (BenchmarkKeyMap: half the time).
func (m *keyMap) touch(list []probe) {
	var all int64
	for i := range list {
		all |= m.slots[m.home(list[i].key)].next
	}
	m.touched = all
}
