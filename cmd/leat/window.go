package main

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
)

// windowSize is how much of a file is read at once: enough that the reads cost
// nothing beside the work on what was read.
const windowSize = 1 << 20

// window reads a file of any size in memory that does not grow with it.
type window struct {
	r    io.ReaderAt
	size int64
	buf  []byte // what the file has from at on
	at   int64
}

// readError says where a file could not be read.
type readError struct {
	pos int64
	err error
}

func (e *readError) Error() string { return fmt.Sprintf("read at %d: %v", e.pos, e.err) }
func (e *readError) Unwrap() error { return e.err }

// bytes gives n bytes at pos, which the file must have. They live until the next
// call of a method.
func (w *window) bytes(pos int64, n int) ([]byte, error) {
	b, err := w.some(pos, n)
	if err != nil {
		return nil, err
	}
	return b[:n:n], nil
}

// some gives at least n bytes at pos, and as many more as happen to be there.
func (w *window) some(pos int64, n int) ([]byte, error) {
	if i := pos - w.at; i >= 0 && i+int64(n) <= int64(len(w.buf)) {
		return w.buf[i:], nil
	}
	want := max(int64(n), min(windowSize, w.size-pos))
	// A buffer that one huge batch has needed is not kept for the others.
	if c := int64(cap(w.buf)); c < want || c > 4*windowSize && c > 4*want {
		w.buf = make([]byte, max(want, min(windowSize, w.size)))
	}
	w.buf, w.at = w.buf[:want], pos
	got, err := w.r.ReadAt(w.buf, pos)
	w.buf = w.buf[:got]
	if got < n {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF // it was cut while it was read
		}
		return nil, &readError{pos, err}
	}
	return w.buf, nil
}

// each calls f with the bytes from pos to end, piece by piece, until f returns
// false or an error.
func (w *window) each(pos, end int64, f func(pos int64, b []byte) (bool, error)) error {
	for pos < end {
		b, err := w.some(pos, 1)
		if err != nil {
			return err
		}
		b = b[:min(int64(len(b)), end-pos)]
		more, err := f(pos, b)
		if err != nil || !more {
			return err
		}
		pos += int64(len(b))
	}
	return nil
}

// crc is the checksum by table of the bytes from pos to end, which goOn may end
// early.
func (w *window) crc(pos, end int64, table *crc32.Table, goOn func() error) (crc uint32, err error) {
	err = w.each(pos, end, func(_ int64, b []byte) (bool, error) {
		crc = crc32.Update(crc, table, b)
		return true, goOn()
	})
	return crc, err
}

// zeros is where the zeros that begin at pos end: the first byte that is not
// zero, or the size.
func (w *window) zeros(pos int64, goOn func() error) (int64, error) {
	end := w.size
	err := w.each(pos, w.size, func(at int64, b []byte) (bool, error) {
		if i := nonZero(b); i < len(b) {
			end = at + int64(i)
			return false, nil
		}
		return true, goOn()
	})
	return end, err
}

var zeroes [4096]byte

// nonZero is the index of the first byte that is not zero, len(b) if all are.
func nonZero(b []byte) int {
	n := 0
	for len(b)-n >= len(zeroes) && bytes.Equal(b[n:n+len(zeroes)], zeroes[:]) {
		n += len(zeroes)
	}
	for n < len(b) && b[n] == 0 {
		n++
	}
	return n
}
