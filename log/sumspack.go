package log

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sort"

	"github.com/leatlog/leat/segment"
)

// A map costs a few hundred bytes a segment, which is most of what an idle
// partition would cost. So the sums of segment files are packed: entries that are
// sorted as bytes, and found by halving. What is new since lies in Files, and
// counts before them.
//
//	 0             8        9            17       21
//	┌─────────────┬────────┬────────────┬────────┐
//	│ base offset │ suffix │    size    │ CRC    │   big endian
//	└─────────────┴────────┴────────────┴────────┘
//	suffix: which of sumSuffixes
const packedSum = 21

var sumSuffixes = [...]string{segment.LogSuffix, segment.IndexSuffix, segment.TimeSuffix, segment.TxnSuffix}

// pack moves Files into packed entries. Whoever ranges over Files, or deletes
// from it, has to unpack first.
func (s *Sums) pack() {
	if len(s.Files) == 0 {
		s.Files = nil
		return
	}
	s.unpack()
	keys := make([][packedSum]byte, 0, len(s.Files))
	for name, f := range s.Files {
		base, suffix, ok := segment.ParseName(name)
		i := slices.Index(sumSuffixes[:], suffix)
		if !ok || i < 0 || name != segment.FileName(base, suffix) {
			continue // nobody asks for it
		}
		var e [packedSum]byte
		binary.BigEndian.PutUint64(e[:], uint64(base))
		e[8] = byte(i)
		binary.BigEndian.PutUint64(e[9:], uint64(f.Size))
		binary.BigEndian.PutUint32(e[17:], f.CRC)
		keys = append(keys, e)
	}
	slices.SortFunc(keys, func(a, b [packedSum]byte) int { return bytes.Compare(a[:], b[:]) })
	packed := make([]byte, 0, len(keys)*packedSum)
	for _, e := range keys {
		packed = append(packed, e[:]...)
	}
	s.Files, s.packed = nil, packed
}

// unpack moves the packed entries into Files.
func (s *Sums) unpack() {
	if s.Files == nil {
		s.Files = make(map[string]segment.FileSum, len(s.packed)/packedSum)
	}
	for b := s.packed; len(b) > 0; b = b[packedSum:] {
		f := unpackSum(b)
		if _, newer := s.Files[f.Name]; !newer {
			s.Files[f.Name] = f
		}
	}
	s.packed = nil
}

// find is what the packed entries say of a file.
func (s *Sums) find(base int64, suffix string) (segment.FileSum, bool) {
	i := slices.Index(sumSuffixes[:], suffix)
	if i < 0 {
		return segment.FileSum{}, false
	}
	var key [9]byte
	binary.BigEndian.PutUint64(key[:], uint64(base))
	key[8] = byte(i)
	at := sort.Search(len(s.packed)/packedSum, func(i int) bool {
		return bytes.Compare(s.packed[i*packedSum:][:9], key[:]) >= 0
	})
	b := s.packed[at*packedSum:]
	if len(b) == 0 || !bytes.Equal(b[:9], key[:]) {
		return segment.FileSum{}, false
	}
	return unpackSum(b), true
}

func unpackSum(b []byte) segment.FileSum {
	return segment.FileSum{
		Name: segment.FileName(int64(binary.BigEndian.Uint64(b)), sumSuffixes[b[8]]),
		Size: int64(binary.BigEndian.Uint64(b[9:])),
		CRC:  binary.BigEndian.Uint32(b[17:]),
	}
}
