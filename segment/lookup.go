package segment

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
)

// active gives the writer, nil when the segment is sealed.
func (s *Segment) active() *writer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.writer
}

// offsetIndex is the index as it is now, of a pinned segment.
func (s *Segment) offsetIndex() (index.Offsets, error) {
	x, err := s.loaded()
	if err != nil {
		return index.Offsets{}, err
	}
	return x.offsets, nil
}

// loaded is the segment's offset and time index, read from their files at the
// first use. An index that cannot be right is errIndexWrong.
func (s *Segment) loaded() (*indexes, error) {
	if r := s.damaged.Load(); r != nil {
		return &indexes{offsets: r.w.offsets.View(), times: r.w.times.View()}, nil
	}
	v := s.mu.view
	if x := v.indexes.Load(); x != nil {
		return x, nil
	}
	if w := s.active(); w != nil {
		return &indexes{offsets: w.offsets.View(), times: w.times.View()}, nil
	}
	if x := v.indexes.Load(); x != nil {
		return x, nil // sealed in between
	}
	ob, err := s.readIndex(IndexSuffix)
	if err != nil {
		return nil, err
	}
	tb, err := s.readIndex(TimeSuffix)
	if err != nil {
		return nil, err
	}
	x := &indexes{
		offsets: index.OpenOffsets(s.base, ob).Written(),
		times:   index.OpenTimes(s.base, tb).Written(),
		bytes:   int64(len(ob) + len(tb)),
	}
	// The next offset is not known here: what matters of the offsets is proved
	// against the log at every use.
	if x.offsets.Check(s.size.Load(), s.base+maxRelative+1) != nil ||
		x.times.Check(s.base+maxRelative+1) != nil {
		return nil, errIndexWrong
	}
	if x.times.Len() == 0 && s.size.Load() > 0 {
		// A sealed segment's time index ends with its largest timestamp. Only
		// batches without any timestamp leave it empty, which a scan finds out.
		return nil, errIndexWrong
	}
	v.indexes.Store(x)
	return x, nil
}

