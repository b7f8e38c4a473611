package compress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
)

// deflateRatio bounds what deflate can make of a byte: a match of 258 bytes takes
// two bits at least.
const deflateRatio = 1032

type gzipWriter struct {
	*gzip.Writer
	out sliceWriter
}

// sliceWriter appends what is written to a slice, without a copy in between.
type sliceWriter struct{ b []byte }

func (s *sliceWriter) Write(p []byte) (int, error) {
	s.b = append(s.b, p...)
	return len(p), nil
}

func (p *pools) appendGzip(dst, src []byte) ([]byte, error) {
	w, _ := p.gzipWriters.Get().(*gzipWriter)
	if w == nil {
		w = new(gzipWriter)
		// The only error is that of a level that does not exist.
		w.Writer, _ = gzip.NewWriterLevel(&w.out, 6) // what zlib's default, -1, means
	}
	w.out.b = dst
	w.Reset(&w.out)
	_, err := w.Write(src)
	err = errors.Join(err, w.Close())
	out := w.out.b
	w.out.b = nil
	p.gzipWriters.Put(w)
	if err != nil {
		return dst, err
	}
	return out, nil
}

type gzipReader struct {
	gzip.Reader
	src  bytes.Reader
	next [1]byte
}

func (p *pools) decodeGzip(dst, src []byte, limit int) ([]byte, error) {
	r, _ := p.gzipReaders.Get().(*gzipReader)
	if r == nil {
		r = new(gzipReader)
	}
	r.src.Reset(src)
	out, err := r.append(dst, src, limit)
	r.src.Reset(nil)
	p.gzipReaders.Put(r)
	return out, err
}

func (r *gzipReader) append(dst, src []byte, limit int) ([]byte, error) {
	if err := r.Reset(&r.src); err != nil {
		return nil, corrupt("gzip: %v", noEOF(err))
	}
	// The last four bytes are the size of the last member, which is nearly
	// always the only one. It is a hint; the bytes there must be able to decode
	// to that many.
	hint := 0
	if len(src) >= 4 {
		declared := int64(binary.LittleEndian.Uint32(src[len(src)-4:]))
		hint = int(min(declared, int64(limit), int64(len(src))*deflateRatio))
	}
	room := grow(dst, hint)
	start := len(dst)
	for stalled := 0; ; {
		done := len(room) - start
		// At the limit one more byte is asked for, to tell the end from more.
		into := r.next[:]
		if done < limit {
			if len(room) == cap(room) {
				room = grow(room, min(max(done, 512), limit-done))
			}
			into = room[len(room):min(cap(room), start+limit)]
		}
		n, err := r.Read(into)
		if done == limit && n > 0 {
			return nil, tooLarge(limit)
		}
		room = room[:len(room)+n]
		switch {
		case err == io.EOF:
			return room, nil
		case err != nil:
			return nil, corrupt("gzip: after %d bytes: %v", done+n, noEOF(err))
		case n > 0:
			stalled = 0
		default:
			// io.Reader allows (0, nil); a reader that keeps to it is broken.
			if stalled++; stalled > 100 {
				return nil, corrupt("gzip: no progress")
			}
		}
	}
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
