package segment

import (
	"runtime"
	"sync"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
)

// Inspect looks at one batch that a scan has accepted, at its position.
type Inspect func(pos int64, b codec.Batch)

// inspector looks at the batches of a scan beside it: decoding records costs
// several times what their checksum does, and no batch needs another for it. A
// small file, or one without a map, is looked at by the scan itself.
type inspector struct {
	make func() Inspect
	here Inspect // without workers

	data     []byte
	path     string
	from, to int64 // the run that is being gathered
	runs     chan [2]int64
	workers  sync.WaitGroup
	mu       struct {
		sync.Mutex
		err error // the first fault
	}
}

// newInspector returns nil when nobody wants to look.
func newInspector(o *ScanOptions, in *scanInput) *inspector {
	if o.Inspect == nil {
		return nil
	}
	i := &inspector{make: o.Inspect}
	cores := min(runtime.GOMAXPROCS(0), verifyCores)
	if in.m == nil || in.size < verifyFrom || cores == 1 {
		i.here = i.make()
		return i
	}
	i.data, i.path = in.data, in.f.Path()
	i.runs = make(chan [2]int64, cores)
	for range cores {
		i.workers.Go(i.work)
	}
	return i
}

// add is called with every batch accepted, in order.
func (i *inspector) add(pos int64, b codec.Batch) {
	switch {
	case i == nil:
		return
	case i.here != nil:
		i.here(pos, b)
		return
	case pos != i.to || i.to-i.from >= stretchBytes:
		i.hand()
		i.from = pos
	}
	i.to = pos + int64(len(b))
}

func (i *inspector) hand() {
	if i.from < i.to {
		i.runs <- [2]int64{i.from, i.to}
	}
}

// close waits until all has been looked at: nothing touches the map any more.
func (i *inspector) close() error {
	if i == nil || i.here != nil {
		return nil
	}
	i.hand()
	close(i.runs)
	i.workers.Wait()
	return i.mu.err
}

func (i *inspector) work() {
	look := i.make()
	for r := range i.runs {
		if err := i.look(look, r[0], r[1]); err != nil {
			i.mu.Lock()
			if i.mu.err == nil {
				i.mu.err = err
			}
			i.mu.Unlock()
		}
	}
}

func (i *inspector) look(look Inspect, from, to int64) (err error) {
	defer vfs.Recover(i.path, i.data, &err, vfs.SetFault())
	for pos := from; pos < to; {
		b, err := nextBatch(i.data[pos:to])
		if err != nil {
			return nil // the file is changing underneath
		}
		look(pos, b)
		pos += int64(len(b))
	}
	return nil
}

// FileSize is the size of the file that was scanned.
func (r *Scan) FileSize() int64 { return r.size }