// readIndex reads an index file whole: small files are not worth a map. A
// missing one is wrong, not an error: it is rebuilt.
func (s *Segment) readIndex(suffix string) ([]byte, error) {
	f, err := s.fsys.Open(s.name(suffix), vfs.ReadOnly)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errIndexWrong
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := f.Size()
	if err != nil {
		return nil, err
	}
	// An entry stands for at least one byte of log: a longer file is not an
	// index of this segment, nor worth the memory.
	if n > maxIndexFile {
		return nil, errIndexWrong
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
	if w := s.active(); w != nil {
		return w.txns.View(), nil
	}
	f, err := s.fsys.Open(s.name(TxnSuffix), vfs.ReadOnly)
	if errors.Is(err, fs.ErrNotExist) {
		return index.OpenTxns(nil), nil
	}
	if err != nil {
		return index.Txns{}, err
	}
	defer f.Close()
	n, err := f.Size()
	if err != nil {
		return index.Txns{}, err
	}
	if n > maxIndexFile {
		return index.Txns{}, s.corruptTxns("file of %d bytes", n)
	}
	b := make([]byte, n)
	if m, err := f.ReadAt(b, 0); int64(m) < n {
		return index.Txns{}, fmt.Errorf("read %s: %w", f.Path(), err)
	}
	x := index.OpenTxns(b)
	if err := x.Check(s.base, s.base+maxRelative+1); err != nil {
		return index.Txns{}, s.corruptTxns("%w", err)
	}
	return x, nil
}

func (s *Segment) corruptTxns(format string, args ...any) error {
	return &CorruptError{Path: s.fsys.Path(s.name(TxnSuffix)), Offset: -1, Err: fmt.Errorf(format, args...)}
}

// rebuild makes a sealed segment's offset and time index anew from its batches
// and writes them. That the files cannot be written is no error: the indexes in
// memory serve as well.
func (s *Segment) rebuild(buf *Buffer) error {
	s.building.Lock()
	defer s.building.Unlock()
	if x, err := s.loaded(); err == nil && s.fits(x, buf) {
		return nil // somebody else was first
	}
	r := s.newWriter(nil, s.size.Load())
	for pos := int64(0); ; {
		b, err := s.BatchAt(pos, s.base, buf)
		if err == io.EOF {
			break
		}
		if err == nil {
			err = b.Check()
		}
		if err != nil {
			var c *CorruptError
			if errors.As(err, &c) {
				return err
			}
			return s.corrupt(pos, s.base, err)
		}
		e := Entry{LastOffset: b.LastOffset(), MaxTimestamp: b.MaxTimestamp()}
		if err := r.note(s, e, pos, int64(len(b))); err != nil {
			return s.corrupt(pos, b.BaseOffset(), err)
		}
		pos += int64(len(b))
	}
	_ = r.times.MaybeAppend(r.maxTime, r.maxTimeAt, true)
	x := &indexes{offsets: r.offsets.View(), times: r.times.View(),
		bytes: int64(len(r.offsets.Bytes()) + len(r.times.Bytes()))}
	s.mu.view.indexes.Store(x)
	_ = s.writeIndex(IndexSuffix, r.offsets.Bytes())
	_ = s.writeIndex(TimeSuffix, r.times.Bytes())
	return nil
}

// fits proves every entry of an index.
func (s *Segment) fits(x *indexes, buf *Buffer) bool {
	for i := range x.offsets.Len() {
		if offset, pos := x.offsets.Entry(i); s.proveEntry(offset, pos, buf) != nil {
			return false
		}
	}
	return x.times.Len() > 0 && s.timesFit(x, buf)
}

// timesFit proves the entries of a time index.
func (s *Segment) timesFit(x *indexes, buf *Buffer) bool {
	for i := range x.times.Len() {
		timestamp, offset := x.times.Entry(i)
		if s.proveTime(x, timestamp, offset, buf) != nil {
			return false
		}
	}
	return true
}

// proveTime looks whether the batch that holds offset has the timestamp. (Kafka
// names its last offset, some versions the record's own.)
func (s *Segment) proveTime(x *indexes, timestamp, offset int64, buf *Buffer) error {
	entry, pos := x.offsets.Lookup(offset)
	if pos > 0 {
		if err := s.proveEntry(entry, pos, buf); err != nil {
			return err
		}
	}
	for {
		b, err := s.BatchAt(pos, offset, buf)
		if err != nil {
			return errIndexWrong
		}
		if b.LastOffset() >= offset {
			if b.BaseOffset() > offset || b.MaxTimestamp() != timestamp {
				return errIndexWrong
			}
			return nil
		}
		pos += int64(len(b))
	}
}

// MaxTimestamp is the largest timestamp in a pinned segment and the last offset
// of the first batch that has it; -1 when no batch has one.
func (s *Segment) MaxTimestamp(buf *Buffer) (timestamp, offset int64, err error) {
	x, err := s.provedTimes(func(x *indexes) error {
		t, o := x.times.Last()
		if t < 0 {
			return nil
		}
		return s.proveTime(x, t, o, buf)
	}, buf)
	if err != nil {
		return 0, 0, err
	}
	if w := s.active(); w != nil {
		return s.scanMax(x, buf)
	}
	timestamp, offset = x.times.Last()
	return timestamp, offset, nil
}

// scanMax looks at the batches that came after the active segment's last index
// entry.
func (s *Segment) scanMax(x *indexes, buf *Buffer) (timestamp, offset int64, err error) {
	timestamp, offset = x.times.Last()
	from := s.base
	if timestamp >= 0 {
		from = offset
	}
	pos, err := s.Find(from, buf)
	for err == nil {
		var b codec.Batch
		if b, err = s.BatchAt(pos, from, buf); err == nil {
			if b.MaxTimestamp() > timestamp {
				timestamp, offset = b.MaxTimestamp(), b.LastOffset()
			}
			pos += int64(len(b))
		}
	}
	if err == io.EOF {
		err = nil
	}
	return timestamp, offset, err
}

// provedTimes gives the indexes once prove has accepted them, rebuilding them
// where it does not.
func (s *Segment) provedTimes(prove func(*indexes) error, buf *Buffer) (*indexes, error) {
	x, err := s.loaded()
	if err == nil {
		err = prove(x)
	}
	if err == nil || !errors.Is(err, errIndexWrong) {
		return x, err
	}
	if s.active() != nil {
		return nil, fmt.Errorf("%s: %w", s.Path(), err)
	}
	if err := s.rebuild(buf); err != nil {
		return nil, err
	}
	return s.loaded()
}

// FindTime returns the position of the first batch that may hold a record of
// the given timestamp or later at or after the offset start, in a pinned
// segment (Kafka's findOffsetByTimestamp): every batch before it is older, or
// below start.
func (s *Segment) FindTime(timestamp, start int64, buf *Buffer) (int64, error) {
	var offset int64
	_, err := s.provedTimes(func(x *indexes) error {
		var t int64
		t, offset = x.times.Lookup(timestamp)
		if t < 0 {
			offset = s.base
			return nil
		}
		return s.proveTime(x, t, offset, buf)
	}, buf)
	if err != nil {
		return 0, err
	}
	x, err := s.loaded()
	if err != nil {
		return 0, err
	}
	if t, o := x.times.Lookup(timestamp); t >= 0 {
		offset = o
	} else {
		offset = s.base
	}
	pos, err := s.Find(max(offset, start), buf)
	for err == nil {
		var b codec.Batch
		if b, err = s.BatchAt(pos, start, buf); err == nil {
			if b.MaxTimestamp() >= timestamp && b.LastOffset() >= start {
				return pos, nil
			}
			pos += int64(len(b))
		}
	}
	if err == io.EOF {
		return s.size.Load(), nil
	}
	return 0, err
}

// LargestTimestamp is MaxTimestamp of a segment that the caller has not pinned,
// remembered once it is known; -1 when no batch has a timestamp.
func (s *Segment) LargestTimestamp(buf *Buffer) (int64, error) {
	if t := s.maxTime.Load(); t != unknownTime {
		return t, nil
	}
	if err := s.Pin(); err != nil {
		return 0, err
	}
	defer s.Unpin()
	t, _, err := s.MaxTimestamp(buf)
	if err == nil {
		s.maxTime.Store(t)
	}
	return t, err
}
