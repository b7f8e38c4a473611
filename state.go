package leat

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/leatlog/leat/internal/vfs"
)

// leat.state holds what is known of each partition right now, so that after a
// crash a torn tail can be told from damage. It is lines of eight words, 64 bits
// each and little endian, the first of which is the header:
//
//	line 0   | "LEATSTAT" | version = 1 | checkpoint | next checkpoint | live | 0 | 0 | 0 |
//	line 1.. | partition | log start | published end | durable end | high watermark | generation | 0 | 0 |
//
// 'partition' is a hash of topic id and number, 0 in a line that is free; the
// other words of a line are package log's (log.Marks). A line never crosses a
// sector, so it is on the disk whole or not at all. 'checkpoint' is a hash of
// recovery-point-offset-checkpoint: when the file there is neither the one that
// Leat wrote last nor the one it was about to write, a Kafka broker has had the
// directory, and the lines are worth nothing.
//
// The file is mapped, so that storing a word is all that an update takes. Where
// it cannot be (a 32-bit system, a filesystem without real allocation), the words
// are on the heap and written at each checkpoint and at Close: they are then only
// as fresh as that, which is safe, because a durable end that is too low only
// makes less of the log beyond suspicion. 'live' is 1 if the lines are exact, and
// 0 if they are as old as that: a reader in another process goes by the files
// then.
type stateFile struct {
	fsys vfs.FS
	file vfs.File
	m    vfs.Map // nil: the words are on the heap
	max  int     // lines that there can be

	// believed is whether lines found at open can be.
	believed bool

	mu struct {
		sync.Mutex
		heap  []*statePage   // without a map
		lines int            // that the file has room for, header included
		byKey map[uint64]int // which line a partition has
		free  []int
	}
}

const (
	stateName    = "leat.state"
	stateMagic   = "LEATSTAT"
	stateVersion = 1

	lineSize = 64
	// stateMin is one page; stateMax bounds the map, which is reserved whole so
	// that it never moves: a million partitions. In memory form reserving is
	// allocating, so there it is less.
	stateMin    = 4096
	stateMax    = 64 << 20
	stateMaxMem = 256 << 10
)

// The words of the header.
const (
	wordVersion = 1
	wordCurrent = 2
	wordNext    = 3
	wordLive    = 4
)

type (
	line      = [8]uint64
	statePage [stateMin / lineSize]line
)

// openState opens leat.state, or starts a new one in place of what cannot be
// used. checkpoint is the hash of the recovery point checkpoint as it is.
func openState(fsys vfs.FS, checkpoint uint64) (*stateFile, error) {
	s := &stateFile{fsys: fsys}
	s.mu.byKey = make(map[uint64]int)
	size, err := s.openFile(checkpoint)
	if err == nil {
		err = s.load(size)
	}
	if err == nil && !s.believed {
		err = s.discard(checkpoint)
	}
	if err == nil {
		err = s.setLive()
	}
	if err != nil {
		s.closeFiles()
		return nil, err
	}
	for i := 1; i < s.mu.lines; i++ {
		key := s.word(i, 0)
		if _, twice := s.mu.byKey[key]; key == 0 || twice {
			s.clear(i)
			continue
		}
		s.mu.byKey[key] = i
	}
	return s, nil
}

// openFile opens the file and tells its size, or makes a new one.
func (s *stateFile) openFile(checkpoint uint64) (int64, error) {
	f, err := s.fsys.Open(stateName, vfs.ReadWrite)
	if err == nil {
		s.file = f
		size, serr := f.Size()
		var head [lineSize]byte
		if serr == nil && size >= lineSize {
			_, serr = f.ReadAt(head[:], 0)
		}
		word := func(i int) uint64 { return binary.LittleEndian.Uint64(head[8*i:]) }
		if serr == nil && string(head[:8]) == stateMagic && word(wordVersion) == stateVersion {
			s.believed = word(wordCurrent) == checkpoint || word(wordNext) == checkpoint
			return size, nil
		}
		f.Close()
		s.file = nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		if err := s.fsys.Remove(stateName); err != nil {
			return 0, err
		}
	}
	if s.file, err = s.fsys.Create(stateName); err != nil {
		return 0, err
	}
	return 0, s.fsys.SyncDir(".")
}

// load maps the file, or reads it.
func (s *stateFile) load(size int64) error {
	limit := int64(stateMax)
	if s.file.OS() == nil {
		limit = stateMaxMem
	}
	s.max = int(limit / lineSize)
	size = max(min(size, limit)&^(stateMin-1), stateMin)
	if s.fsys.Mapped() && bits.UintSize == 64 {
		// A copy of the file may have holes, in which storing could fault.
		err := s.file.Allocate(0, size)
		if err == nil {
			s.m, err = s.file.Map(limit, true)
		}
		if err == nil {
			s.mu.lines = int(size / lineSize)
			return nil
		}
		if !errors.Is(err, vfs.ErrNotSupported) && !errors.Is(err, vfs.ErrTooManyMaps) {
			return err
		}
	}
	for pos := int64(0); pos < size; pos += stateMin {
		p := new(statePage)
		b := unsafe.Slice((*byte)(unsafe.Pointer(p)), stateMin)
		// What lies beyond the end reads as zero: lines that are free.
		if n, err := s.file.ReadAt(b, pos); err != nil && n == 0 && !isEOF(err) {
			return err
		}
		s.mu.heap = append(s.mu.heap, p)
	}
	s.mu.lines = int(size / lineSize)
	return nil
}

// discard makes all lines free, and the header that of the present checkpoint.
func (s *stateFile) discard(checkpoint uint64) error {
	for i := range s.mu.lines {
		for w := range 8 {
			s.setWord(i, w, 0)
		}
	}
	s.setWord(0, 0, binary.LittleEndian.Uint64([]byte(stateMagic)))
	s.setWord(0, wordVersion, stateVersion)
	s.setWord(0, wordCurrent, checkpoint)
	s.setWord(0, wordNext, checkpoint)
	return s.sync()
}

// setLive says, before anything is appended, whether the lines are kept exact.
func (s *stateFile) setLive() error {
	live := uint64(0)
	if s.m != nil {
		live = 1
	}
	if s.word(0, wordLive) == live {
		return nil
	}
	s.setWord(0, wordLive, live)
	return s.sync()
}

// expect is called before the recovery point checkpoint is replaced by one with
// this hash, so that the lines are believed whether or not a crash comes first.
func (s *stateFile) expect(checkpoint uint64) error {
	s.setWord(0, wordNext, checkpoint)
	return s.sync()
}

// replaced is called when it has been.
func (s *stateFile) replaced(checkpoint uint64) { s.setWord(0, wordCurrent, checkpoint) }

// sync makes the words durable as they are.
func (s *stateFile) sync() error {
	if s.m == nil {
		s.mu.Lock()
		heap := s.mu.heap
		s.mu.Unlock()
		var b [stateMin]byte
		for i, p := range heap {
			for l := range p {
				for w := range p[l] {
					binary.NativeEndian.PutUint64(b[l*lineSize+w*8:], atomic.LoadUint64(&p[l][w]))
				}
			}
			if _, err := s.file.WriteAt(b[:], int64(i)*stateMin); err != nil {
				return err
			}
		}
	}
	return s.file.Sync()
}

// close makes the words durable and gives them up: no log may use them any more.
func (s *stateFile) close() error {
	return errors.Join(s.sync(), s.closeFiles())
}

func (s *stateFile) closeFiles() error {
	var err error
	if s.m != nil {
		err = s.m.Unmap()
	}
	if s.file != nil {
		err = errors.Join(err, s.file.Close())
	}
	return err
}
