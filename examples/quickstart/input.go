package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"os"

	"github.com/leatlog/leat/internal/accesslog"
)

// generated is how many lines are made up when there is no file.
const generated = 100_000

// open opens the file, "-" for stdin, or makes lines when there is no name.
func open(ctx context.Context, name string, stdin io.Reader) (io.ReadCloser, error) {
	switch name {
	case "":
		var b bytes.Buffer
		g := accesslog.New(1)
		for range generated {
			_, line := g.Line()
			b.Write(append(line, '\n'))
		}
		return io.NopCloser(&b), nil
	case "-":
		return unpack(until(ctx, stdin))
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		return unpack(f)
	}
	return unpack(until(ctx, f))
}

// until reads from r, which may block for ever, until ctx is done.
func until(ctx context.Context, r io.Reader) io.ReadCloser {
	out, in := io.Pipe()
	context.AfterFunc(ctx, func() { in.CloseWithError(ctx.Err()) })
	go func() {
		_, err := io.Copy(in, r)
		in.CloseWithError(err)
	}()
	return out
}

// unpack decompresses what begins as gzip does.
func unpack(f io.ReadCloser) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(f, 256<<10)
	if magic, _ := in.Peek(2); !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return input{in, f}, nil // an error of Peek comes again with the first read
	}
	z, err := gzip.NewReader(in)
	if err != nil {
		f.Close()
		return nil, err
	}
	return input{z, f}, nil
}

type input struct {
	io.Reader
	io.Closer
}
