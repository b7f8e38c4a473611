package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/leatlog/leat"
)

// outBytes is how much output is gathered while there is more to print.
const outBytes = 64 << 10

// recordWriter writes records to an output, whole ones at a time.
type recordWriter struct {
	form printed
	out  io.Writer
	buf  []byte // whole records
	err  error  // of a write; nothing is written behind what is lost
}

func (w *recordWriter) print(r *leat.Record) error {
	w.buf = w.form.append(w.buf, r)
	if len(w.buf) < outBytes {
		return nil
	}
	return w.flush()
}

// flush writes what is gathered.
func (w *recordWriter) flush() error {
	if len(w.buf) == 0 || w.err != nil {
		return w.err
	}
	_, err := w.out.Write(w.buf)
	w.buf = w.buf[:0]
	if cap(w.buf) > 16*outBytes {
		w.buf = nil
	}
	if err != nil {
		w.err = fmt.Errorf("write: %w", err)
	}
	return w.err
}

// offsetForm prints offsets, and partitions unless there is one alone.
type offsetForm struct{ alone bool }

func (f offsetForm) append(dst []byte, r *leat.Record) []byte {
	if !f.alone {
		dst = append(strconv.AppendInt(dst, int64(r.Partition), 10), ' ')
	}
	return append(strconv.AppendInt(dst, r.Offset, 10), '\n')
}
