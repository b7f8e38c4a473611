package vfs

import (
	"runtime/debug"
	"unsafe"
)

// SetFault makes memory faults of this goroutine panics that can be recovered,
// instead of the end of the process, and returns what was set before. It is one
// half of
//
//	defer vfs.Recover(path, m.Bytes(), &err, vfs.SetFault())
//
// which costs about 7 ns (BenchmarkGuard). It acts on the calling goroutine
// only: memory given to others cannot be guarded for them.
func SetFault() bool { return debug.SetPanicOnFault(true) }

// Recover is deferred around code that touches the map b of the file at path.
// It sets back what SetFault changed, and turns a memory fault into a
// *FaultError in err, with the position if it was in b. Other panics go on.
func Recover(path string, b []byte, err *error, old bool) {
	debug.SetPanicOnFault(old)
	if r := recover(); r != nil {
		fault(r, path, b, -1, err)
	}
}

// Guard calls f and returns its error, or a *FaultError with path and pos when
// f touched memory that could not be had. Other panics go on. It is for cold
// paths: f usually escapes.
func Guard(path string, pos int64, f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			fault(r, path, nil, pos, &err)
		}
	}()
	return f()
}

// fault is out of line so that the two above stay cheap.
//
//go:noinline
func fault(r any, path string, b []byte, pos int64, err *error) {
	// Only a fault at an address has Addr. A nil dereference has not: that is
	// a bug of ours, and must not pass for a bad disk.
	e, ok := r.(interface {
		error
		RuntimeError()
		Addr() uintptr
	})
	if !ok {
		panic(r)
	}
	if len(b) > 0 {
		if d := e.Addr() - uintptr(unsafe.Pointer(&b[0])); d < uintptr(len(b)) {
			pos = int64(d)
		}
	}
	*err = &FaultError{Path: path, Position: pos, Err: e}
}
