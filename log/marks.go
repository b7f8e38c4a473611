package log

import (
	"sync/atomic"
	"unsafe"
)

// Marks is a partition's slot of leat.state: eight aligned words in memory that
// is mapped from the file, so that they are exact after the death of the
// process and, after a power cut, as old as the last write-back.
//
//	word 0   hash of topic id and partition number; 0: free
//	     1   log start offset
//	     2   published end: what readers in other processes may look at
//	     3   durable end: stored after a sync, so never too high
//	     4   high watermark
//	     5   generation: changes when published data may have been taken back;
//	         0: the words say nothing yet
//	     6,7 zero
//
// Words are little endian on disk. A nil *Marks keeps nothing.
type Marks struct {
	w    *[8]uint64
	sync func() error
}

const (
	markStart = iota + 1
	markPublished
	markDurable
	markWatermark
	markGeneration
)

// NewMarks uses the given words, which must be 8-byte aligned. sync makes them
// durable as they are; nil if nothing can.
func NewMarks(words *[8]uint64, sync func() error) *Marks { return &Marks{words, sync} }

// Sync makes the words durable as they are.
func (m *Marks) Sync() error {
	if m == nil || m.sync == nil {
		return nil
	}
	return m.sync()
}

func (m *Marks) load(i int) int64 {
	return int64(littleEndian(atomic.LoadUint64(&m.w[i])))
}

func (m *Marks) store(i int, v int64) {
	if m != nil {
		atomic.StoreUint64(&m.w[i], littleEndian(uint64(v)))
	}
}

// Start, Published, Durable, Watermark and Generation read the words.
func (m *Marks) Start() int64 { return m.load(markStart) }

// Published is the end of what readers may look at.
func (m *Marks) Published() int64 { return m.load(markPublished) }

// Durable is the end of what is known to be on stable storage.
func (m *Marks) Durable() int64 { return m.load(markDurable) }

// Watermark is the high watermark.
func (m *Marks) Watermark() int64 { return m.load(markWatermark) }

// Generation changes when published data may have been taken back.
func (m *Marks) Generation() int64 { return m.load(markGeneration) }

// TakeBack lowers the ends to end, where they are above it, and then raises the
// generation, so that a reader in another process who still sees the old
// generation has looked at bytes that were there, and one who sees the new one
// does not look beyond end. Whoever changes or removes published bytes calls it
// first, and Sync, before the files are touched.
func (m *Marks) TakeBack(end int64) {
	if m == nil {
		return
	}
	for _, i := range []int{markWatermark, markPublished, markDurable} {
		if m.load(i) > end {
			m.store(i, end)
		}
	}
	m.store(markGeneration, m.Generation()+1)
}

// Words are a line of leat.state at one moment.
type Words struct {
	Start, Published, Durable, Watermark, Generation int64
}

// WordsOf is what the words of a line say, in this machine's byte order.
func WordsOf(w *[8]uint64) Words {
	return Words{Start: int64(w[markStart]), Published: int64(w[markPublished]), Durable: int64(w[markDurable]),
		Watermark: int64(w[markWatermark]), Generation: int64(w[markGeneration])}
}

var bigEndian = func() bool {
	x := uint16(1)
	return *(*byte)(unsafe.Pointer(&x)) == 0
}()

func littleEndian(v uint64) uint64 {
	if !bigEndian {
		return v
	}
	return v>>56 | v>>40&0xff00 | v>>24&0xff0000 | v>>8&0xff000000 |
		v<<8&0xff00000000 | v<<24&0xff0000000000 | v<<40&0xff000000000000 | v<<56
}
