package log

import (
	"errors"
	"io"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// OffsetForTimestamp finds the first record, from the log's start on, whose
// timestamp is ms or later (Kafka's ListOffsets). Records up to the log's end
// count, those of undecided and aborted transactions and control records too.
func (l *Log) OffsetForTimestamp(ms int64) (offset, timestamp int64, found bool, err error) {
	return l.search(func(list *list, buf *segment.Buffer) (int, error) { return list.firstSince(ms, buf) }, ms)
}

// OffsetForMaxTimestamp finds the record with the largest timestamp; the first
// of them if there are several.
func (l *Log) OffsetForMaxTimestamp() (offset, timestamp int64, found bool, err error) {
	if l.closed.Load() {
		return 0, 0, false, ErrClosed
	}
	latest, err := l.latestTimestamp()
	if err != nil {
		return 0, 0, false, err
	}
	if latest < 0 {
		return 0, 0, false, nil
	}
	offset, timestamp, found, err = l.OffsetForTimestamp(latest)
	if found || err != nil {
		return offset, timestamp, found, err
	}
	// A segment knows of a batch a moment before the log's end does. Whoever
	// appended it holds the lock until then.
	l.writing.Lock()
	l.unlock()
	return l.OffsetForTimestamp(latest)
}

// latestTimestamp is the largest timestamp of all segments; -1 when there is
// none.
func (l *Log) latestTimestamp() (int64, error) {
	var buf segment.Buffer
	for {
		list := l.segments.Load()
		latest, err := list.maxTimestamp(&buf)
		if err == nil {
			return latest, nil
		}
		if again, err2 := l.vanished(list, err); !again {
			return 0, err2
		}
	}
}

func (l *list) maxTimestamp(buf *segment.Buffer) (int64, error) {
	latest := int64(-1)
	for _, s := range l.segs {
		if s.Size() == 0 {
			continue // of a log that is followed, it may not be there yet
		}
		if err := s.Pin(); err != nil {
			return 0, err
		}
		t, _, err := s.MaxTimestamp(buf)
		s.Unpin()
		if err != nil {
			return 0, err
		}
		latest = max(latest, t)
	}
	return latest, nil
}

// search looks for the first record with a timestamp of at least ms in the
// segment that first names, and those behind it.
func (l *Log) search(first func(*list, *segment.Buffer) (int, error), ms int64) (offset, timestamp int64, found bool, err error) {
	if l.closed.Load() {
		return 0, 0, false, ErrClosed
	}
	var buf segment.Buffer
	for try := 0; ; try++ {
		run := l.followRun()
		list := l.segments.Load()
		start, end := l.start.Load(), l.end.Load()
		i, err := first(list, &buf)
		for ; err == nil && i < len(list.segs); i++ {
			if list.segs[i].Size() == 0 {
				continue
			}
			offset, timestamp, found, err = l.searchSegment(list.segs[i], ms, start, end, &buf)
			if found || err != nil {
				break
			}
		}
		if l.follow.again(run, err, try) {
			buf = segment.Buffer{}
			continue
		}
		if err != nil {
			if again, err2 := l.vanished(list, err); !again {
				return 0, 0, false, l.Corrupt(l.follow.meant(err2))
			}
			continue
		}
		return offset, timestamp, found, nil
	}
}

func (l *Log) searchSegment(s *segment.Segment, ms, start, end int64, buf *segment.Buffer) (offset, timestamp int64, found bool, err error) {
	if err := s.Pin(); err != nil {
		return 0, 0, false, err
	}
	defer s.Unpin()
	err = vfs.Guard(s.PinnedPath(), -1, func() error {
		pos, err := s.FindTime(ms, start, buf)
		for err == nil {
			var b codec.Batch
			if b, err = s.BatchAt(pos, start, buf); err != nil {
				break
			}
			if b.BaseOffset() >= end {
				return nil // appended since
			}
			if b.MaxTimestamp() >= ms {
				offset, timestamp, found, err = l.searchBatch(b, ms, start)
				if err != nil {
					return &segment.CorruptError{Path: s.Path(), Position: pos, Offset: b.BaseOffset(), Err: err}
				}
				if found {
					return nil
				}
			}
			pos += int64(len(b))
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	})
	return offset, timestamp, found, err
}

// searchBatch looks into one batch, unpacking it if need be.
func (l *Log) searchBatch(b codec.Batch, ms, start int64) (offset, timestamp int64, found bool, err error) {
	if err := b.Check(); err != nil {
		return 0, 0, false, err
	}
	tmp := l.env.buffer()
	defer l.env.release(tmp)
	payload, err := codec.Unpack(b, *tmp, l.env.coders, MaxUnpacked)
	if errors.Is(err, compress.ErrClosed) {
		err = ErrClosed // the log was, before its store's coders
	}
	if err != nil {
		return 0, 0, false, err
	}
	if b.Compression() != 0 {
		*tmp = payload
	}
	var d codec.Decoder
	if err := d.Reset(b, payload); err != nil {
		return 0, 0, false, err
	}
	var r codec.Record
	for {
		switch err := d.Next(&r); {
		case err == io.EOF:
			return 0, 0, false, nil
		case err != nil:
			return 0, 0, false, err
		case r.Timestamp >= ms && r.Offset >= start:
			return r.Offset, r.Timestamp, true, nil
		}
	}
}

// MaxUnpacked bounds what one batch may decompress to.
const MaxUnpacked = 64 << 20
