package segment

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"

	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
)

// active gives the writer, nil when the segment is sealed or rests.
func (s *Segment) active() *writer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.writer
}

// loaded is the offset and time index of a pinned segment as they are now, read
// from their files at the first use. Files that cannot be right, or not be read,
// are errIndexWrong: the log has it all.
func (s *Segment) loaded() (*indexes, error) {
	if r := s.damaged.Load(); r != nil {
		return r.w.indexes(), nil
	}
	v := s.mu.view
	if x := v.indexes.Load(); x != nil {
		return x, nil
	}
	if x := s.activeIndexes(); x != nil {
		return x, nil
	}
	if x := v.indexes.Load(); x != nil {
		return x, nil // sealed in between
	}
	ob, err := s.readFile(IndexSuffix)
	if err != nil {
		return nil, unreadable(err)
	}
	tb, err := s.readFile(TimeSuffix)
	if err != nil {
		return nil, unreadable(err)
	}
	x := &indexes{
		offsets: index.OpenOffsets(s.base, ob).Written(),
		times:   index.OpenTimes(s.base, tb).Written(),
		bytes:   int64(len(ob) + len(tb)),
	}
	// The next offset is not known here: what matters of the offsets is proved
	// against the log at every use.
	if x.offsets.Check(s.size.Load(), s.offsetBound()) != nil || x.times.Check(s.offsetBound()) != nil {
		return nil, errIndexWrong
	}
	return s.keep(x), nil
}

// unreadable is what an index file that cannot be read means: that it is made
// anew, but not for want of a descriptor, which would read the whole log.
func unreadable(err error) error {
	if errors.Is(err, vfs.ErrTooManyFiles) {
		return err
	}
	return fmt.Errorf("%w: %w", errIndexWrong, err)
}

// activeIndexes are those that the active segment has in memory, nil if it has
// none there.
func (s *Segment) activeIndexes() *indexes {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mu.writer != nil:
		return s.mu.writer.indexes()
	case s.mu.rest != nil:
		return s.mu.rest.indexes(s.base)
	}
	return nil
}

// keep makes x the indexes of the view, unless the segment was woken meanwhile:
// then they are the writer's, which grow.
func (s *Segment) keep(x *indexes) *indexes {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.mu.writer; w != nil {
		return w.indexes()
	}
	s.mu.view.indexes.Store(x)
	return x
}

// offsetBound is above every offset that the segment can have.
func (s *Segment) offsetBound() int64 {
	if s.base > math.MaxInt64-maxRelative-1 {
		return math.MaxInt64
	}
	return s.base + maxRelative + 1
}

// readFile reads an index file whole: small files are not worth a map.
func (s *Segment) readFile(suffix string) ([]byte, error) {
	f, err := s.maps.open(s.fsys, s.name(suffix), vfs.ReadOnly)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := f.Size()
	if err != nil {
		return nil, err
	}
	if n > max(maxIndexFile, int64(s.cfg.IndexBytes)) {
		return nil, fmt.Errorf("%s: %d bytes are no index", f.Path(), n)
	}
	b := make([]byte, n)
	if m, err := f.ReadAt(b, 0); int64(m) < n {
		return nil, fmt.Errorf("read %s: %w", f.Path(), err)
	}
	return b, nil
}

// maxIndexFile is four times Kafka's default of segment.index.bytes.
const maxIndexFile = 40 << 20

// Txns is the segment's transaction index. A missing file means that there were
// no aborted transactions.
func (s *Segment) Txns() (index.Txns, error) {
	if r := s.damaged.Load(); r != nil {
		return r.w.txns.View(), nil
	}
	s.mu.Lock()
	w, r := s.mu.writer, s.mu.rest
	s.mu.Unlock()
	switch {
	case w != nil:
		return w.txns.View(), nil
	case r != nil:
		return r.txns(), nil
	}
	b, err := s.readFile(TxnSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.mu.closed {
			return index.Txns{}, ErrClosed // it may have been removed, with what it said
		}
		return index.OpenTxns(nil), nil
	}
	if err != nil {
		return index.Txns{}, err
	}
	x := index.OpenTxns(b)
	if err := x.Check(s.base, s.offsetBound()); err != nil {
		return index.Txns{}, &CorruptError{Path: s.fsys.Path(s.name(TxnSuffix)), Offset: -1, Err: err}
	}
	return x, nil
}

// rebuild makes the offset and time index of a pinned sealed segment anew from
// its batches, unless somebody else has done so since wrong was loaded. That the
// files cannot be written is no error: the indexes in memory serve as well.
func (s *Segment) rebuild(wrong *indexes, buf *Buffer) (*indexes, error) {
	if wrong != nil && wrong.ours {
		return nil, errIndexWrong
	}
	x, w, err := s.collect(wrong, buf)
	if err != nil {
		return nil, err
	}
	if w == nil {
		return x, nil
	}
	s.mending.Lock()
	defer s.mending.Unlock()
	if s.mayWrite() {
		_ = s.writeIndex(IndexSuffix, w.offsets.Bytes())
		_ = s.writeIndex(TimeSuffix, w.times.Bytes())
		if !s.mayWrite() {
			// Removed or closed meanwhile: these files are nobody's, or wrong for
			// whoever opened the folder since.
			_ = s.dropFile(IndexSuffix)
			_ = s.dropFile(TimeSuffix)
		}
	}
	return x, nil
}

// mayWrite reports whether index files are for readers to mend: those of the
// active segment are its writer's.
func (s *Segment) mayWrite() bool {
	if s.cfg.ReadOnly {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.mu.closed && s.mu.rest == nil && s.mu.writer == nil
}

// collect is the part of rebuild that only one does. It returns the indexes and
// what is to be written: nothing when another was first, nor when damage ended it
// early. What was found up to there serves, and the damage is met by whoever reads
// it.
func (s *Segment) collect(wrong *indexes, buf *Buffer) (*indexes, *writer, error) {
	s.building.Lock()
	defer s.building.Unlock()
	if x := s.mu.view.indexes.Load(); x != nil && x != wrong {
		return x, nil, nil
	}
	w := s.newWriter(nil, s.size.Load())
	pos, whole := int64(0), true
	for {
		b, err := s.BatchAt(pos, w.next, buf)
		if err == io.EOF {
			break
		}
		if err == nil && b.Check() != nil || errors.Is(err, ErrCorrupt) {
			whole = false
			break
		}
		if err != nil {
			return nil, nil, err
		}
		if b.BaseOffset() < w.next || b.LastOffset()-s.base > maxRelative {
			whole = false
			break
		}
		if err := w.note(Entry{LastOffset: b.LastOffset(), MaxTimestamp: b.MaxTimestamp()}, pos, int64(len(b))); err != nil {
			return nil, nil, s.corrupt(pos, w.next, err)
		}
		w.next = b.NextOffset()
		pos += int64(len(b))
	}
	if whole {
		_ = w.times.MaybeAppend(w.maxTime, w.maxTimeAt, true) // cannot fail: both only rise
	}
	x := s.keep(w.indexes())
	if !whole {
		return x, nil, nil
	}
	return x, w, nil
}
