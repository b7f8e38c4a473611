package log

import (
	"sync"

	"github.com/leatlog/leat/segment"
)

// folder orders the syncs of the partition's folder. Like those of a file, one
// that failed is final: the system reports a lost change of names once, and the
// next sync succeeds without it.
type folder struct {
	sync.Mutex
	failed error
}

// syncDir makes the names in the folder durable. The error is a
// *segment.SyncError, and stays.
func (l *Log) syncDir() error {
	f := &l.folder
	f.Lock()
	defer f.Unlock()
	if f.failed == nil {
		if err := l.env.fsys.SyncDir(l.dir); err != nil {
			f.failed = &segment.SyncError{Err: err}
		}
	}
	return f.failed
}
