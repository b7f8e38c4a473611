package log

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"time"

	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// cleaned is a segment that is to take the place of others, as long as it is
// written, by one goroutine. Its files have the names of the segment with
// ".cleaned" behind them, so that an open takes what a crash leaves of it for
// what it is.
//
// It is written by calls: nobody reads it yet, and a map would only cost faults.
// Blocks are allocated as it grows, so that a disk that is full is an error here,
// and leaves the sources as they are.
type cleaned struct {
	l    *Log
	base int64
	scfg segment.Config

	file vfs.File
	buf  []byte // what is not written yet
	pos  int64  // where it goes
	crc  uint32 // of what is written

	allocated int64
	step      int64
	synced    int64 // how far it has been written back

	indexes *segment.Collected
	sums    segment.Sums // of the files, once it is finished
	// superseded is asked when nothing can be taken back any more: an error says that
	// what it was made by does not hold. May be nil.
	superseded func() error
	ended      bool // discarded, or put in place
}

const (
	cleanedBuffer = 256 << 10
	// cleanedStep and cleanedSteps bound what is allocated and not needed yet.
	cleanedStep  = 256 << 10
	cleanedSteps = 64 << 20
	// cleanedSync bounds what one sync has to write: the appends' syncs wait for the
	// same disk. Cleaning takes no longer for it, and with 32 MiB a sync beside it
	// was seen to wait for 90 ms.
	cleanedSync = cleanedBuffer
)

// newCleaned begins the segment of a base offset. Whoever has it discards it in
// the end, whatever happened: that does nothing to one that was put in place. The
// log's Close waits until then, and append fails meanwhile.
func (l *Log) newCleaned(base int64) (*cleaned, error) {
	scfg, err := l.beginCleaned()
	if err != nil {
		return nil, err
	}
	c := &cleaned{l: l, base: base, scfg: scfg, step: cleanedStep, indexes: segment.Collect(base, scfg)}
	if err := c.removeFiles(); err != nil { // of one that could not be removed
		return nil, errors.Join(spaceError(err), c.end())
	}
	if c.file, err = l.env.fsys.Create(c.name(segment.LogSuffix, cleanedSuffix)); err != nil {
		return nil, errors.Join(spaceError(err), c.discard())
	}
	c.buf = make([]byte, 0, cleanedBuffer)
	return c, nil
}

// beginCleaned registers a cleaned segment, and gives what new segments are made
// with.
func (l *Log) beginCleaned() (segment.Config, error) {
	l.writing.Lock()
	defer l.unlock()
	if err := l.refusing(); err != nil {
		return segment.Config{}, err
	}
	l.work.Add(1)
	return l.scfg, nil
}

func (c *cleaned) name(suffix, state string) string {
	return segment.Join(c.l.dir, segment.FileName(c.base, suffix)+state)
}

// size is the bytes of batches so far.
func (c *cleaned) size() int64 { return c.pos + int64(len(c.buf)) }

