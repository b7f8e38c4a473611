package vfs

import "fmt"

// Op is a call of the seam, as a [Hook] sees it.
type Op uint8

// The operations, named as the methods.
const (
	OpCreate Op = iota
	OpOpen
	OpMkdir
	OpReadDir
	OpStat
	OpRename
	OpRemove
	OpSyncDir
	OpLock
	OpReadAt
	OpWriteAt
	OpSize
	OpTruncate
	OpAllocate
	OpZero
	OpSync
	OpMap
	OpPopulate
	OpUnmap
	OpClose
	OpUtimes
	NumOps // how many there are
)

var opNames = [NumOps]string{
	"create", "open", "mkdir", "readdir", "stat", "rename", "remove", "syncdir",
	"lock", "read", "write", "size", "truncate", "allocate", "zero", "sync",
	"map", "populate", "unmap", "close", "utimes",
}

func (o Op) String() string {
	if o < NumOps {
		return opNames[o]
	}
	return fmt.Sprintf("op(%d)", uint8(o))
}

// Mutates reports whether the operation can change what a crash leaves. The
// others need no crash points.
func (o Op) Mutates() bool {
	switch o {
	case OpCreate, OpMkdir, OpRename, OpRemove, OpSyncDir, OpLock,
		OpWriteAt, OpTruncate, OpAllocate, OpZero, OpSync:
		return true
	}
	return false
}

// Hook is called before each operation of a [Mem], and after each that was
// begun, with the name it was called with (the old one of a rename; of an open
// file, the name it was opened by). It runs without locks, on the caller's
// goroutine, and may clone the Mem.
//
// An error before is the result of the call, and nothing is done, but:
// a Sync that fails so loses or keeps each of its pages at random, and they are
// clean afterwards; and a [ShortWrite] writes a part. An error after is the
// result too, with everything done.
type Hook func(op Op, name string, before bool) error

// ShortWrite is an error for a Hook: the write ends after N bytes, with Err.
type ShortWrite struct {
	N   int
	Err error
}

func (e *ShortWrite) Error() string { return fmt.Sprintf("short write of %d bytes: %v", e.N, e.Err) }
func (e *ShortWrite) Unwrap() error { return e.Err }

// SetHook sets the hook, or with nil removes it.
func (m *Mem) SetHook(h Hook) {
	if h == nil {
		m.hook.Store(nil)
		return
	}
	m.hook.Store(&h)
}

// call runs do between the two calls of the hook.
func (m *Mem) call(op Op, name string, do func() error) error {
	h := m.hook.Load()
	if h == nil {
		return m.error(op, name, do())
	}
	err := (*h)(op, name, true)
	if err == nil {
		err = do()
		if aerr := (*h)(op, name, false); err == nil {
			err = aerr
		}
	}
	return m.error(op, name, err)
}

func (m *Mem) error(op Op, name string, err error) error {
	return pathError(op.String(), m.Path(name), err)
}
