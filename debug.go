package leat

import (
	"slices"
	"sync"

	"github.com/leatlog/leat/log"
)

// poison is what a dead slice is filled with in debug builds.
const poison = 0xDB

func poisoned(b []byte) {
	for i := range b {
		b[i] = poison
	}
}

// debugRecord is a copy of a record for one turn of a loop.
type debugRecord struct{ bufs [][]byte }

func (d *debugRecord) copy(r *Record) {
	d.bufs = d.bufs[:0]
	r.Key, r.Value = d.bytes(r.Key), d.bytes(r.Value)
	r.Headers = slices.Clone(r.Headers)
	for i := range r.Headers {
		r.Headers[i].Value = d.bytes(r.Headers[i].Value)
	}
}

func (d *debugRecord) bytes(b []byte) []byte {
	if b == nil {
		return nil
	}
	c := append(make([]byte, 0, len(b)), b...)
	d.bufs = append(d.bufs, c)
	return c
}

// end overwrites the copy, and the headers that were handed out with it.
func (d *debugRecord) end(headers []Header) {
	for _, b := range d.bufs {
		poisoned(b)
	}
	clear(headers)
}

// debugRun is a copy of the bytes of a Fetched.
type debugRun struct {
	mu sync.Mutex
	b  []byte
}

func (d *debugRun) copy(f *log.Fetched) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b := f.Bytes(); d.b == nil && b != nil {
		d.b = append(make([]byte, 0, len(b)), b...)
	}
	return d.b
}

func (d *debugRun) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	poisoned(d.b)
	d.b = nil
}
