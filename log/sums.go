package log

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"sync"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// sumsName is the file that keeps the size and CRC-32C of every sealed file of
// the partition, because a batch's own CRC leaves its base offset out, and an
// index has none. It is a hint: a line a file, appended as segments are sealed,
// later lines replacing earlier ones, each with a checksum of its own, so that a
// torn line is only a missing one.
//
//	leat-sums 1
//	<line crc32c> dense <offset>                         none is missing from there on
//	<line crc32c> gaps <offset>                          but from there on some may be
//	<line crc32c> <file crc32c> <size> <file name>
//	<line crc32c> swap <from> <to>                       see Swap
//	<line crc32c> by <file crc32c> <size> <file name>
//
// Of a sealed segment there is a line for the log file and for each index; that
// of a transaction index may say 0 bytes for a file that is not there. A log that
// was closed in order has one for the last segment's transaction index too.
const (
	sumsName   = "segments.sum"
	sumsHeader = "leat-sums 1\n"
)

// Sums is what a sums file says.
type Sums struct {
	Files map[string]segment.FileSum
	// Dense is the offset from which on none is missing: what was there before
	// may have been compacted. math.MaxInt64 when the file does not say.
	Dense int64

	packed []byte // see pack
	// Sparse says that from Gaps on offsets may be missing again: see allowGaps.
	Sparse bool
	Gaps   int64
	// Swap is a replacement under way, nil when there is none.
	Swap *Swap
}

// sums is a log's.
type sums struct {
	sync.Mutex
	Sums
	end int64 // of the file; 0: there is none
	// lines counts those of the file, stale ones too.
	lines int
}

// ParseSums reads a sums file: the last sound line of each kind. A header that is
// not known makes it empty.
func ParseSums(b []byte) Sums {
	s := Sums{Files: make(map[string]segment.FileSum), Dense: noOffset}
	b, ok := bytes.CutPrefix(b, []byte(sumsHeader))
	if !ok {
		return s
	}
	for len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		if whole {
			s.parse(line)
		}
		b = rest
	}
	return s
}

