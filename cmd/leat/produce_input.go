package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// pieceSize is what is read at once: more than a pipe holds.
const pieceSize = 128 << 10

// lineInput reads its sources one after the other, ahead of who takes the pieces, so
// that he can see whether there is more without waiting for it.
type lineInput struct {
	pieces chan piece
	spare  chan []byte // buffers, each of which is with one of the two
}

// piece is some of what a source holds, which lives until it is handed back.
type piece struct {
	data []byte
	end  bool  // of the source: a last line needs no delimiter
	err  error // io.EOF: of all sources
}

// newInput begins to read. "-" is standard input, as is no name at all.
func newInput(ctx context.Context, stdin io.Reader, names []string) *lineInput {
	in := &lineInput{pieces: make(chan piece), spare: make(chan []byte, 2)}
	for range cap(in.spare) {
		in.spare <- make([]byte, pieceSize)
	}
	if len(names) == 0 {
		names = []string{"-"}
	}
	// It cannot be ended while it waits for a terminal, and need not be: it holds
	// nothing but its buffers.
	go func() {
		err := in.run(ctx, stdin, names)
		in.give(ctx, piece{err: err})
	}()
	return in
}

func (in *lineInput) run(ctx context.Context, stdin io.Reader, names []string) error {
	for _, name := range names {
		if name == "-" {
			if err := in.source(ctx, stdin); err != nil {
				return fmt.Errorf("standard input: %w", cause(err))
			}
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = in.source(ctx, f)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, cause(err))
		}
	}
	return io.EOF
}

func (in *lineInput) source(ctx context.Context, r io.Reader) error {
	for {
		var buf []byte
		select {
		case buf = <-in.spare:
		case <-ctx.Done():
			return ctx.Err()
		}
		n, err := r.Read(buf)
		end := errors.Is(err, io.EOF)
		if end {
			err = nil
		}
		in.give(ctx, piece{data: buf[:n], end: end})
		if end || err != nil {
			return err
		}
	}
}

func (in *lineInput) give(ctx context.Context, p piece) {
	select {
	case in.pieces <- p:
	case <-ctx.Done():
	}
}

// done hands a piece back.
func (in *lineInput) done(p piece) {
	if p.data != nil {
		in.spare <- p.data[:cap(p.data)]
	}
}

// splitter makes lines of pieces.
type splitter struct {
	delimiter []byte
	limit     int // of a line
	buf       []byte
	seen      int // so many bytes of buf hold no delimiter
}

var errLongLine = errors.New("the line is too long")

// split calls line for each whole line, which lives until line returns. At the
// end of a source what is left is one, too, if it is anything.
func (s *splitter) split(p piece, line func([]byte) error) error {
	s.buf = append(s.buf, p.data...)
	rest := s.buf
	for {
		i := bytes.Index(rest[s.seen:], s.delimiter)
		if i < 0 {
			break
		}
		i += s.seen
		s.seen = 0
		if err := s.line(rest[:i], line); err != nil {
			return err
		}
		rest = rest[i+len(s.delimiter):]
	}
	if p.end && len(rest) > 0 {
		if err := s.line(rest, line); err != nil {
			return err
		}
		rest = nil
	}
	if len(rest) > s.limit+len(s.delimiter) {
		return errLongLine
	}
	s.buf = s.buf[:copy(s.buf, rest)]
	s.seen = max(len(s.buf)-len(s.delimiter)+1, 0)
	if cap(s.buf) > 4*pieceSize && len(s.buf) < pieceSize {
		s.buf = append([]byte(nil), s.buf...) // a long line is over
	}
	return nil
}

func (s *splitter) line(b []byte, line func([]byte) error) error {
	if len(b) > s.limit {
		return errLongLine
	}
	return line(b)
}