// append adds whole batches: raw holds those that run describes, one behind the
// other. raw is the caller's again afterwards.
func (c *cleaned) append(raw []byte, run []segment.Placed) error {
	if err := c.l.refusing(); err != nil {
		return err
	}
	if err := c.indexes.Add(run); err != nil {
		return err
	}
	for len(raw) > 0 {
		if len(c.buf) == 0 && len(raw) >= cap(c.buf) {
			return c.write(raw)
		}
		n := min(len(raw), cap(c.buf)-len(c.buf))
		c.buf = append(c.buf, raw[:n]...)
		raw = raw[n:]
		if len(c.buf) == cap(c.buf) {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// abort adds an entry to the transaction index.
func (c *cleaned) abort(t index.AbortedTxn) error { return c.indexes.Aborted(t) }

func (c *cleaned) flush() error {
	b := c.buf
	c.buf = c.buf[:0]
	return c.write(b)
}

func (c *cleaned) write(b []byte) error {
	if err := c.allocate(c.pos + int64(len(b))); err != nil {
		return err
	}
	if _, err := c.file.WriteAt(b, c.pos); err != nil {
		return spaceError(err)
	}
	c.crc = crc32.Update(c.crc, castagnoli, b)
	if c.pos += int64(len(b)); c.pos-c.synced >= cleanedSync {
		c.synced = c.pos
		return c.sync()
	}
	return nil
}

// allocate asks for more than is needed, or where the disk has not that much for
// just that.
func (c *cleaned) allocate(end int64) error {
	if end <= c.allocated {
		return nil
	}
	want := max(end, c.allocated+c.clip(c.step))
	err := c.file.Allocate(c.allocated, want-c.allocated)
	if errors.Is(err, vfs.ErrNoSpace) && want > end {
		want = end
		err = c.file.Allocate(c.allocated, want-c.allocated)
	}
	switch {
	case errors.Is(err, vfs.ErrNotSupported):
		c.allocated = noOffset // the writes tell
	case err != nil:
		return spaceError(err)
	default:
		c.allocated = want
		c.step = min(2*c.step, cleanedSteps)
	}
	return nil
}

func (c *cleaned) clip(n int64) int64 {
	if f, ok := c.file.(vfs.Clipper); ok {
		return f.Clip(n)
	}
	return n
}

// sync fails nothing but the cleaning: nobody has been told of these bytes.
func (c *cleaned) sync() error {
	if err := c.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", c.file.Path(), err)
	}
	return nil
}

// finish makes the files what they stay: exact sizes, the indexes, everything but
// the names durable. The log file gets the time of the last change of what it
// replaces, which tells the age of records without a timestamp.
func (c *cleaned) finish(modified time.Time) error {
	if err := c.flush(); err != nil {
		return err
	}
	c.buf = nil
	if c.allocated > c.pos && c.allocated != noOffset {
		if err := c.file.Truncate(c.pos); err != nil {
			return err
		}
	}
	if err := c.sync(); err != nil {
		return err
	}
	err := c.file.Close()
	c.file = nil
	if err != nil {
		return err
	}
	offsets, times, txns, err := c.indexes.Finish()
	if err != nil {
		return err
	}
	// Of an index that has no file there is a sum too, as of a sealed segment.
	c.sums = segment.Sums{{Name: segment.FileName(c.base, segment.LogSuffix), Size: c.pos, CRC: c.crc}}
	for _, f := range []struct {
		suffix string
		b      []byte
	}{{segment.IndexSuffix, offsets.Bytes()}, {segment.TimeSuffix, times.Bytes()}, {segment.TxnSuffix, txns.Bytes()}} {
		if len(f.b) > 0 || f.suffix != segment.TxnSuffix {
			if err := writeTemporary(c.l.env.fsys, c.name(f.suffix, cleanedSuffix), f.b); err != nil {
				return spaceError(err)
			}
		}
		c.sums = append(c.sums, segment.FileSum{Name: segment.FileName(c.base, f.suffix), Size: int64(len(f.b)),
			CRC: crc32.Checksum(f.b, castagnoli)})
	}
	return c.l.env.fsys.SetModTime(c.name(segment.LogSuffix, cleanedSuffix), modified)
}

// discard removes what there is of it, unless it was put in place. What cannot be
// removed goes with the next cleaning of the same segment, or the next open.
func (c *cleaned) discard() error {
	if c.ended {
		return nil
	}
	var err error
	if c.file != nil {
		err = c.file.Close()
		c.file = nil
	}
	return errors.Join(err, c.removeFiles(), c.end())
}

// end lets the log's Close go on.
func (c *cleaned) end() error {
	if !c.ended {
		c.ended = true
		c.l.work.Done()
	}
	return nil
}

// removeFiles removes the files under both names. While a cleaned one is there,
// an open takes no swap for one that was decided: so they go last.
func (c *cleaned) removeFiles() error {
	swaps, err := c.removeState(swapSuffix)
	if err != nil {
		return err
	}
	if swaps {
		if err := c.l.syncDir(); err != nil {
			return c.l.fail(err)
		}
	}
	_, err = c.removeState(cleanedSuffix)
	return err
}

func (c *cleaned) removeState(state string) (found bool, err error) {
	for _, suffix := range sumSuffixes {
		switch err := c.l.env.fsys.Remove(c.name(suffix, state)); {
		case err == nil:
			found = true
		case !errors.Is(err, fs.ErrNotExist):
			return found, err
		}
	}
	return found, nil
}