func (s *Sums) parse(line []byte) {
	fields := bytes.Split(line, []byte(" "))
	if len(fields) < 3 || len(fields[0]) != 8 {
		return
	}
	crc, err := strconv.ParseUint(string(fields[0]), 16, 32)
	if err != nil || crc32.Checksum(line[9:], castagnoli) != uint32(crc) {
		return
	}
	if len(fields) == 3 {
		n, err := strconv.ParseInt(string(fields[2]), 10, 64)
		switch kind := string(fields[1]); {
		case err != nil || n < 0:
		case kind == "dense":
			s.Dense = n
		case kind == "gaps":
			s.Sparse, s.Gaps = true, n
		}
		return
	}
	if s.parseSwap(fields) || len(fields) != 4 {
		return
	}
	sum, err1 := strconv.ParseUint(string(fields[1]), 16, 32)
	size, err2 := strconv.ParseInt(string(fields[2]), 10, 64)
	if err1 == nil && err2 == nil && size >= 0 {
		name := string(fields[3])
		s.Files[name] = segment.FileSum{Name: name, Size: size, CRC: uint32(sum)}
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendSum(dst []byte, f segment.FileSum) []byte {
	return appendSumsLine(dst, fmt.Appendf(nil, "%08x %d %s", f.CRC, f.Size, f.Name))
}

func appendSumsLine(dst, line []byte) []byte {
	return fmt.Appendf(dst, "%08x %s\n", crc32.Checksum(line, castagnoli), line)
}

// format is the whole file.
func (s *Sums) format() []byte {
	s.unpack()
	b := []byte(sumsHeader)
	b = appendSumsLine(b, fmt.Appendf(nil, "dense %d", s.Dense))
	if s.Sparse {
		b = appendSumsLine(b, fmt.Appendf(nil, "gaps %d", s.Gaps))
	}
	names := make([]string, 0, len(s.Files))
	for name := range s.Files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		b = appendSum(b, s.Files[name])
	}
	return s.Swap.append(b)
}

// load reads the file at open. One that is missing or unreadable says nothing.
func (s *sums) load(l *Log) error {
	b, err := readAll(l.env.fsys, segment.Join(l.dir, sumsName), maxSumsFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errTooLarge) {
		return err
	}
	s.Sums = ParseSums(b)
	s.lines = bytes.Count(b, []byte("\n"))
	if s.Dense != noOffset {
		s.end = int64(bytes.LastIndexByte(b, '\n') + 1) // a torn line is written over
	}
	return nil
}

const maxSumsFile = 256 << 20

// rewrite replaces the file.
func (s *sums) rewrite(l *Log) error {
	if err := s.replaceFile(l); err != nil {
		return err
	}
	return l.env.fsys.SyncDir(l.dir)
}

// replaceFile is rewrite without the sync of the folder.
func (s *sums) replaceFile(l *Log) error {
	b := s.format()
	if err := replaceFile(l.env.fsys, segment.Join(l.dir, sumsName), b); err != nil {
		return err
	}
	s.end = int64(len(b))
	s.lines = len(s.Files) + 2
	return nil
}

// of is what is known of a sealed file.
func (s *sums) of(base int64, suffix string) (segment.FileSum, bool) {
	s.Lock()
	defer s.Unlock()
	if f, ok := s.Files[segment.FileName(base, suffix)]; ok {
		return f, ok
	}
	return s.find(base, suffix)
}

// add appends the sums of a segment that was sealed. Failing is no harm beyond
// the hint that is missing, and neither is a power cut that takes it: the file is
// not synced.
func (s *sums) add(l *Log, files ...segment.FileSum) {
	s.Lock()
	defer s.Unlock()
	var b []byte
	if s.Files == nil {
		s.Files = make(map[string]segment.FileSum)
	}
	for _, f := range files {
		s.Files[f.Name] = f
		b = appendSum(b, f)
	}
	if s.end == 0 || len(b) == 0 {
		return
	}
	f, err := l.env.fsys.Open(segment.Join(l.dir, sumsName), vfs.ReadWrite)
	if err == nil {
		_, err = f.WriteAt(b, s.end)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		l.env.logger.Warn("checksums not written", "partition", l.name(), "err", err)
		return
	}
	s.end += int64(len(b))
	s.lines += len(files)
}

// staleLines is how many lines of the file may be of segments that are gone, or
// replaced by later ones, beside as many as there are of others.
const staleLines = 256

// forget drops what is known of the segments below an offset. Once most lines of
// the file are stale it is written anew, or it would grow for ever.
func (s *sums) forget(l *Log, below int64) {
	s.Lock()
	defer s.Unlock()
	if len(s.packed) > 0 && int64(binary.BigEndian.Uint64(s.packed)) < below { // the least of them
		s.unpack()
	}
	for name := range s.Files {
		if base, _, ok := segment.ParseName(name); ok && base < below {
			delete(s.Files, name)
		}
	}
	live := len(s.Files) + len(s.packed)/packedSum
	if s.end == 0 || s.lines-live < staleLines+live {
		return
	}
	if err := s.rewrite(l); err != nil {
		l.env.logger.Warn("checksums not written", "partition", l.name(), "err", err)
	}
}

// sumFile reads a file of the folder for its sum; one that is not there is
// empty.
func (l *Log) sumFile(name string) (segment.FileSum, error) { return sumOf(l.env.fsys, l.dir, name) }

func sumOf(fsys vfs.FS, dir, name string) (sum segment.FileSum, err error) {
	sum.Name = name
	f, err := fsys.Open(segment.Join(dir, name), vfs.ReadOnly)
	if errors.Is(err, fs.ErrNotExist) {
		return sum, nil
	}
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return sum, err
	}
	buf := make([]byte, min(size+1, 256<<10)) // one more, to see the end at once
	for {
		n, err := f.ReadAt(buf, sum.Size)
		sum.CRC = crc32.Update(sum.CRC, castagnoli, buf[:n])
		sum.Size += int64(n)
		if err == io.EOF {
			return sum, nil
		}
		if err != nil {
			return sum, fmt.Errorf("read %s: %w", f.Path(), err)
		}
	}
}
