package leat

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"github.com/leatlog/leat/internal/vfs"
)

// lineKey is the hash by which a partition finds its line.
func lineKey(id TopicID, partition int32) uint64 {
	sum := sha256.Sum256(binary.BigEndian.AppendUint32(id[:len(id):len(id)], uint32(partition)))
	return max(binary.BigEndian.Uint64(sum[:]), 1)
}

// claim gives the words of a partition, and whether they say something about it.
// An error means that there is no room for more: the partition does without.
func (s *stateFile) claim(key uint64) (words *line, believed bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.mu.byKey[key]; ok {
		return s.line(i), true, nil
	}
	if len(s.mu.free) == 0 {
		if err := s.growLocked(); err != nil {
			return nil, false, err
		}
	}
	last := len(s.mu.free) - 1
	i := s.mu.free[last]
	s.mu.free = s.mu.free[:last]
	s.mu.byKey[key] = i
	s.setWord(i, 0, key)
	return s.line(i), false, nil
}

// growLocked doubles the file.
func (s *stateFile) growLocked() error {
	from, to := s.mu.lines, min(2*s.mu.lines, s.max)
	if to == from {
		return vfs.ErrNoSpace
	}
	if s.m == nil {
		for len(s.mu.heap)*len(statePage{}) < to {
			s.mu.heap = append(s.mu.heap, new(statePage))
		}
	} else if err := s.file.Allocate(int64(from)*lineSize, int64(to-from)*lineSize); err != nil {
		return err
	}
	s.mu.lines = to
	for i := to - 1; i >= from; i-- { // so that lines are given out in order
		s.mu.free = append(s.mu.free, i)
	}
	return nil
}

// keep frees the lines of all partitions but those of keys: of topics that were
// deleted just before a crash.
func (s *stateFile) keep(keys map[uint64]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.mu.byKey {
		if !keys[key] {
			s.releaseLocked(key)
		}
	}
}

// release frees the line of a deleted partition, if it has one. The caller syncs
// before it is given to another.
func (s *stateFile) release(key uint64) (had bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, had = s.mu.byKey[key]
	s.releaseLocked(key)
	return had
}

func (s *stateFile) releaseLocked(key uint64) {
	if i, ok := s.mu.byKey[key]; ok {
		delete(s.mu.byKey, key)
		s.clear(i)
	}
}

// line is where the words of line i are, for good.
func (s *stateFile) line(i int) *line {
	if s.m != nil {
		return (*line)(unsafe.Pointer(&s.m.Bytes()[i*lineSize]))
	}
	const n = len(statePage{})
	return &s.mu.heap[i/n][i%n]
}

func (s *stateFile) word(i, w int) uint64 { return littleEndian(atomic.LoadUint64(&s.line(i)[w])) }

func (s *stateFile) setWord(i, w int, v uint64) { atomic.StoreUint64(&s.line(i)[w], littleEndian(v)) }

// littleEndian is v in the byte order of the file, or back.
func littleEndian(v uint64) uint64 {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return v
	}
	return bits.ReverseBytes64(v)
}

func (s *stateFile) clear(i int) {
	// The key goes first, so that no half cleared line is ever a partition's.
	for w := range 8 {
		s.setWord(i, w, 0)
	}
	s.mu.free = append(s.mu.free, i)
}
