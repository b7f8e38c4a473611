package log

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"strconv"
	"sync/atomic"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// readSums judges segments.sum by itself. It is a hint: whatever is wrong with it
// costs the check of what it said.
func (j *judge) readSums() {
	b, err := readAll(j.l.env.fsys, segment.Join(j.l.dir, sumsName), maxSumsFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if j.st.Kept {
			j.found(j.inFile(Notice, FindingSums, sumsName, "the file is missing: base offsets of batches are checked by one another only"))
		}
		return
	case errors.Is(err, errTooLarge):
		j.found(j.inFile(Notice, FindingSums, sumsName, "%v", err))
		return
	case err != nil:
		return // sidecars has met it
	}
	body, ok := bytes.CutPrefix(b, []byte(sumsHeader))
	if !ok {
		j.found(j.inFile(Notice, FindingSums, sumsName, "it does not begin with %q: it says nothing", sumsHeader[:len(sumsHeader)-1]))
		return
	}
	if n := unsoundLines(body); n > 0 {
		j.found(j.inFile(Notice, FindingSums, sumsName, "%d lines are not whole: they say nothing", n))
	}
}

// unsoundLines counts the lines that ParseSums leaves out.
func unsoundLines(body []byte) (n int) {
	for len(body) > 0 {
		line, rest, whole := bytes.Cut(body, []byte("\n"))
		if !whole || !soundLine(line) {
			n++
		}
		body = rest
	}
	return n
}

func soundLine(line []byte) bool {
	if len(line) < 10 || line[8] != ' ' {
		return false
	}
	crc, err := strconv.ParseUint(string(line[:8]), 16, 32)
	return err == nil && crc32.Checksum(line[9:], castagnoli) == uint32(crc)
}

// summing sums up a file beside its scan.
type summing struct {
	stop atomic.Bool
	done chan struct{}
	sum  uint32
	err  error
}

func (s *summing) start(f vfs.File, size int64) {
	s.done = make(chan struct{})
	go func() {
		defer close(s.done) // end waits for it
		buf := make([]byte, min(size, 1<<20))
		for pos := int64(0); pos < size && !s.stop.Load(); {
			b := buf[:min(int64(len(buf)), size-pos)]
			if n, err := f.ReadAt(b, pos); n < len(b) {
				s.err = fmt.Errorf("read %s at %d: %w", f.Path(), pos, err)
				return
			}
			s.sum = crc32.Update(s.sum, castagnoli, b)
			pos += int64(len(b))
		}
	}()
}

// end waits for the sum, or gives it up.
func (s *summing) end(giveUp bool) (uint32, error) {
	if s.done == nil {
		return 0, nil
	}
	s.stop.Store(giveUp)
	<-s.done
	return s.sum, s.err
}
