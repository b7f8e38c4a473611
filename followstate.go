package leat

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
)

// stateView is leat.state as a reader in another process sees it. Where the
// writer maps it, it is mapped here, and looking at a line costs some loads; else
// it is read. It may be missing, and appear, and be replaced.
type stateView struct {
	fsys vfs.FS
	mu   struct {
		sync.RWMutex
		file     vfs.File
		m        vfs.Map // nil: read
		believed bool
		// What the verdict depends on.
		checkpoint vfs.Info
		judged     line
	}
}

// refresh looks whether the file is another one, and whether it can be believed.
func (v *stateView) refresh() {
	v.mu.Lock()
	defer v.mu.Unlock()
	f, err := v.fsys.Open(stateName, vfs.ReadOnly)
	if err != nil {
		v.closeLocked()
		return
	}
	if v.mu.file != nil {
		if same, err := vfs.SameFile(f, v.mu.file); err == nil && same {
			_ = f.Close() // it was only opened to compare
			v.judgeLocked()
			return
		}
		v.closeLocked()
	}
	v.mu.file = f
	if v.fsys.Mapped() && bits.UintSize == 64 {
		limit := int64(stateMax)
		if f.OS() == nil {
			limit = stateMaxMem
		}
		if m, err := f.Map(limit, false); err == nil {
			v.mu.m = m
		}
	}
	v.judgeLocked()
}

// judgeLocked finds out whether the file is of whoever wrote the directory last.
// Reading the checkpoint again and again would be dear: its name, size and time
// tell whether it changed.
func (v *stateView) judgeLocked() {
	info, err := v.fsys.Stat(recoveryName)
	head, ok := v.lineLocked(0)
	if err == nil && ok && v.mu.believed && info == v.mu.checkpoint && head == v.mu.judged {
		return
	}
	v.mu.believed = false
	for range 3 { // the writer may be between file and word
		info, _ := v.fsys.Stat(recoveryName)
		text, err := readSmall(v.fsys, recoveryName)
		head, ok := v.lineLocked(0)
		if !ok || err != nil || head[0] != stateMagicWord || head[wordVersion] != stateVersion {
			continue
		}
		if hash := checkpointHash(text); head[wordCurrent] == hash || head[wordNext] == hash {
			v.mu.believed, v.mu.checkpoint, v.mu.judged = true, info, head
			return
		}
	}
}

var stateMagicWord = binary.LittleEndian.Uint64([]byte(stateMagic))

// lineLocked is line i as it is now, its words in this machine's byte order.
func (v *stateView) lineLocked(i int) (l line, ok bool) {
	if v.mu.file == nil {
		return l, false
	}
	if v.mu.m == nil {
		var b [lineSize]byte
		if n, _ := v.mu.file.ReadAt(b[:], int64(i)*lineSize); n < lineSize {
			return l, false
		}
		for w := range l {
			l[w] = binary.LittleEndian.Uint64(b[8*w:])
		}
		return l, true
	}
	err := v.guard(func(data []byte) {
		at := (*line)(unsafe.Pointer(&data[i*lineSize]))
		for w := range l {
			l[w] = littleEndian(atomic.LoadUint64(&at[w]))
		}
	})
	return l, err == nil
}

// guard calls f with the map: somebody may have cut the file.
func (v *stateView) guard(f func(data []byte)) (err error) {
	data := v.mu.m.Bytes()
	defer vfs.Recover(v.mu.file.Path(), data, &err, vfs.SetFault())
	f(data)
	return nil
}

// teller is what a partition's log asks what its writer says.
func (v *stateView) teller(key uint64) func() log.Told {
	var at atomic.Int32 // its line, 0 when that is not known
	return func() log.Told {
		v.mu.RLock()
		defer v.mu.RUnlock()
		t := log.Told{Late: v.mu.m == nil}
		if !v.mu.believed {
			return t
		}
		i := int(at.Load())
		words, ok := v.lineLocked(i)
		if i == 0 || !ok || words[0] != key {
			if i, ok = v.findLocked(key); !ok {
				return t
			}
			at.Store(int32(i))
		}
		t = v.tellLocked(i, key)
		t.Late = v.mu.m == nil
		return t
	}
}

// tellLocked reads a line until two looks agree: the writer may be at it.
func (v *stateView) tellLocked(i int, key uint64) (t log.Told) {
	for range 10 {
		a, ok1 := v.lineLocked(i)
		b, ok2 := v.lineLocked(i)
		head, ok3 := v.lineLocked(0)
		if !ok1 || !ok2 || !ok3 || a[0] != key || b[0] != key {
			return log.Told{}
		}
		if a[5] != b[5] {
			continue
		}
		t.Words = log.WordsOf(&b)
		t.Known = t.Generation > 0
		t.Live = t.Known && head[wordLive] == 1
		return t
	}
	return t
}

// findLocked looks for the line of a partition.
func (v *stateView) findLocked(key uint64) (i int, ok bool) {
	size, err := v.mu.file.Size()
	if err != nil {
		return 0, false
	}
	lines := int(min(size, stateMax) / lineSize)
	if v.mu.m != nil {
		lines = min(lines, len(v.mu.m.Bytes())/lineSize)
		err := v.guard(func(data []byte) {
			for n := 1; n < lines && i == 0; n++ {
				if littleEndian(atomic.LoadUint64((*uint64)(unsafe.Pointer(&data[n*lineSize])))) == key {
					i = n
				}
			}
		})
		return i, err == nil && i > 0
	}
	buf := make([]byte, min(size, 64<<10))
	for at := int64(0); at < int64(lines)*lineSize; at += int64(len(buf)) {
		n, _ := v.mu.file.ReadAt(buf, at)
		for p := 0; p+lineSize <= n; p += lineSize {
			if n := int(at)/lineSize + p/lineSize; n > 0 && binary.LittleEndian.Uint64(buf[p:]) == key {
				return n, true
			}
		}
	}
	return 0, false
}

func (v *stateView) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closeLocked()
}

func (v *stateView) closeLocked() {
	v.mu.believed = false
	if v.mu.m != nil {
		_ = v.mu.m.Unmap() // it was only read
		v.mu.m = nil
	}
	if v.mu.file != nil {
		_ = v.mu.file.Close()
		v.mu.file = nil
	}
}
