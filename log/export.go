package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// StartName is Kafka's file of log start offsets, which lies beside partition
// folders. An exported folder has one of its own, since there is nothing beside
// it.
const StartName = "log-start-offset-checkpoint"

// EpochsName is the file of a partition's leader epochs.
const EpochsName = epochsName

// errChanged says that segments were replaced or taken back while they were
// copied: the copy has to begin again.
var errChanged = errors.New("the log was changed meanwhile")

// picture is what an export copies: the log as it was when it began.
type picture struct {
	segs       []*segment.Segment
	scfg       segment.Config
	size       int64 // of the last segment
	end        int64
	generation int64
	snapshot   []byte
	epochs     []byte
}

// Export copies the log, as it is when it begins and durable, to an empty tree:
// the files of a partition folder that Kafka loads, but for partition.metadata.
// Appends, reads and retention go on meanwhile. Every batch is checked on the
// way, and damage is a *segment.CorruptError. What an error leaves in the tree
// is of no use.
func (l *Log) Export(ctx context.Context, to vfs.FS) error {
	for try := 0; ; try++ {
		err := l.exportOnce(ctx, to)
		if !errors.Is(err, errChanged) || try == 3 {
			return err
		}
		if err := Clear(to); err != nil {
			return err
		}
	}
}

// Clear removes the files of a tree.
func Clear(fsys vfs.FS) error {
	list, err := fsys.ReadDir(".")
	for _, e := range list {
		err = errors.Join(err, fsys.Remove(e.Name))
	}
	return err
}

func (l *Log) exportOnce(ctx context.Context, to vfs.FS) error {
	m, err := l.now(ctx)
	if err != nil {
		return err
	}
	// The newest first: what retention takes away from under this is older than
	// all that was copied.
	first := len(m.segs)
	for i := len(m.segs) - 1; i >= 0; i-- {
		if i+1 < len(m.segs) && m.segs[i+1].Base() <= l.start.Load() {
			break
		}
		err := l.exportSegment(ctx, to, m, i)
		if gone := m.segs[i].Pin(); gone != nil {
			err = gone // retention has it, or a cleaning, and what was copied may be its successor
		} else {
			m.segs[i].Unpin()
		}
		if l.closed.Load() {
			return ErrClosed
		}
		if errors.Is(err, segment.ErrClosed) || errors.Is(err, fs.ErrNotExist) {
			if i+1 < len(m.segs) && m.segs[i+1].Base() <= l.start.Load() {
				break
			}
			return fmt.Errorf("%w: %w", errChanged, err)
		}
		if err != nil {
			return err
		}
		first = i
	}
	if l.marksGeneration() != m.generation {
		return errChanged
	}
	return l.exportSidecars(to, m, first)
}

// now takes the log as it is, and waits until that is durable.
func (l *Log) now(ctx context.Context) (*picture, error) {
	if err := l.Sync(ctx); err != nil { // the most of it before the lock
		return nil, err
	}
	m, err := l.nowLocked()
	if err != nil {
		return nil, err
	}
	return m, l.waitDurable(ctx, m.end)
}

func (l *Log) nowLocked() (*picture, error) {
	l.writing.Lock()
	defer l.unlock()
	if err := l.refusing(); err != nil {
		return nil, err
	}
	m := &picture{segs: l.segments.Load().segs, scfg: l.scfg, size: l.w.active.Size(), end: l.end.Load(),
		generation: l.marksGeneration(), snapshot: l.encodeSnapshot()}
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	m.epochs = l.epochs.Append(nil)
	return m, nil
}

// marksGeneration changes when published records may have been taken back.
func (l *Log) marksGeneration() int64 {
	if l.marks == nil {
		return 0
	}
	return l.marks.Generation()
}

// exportSegment copies a log file and makes its indexes from the copy, which
// proves it.
func (l *Log) exportSegment(ctx context.Context, to vfs.FS, m *picture, i int) (err error) {
	s := m.segs[i]
	size, next := s.Size(), m.end
	if i == len(m.segs)-1 {
		size = m.size
	} else {
		next = m.segs[i+1].Base()
	}
	if err := s.Pin(); err != nil { // its file is not cut while it is pinned
		return err
	}
	defer s.Unpin()
	name := segment.FileName(s.Base(), segment.LogSuffix)
	f, err := CopyFile(ctx, l.env.fsys, segment.Join(l.dir, name), to, name, size)
	if err != nil {
		return err
	}
	r, err := segment.ScanFile(f, s.Base(), l.env.maps, m.scfg)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if r.Valid != size || r.Next > next {
		if r.Err == nil {
			r.Err = fmt.Errorf("it ends here, at offset %d, and has %d bytes up to offset %d", r.Next, size, next)
		}
		return &segment.CorruptError{Path: s.Path(), Position: r.Valid, Offset: r.Next, Err: r.Err}
	}
	if err := r.Finish(); err != nil {
		return err
	}
	offsets, times, _ := r.Indexes()
	txns, err := s.Txns()
	if err != nil {
		return err
	}
	return l.exportIndexes(to, s.Base(), m.end, offsets.Bytes(), times.Bytes(), txns)
}

func (l *Log) exportIndexes(to vfs.FS, base, end int64, offsets, times []byte, txns index.Txns) error {
	var aborted []byte
	for t := range txns.All() {
		if t.LastOffset < end {
			aborted = t.Append(aborted)
		}
	}
	files := map[string][]byte{segment.IndexSuffix: offsets, segment.TimeSuffix: times}
	if len(aborted) > 0 { // it exists only then
		files[segment.TxnSuffix] = aborted
	}
	if list, err := l.readSnapshot(base); err == nil { // of those who wrote nothing since
		files[segment.SnapshotSuffix] = AppendSnapshot(nil, list)
	}
	for suffix, b := range files {
		if err := replaceFile(to, segment.FileName(base, suffix), b); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) exportSidecars(to vfs.FS, m *picture, first int) error {
	start, base := min(l.start.Load(), m.end), m.segs[first].Base()
	files := map[string][]byte{epochsName: m.epochs}
	if m.end > max(start, base) {
		files[segment.FileName(m.end, segment.SnapshotSuffix)] = m.snapshot
	}
	if start > base {
		files[StartName] = AppendOffsetCheckpoint(nil, map[TopicPartition]int64{{l.cfg().Topic, l.cfg().Partition}: start})
	}
	for name, b := range files {
		if err := replaceFile(to, name, b); err != nil {
			return err
		}
	}
	return to.SyncDir(".")
}

// CopyFile copies the first size bytes of a file to a new one of another tree,
// syncs that, and returns it open. The caller syncs the folder.
func CopyFile(ctx context.Context, from vfs.FS, name string, to vfs.FS, as string, size int64) (f vfs.File, err error) {
	src, err := from.Open(name, vfs.ReadOnly)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	if f, err = to.Create(as); err != nil {
		return nil, spaceError(err)
	}
	buf := make([]byte, min(1<<20, max(size, 1)))
	for pos := int64(0); pos < size && err == nil; {
		if err = ctx.Err(); err != nil {
			break
		}
		b := buf[:min(int64(len(buf)), size-pos)]
		n, rerr := src.ReadAt(b, pos)
		if n < len(b) {
			if rerr == nil || rerr == io.EOF {
				rerr = io.ErrUnexpectedEOF
			}
			err = &segment.CorruptError{Path: src.Path(), Position: pos + int64(n), Offset: -1, Err: rerr}
			break
		}
		if _, err = f.WriteAt(b, pos); err == nil {
			pos += int64(n)
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return nil, errors.Join(spaceError(err), f.Close())
	}
	return f, nil
}
