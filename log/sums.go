package log

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strconv"
	"sync"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// sumsName is the file that keeps the size and CRC-32C of every sealed file of
// the partition, because a batch's own CRC leaves its base offset out. It is a
// hint: a line a file, appended as segments are sealed, later lines replacing
// earlier ones, each with a checksum of its own, so that a torn line is only a
// missing one.
//
//	leat-sums 1 dense        or sparse: whether offsets may be missing
//	<line crc32c> <file crc32c> <size> <file name>
const sumsName = "segments.sum"

const (
	sumsDense  = "leat-sums 1 dense\n"
	sumsSparse = "leat-sums 1 sparse\n"
)

type sums struct {
	sync.Mutex
	end int64 // of the file; 0: not there
}

// ParseSums reads a sums file: the last sound line of each file name, and
// whether the partition's offsets are dense. A header that is not known makes
// both empty.
func ParseSums(b []byte) (files map[string]segment.FileSum, dense bool) {
	files = make(map[string]segment.FileSum)
	switch {
	case bytes.HasPrefix(b, []byte(sumsDense)):
		dense = true
		b = b[len(sumsDense):]
	case bytes.HasPrefix(b, []byte(sumsSparse)):
		b = b[len(sumsSparse):]
	default:
		return files, false
	}
	for len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte("\n"))
		b = rest
		if f, ok := parseSum(line); ok && whole {
			files[f.Name] = f
		}
	}
	return files, dense
}

func parseSum(line []byte) (f segment.FileSum, ok bool) {
	fields := bytes.Split(line, []byte(" "))
	if len(fields) != 4 || len(line) < 9 {
		return f, false
	}
	crc, err1 := strconv.ParseUint(string(fields[0]), 16, 32)
	sum, err2 := strconv.ParseUint(string(fields[1]), 16, 32)
	size, err3 := strconv.ParseInt(string(fields[2]), 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || size < 0 ||
		crc32.Checksum(line[9:], castagnoli) != uint32(crc) {
		return f, false
	}
	return segment.FileSum{Name: string(fields[3]), Size: size, CRC: uint32(sum)}, true
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendSum(dst []byte, f segment.FileSum) []byte {
	line := fmt.Appendf(nil, "%08x %d %s", f.CRC, f.Size, f.Name)
	return fmt.Appendf(dst, "%08x %s\n", crc32.Checksum(line, castagnoli), line)
}

// load reads the file at open.
func (s *sums) load(l *Log) (files map[string]segment.FileSum, dense bool, err error) {
	b, err := readAll(l.env.fsys, segment.Join(l.dir, sumsName), maxSumsFile)
	if err != nil {
		return nil, false, err
	}
	files, dense = ParseSums(b)
	s.end = int64(len(b))
	if len(files) == 0 && !dense && !bytes.HasPrefix(b, []byte(sumsSparse)) {
		s.end = 0
	}
	return files, dense, nil
}

const maxSumsFile = 256 << 20

// start makes the file of a log that is new or has none.
func (s *sums) start(l *Log, dense bool) error {
	head := sumsSparse
	if dense {
		head = sumsDense
	}
	s.end = int64(len(head))
	return WriteFile(l.env.fsys, segment.Join(l.dir, sumsName), []byte(head))
}

// add appends the sums of a segment that was sealed. Failing is no harm beyond
// the hint that is missing.
func (s *sums) add(l *Log, files segment.Sums) {
	s.Lock()
	defer s.Unlock()
	if s.end == 0 || len(files) == 0 {
		return
	}
	var b []byte
	for _, f := range files {
		b = appendSum(b, f)
	}
	f, err := l.env.fsys.Open(segment.Join(l.dir, sumsName), vfs.ReadWrite)
	if err != nil {
		l.env.logger.Warn("checksums not written", "partition", l.name(), "err", err)
		return
	}
	defer f.Close()
	if _, err := f.WriteAt(b, s.end); err != nil {
		l.env.logger.Warn("checksums not written", "partition", l.name(), "err", err)
		return
	}
	s.end += int64(len(b))
}
