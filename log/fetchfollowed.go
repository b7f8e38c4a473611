package log

import (
	"encoding/binary"
	"errors"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/segment"
)

// fetchFollowed is Fetch of a log that another process writes: what is found is
// copied at once, and counts only if it is sound and nobody had begun to change
// it. While the writer recovers there is nothing.
func (l *Log) fetchFollowed(o *FetchOptions, f *Fetched) error {
	for try := 0; ; try++ {
		l.Poll()
		if l.closed.Load() {
			return ErrClosed
		}
		run := l.follow.run.Load()
		if run&1 == 1 {
			f.look(l)
			f.First, f.Next = o.Offset, o.Offset
			return l.follow.trouble()
		}
		err := l.fetchOnce(o, f)
		if err == nil {
			err = f.copyOut()
		}
		var outside *OffsetError
		if (err == nil || errors.As(err, &outside)) && l.follow.intact(run) {
			return err
		}
		f.reset()
		if !l.follow.again(run, err, try) && err != nil && err != ErrRestarted {
			return l.follow.meant(err)
		}
		if try >= followTries && (err == nil || err == ErrRestarted) { // the writer is at work there: later
			f.First, f.Next = o.Offset, o.Offset
			return nil
		}
	}
}

// copyOut replaces the pin by a copy of the bytes, if they are whole batches.
func (f *Fetched) copyOut() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	seg := f.mu.seg
	if seg == nil {
		return nil
	}
	buf := make([]byte, f.size)
	err := seg.ReadAt(buf, f.pos)
	if err == nil {
		err = checkRun(seg, buf, f.pos, f.First)
	}
	seg.Unpin()
	f.mu.seg = nil
	if err == nil {
		f.mu.buf = buf
	}
	return err
}

// checkRun checks the batches that b consists of.
func checkRun(seg *segment.Segment, b []byte, pos, offset int64) error {
	for len(b) > 0 {
		if len(b) < codec.HeaderSize {
			return &segment.CorruptError{Path: seg.Path(), Position: pos, Offset: offset, Err: errors.New("no whole batch")}
		}
		n := int64(int32(binary.BigEndian.Uint32(b[8:]))) + codec.LogOverhead
		if n < codec.HeaderSize || n > int64(len(b)) {
			return &segment.CorruptError{Path: seg.Path(), Position: pos, Offset: offset, Err: errors.New("no whole batch")}
		}
		batch := codec.Batch(b[:n])
		if err := batch.Check(); err != nil {
			return &segment.CorruptError{Path: seg.Path(), Position: pos, Offset: offset, Err: err}
		}
		offset = batch.NextOffset()
		b, pos = b[n:], pos+n
	}
	return nil
}

// copied are the bytes that a fetch has copied, nil when it has pinned them.
func (f *Fetched) copied() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.seg != nil {
		return nil
	}
	return f.mu.buf
}
