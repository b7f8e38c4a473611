package log

import (
	"errors"
	"time"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/segment"
)

// copySegments is the second pass: group by group, oldest first. The groups are
// chosen one by one, since retention may take segments away meanwhile. What it
// takes is no loss: the map knows newer records of nothing that is gone.
func (c *cleaner) copySegments() error {
	l := c.l
	c.txns = newCleanedTxns()
	for at := int64(0); ; {
		list := l.segments.Load()
		i := 0
		for i < len(list.segs)-1 && list.bases[i] < at {
			i++
		}
		if i == len(list.segs)-1 || list.bases[i] > c.latest {
			return nil
		}
		group, err := l.cleanGroup(list, i, c.latest+1, c.upper)
		if err != nil {
			return err
		}
		err = c.copyGroup(list, i, group)
		if errors.Is(err, errSuperseded) && l.segments.Load().bases[0] > group[0].Base() {
			// What the transactions were is known from the segments that are left.
			c.txns = newCleanedTxns()
			continue
		}
		if err != nil {
			return err
		}
		at = list.bases[i+len(group)]
	}
}

// truncated is errSuperseded when records that the map counts on may have been
// taken back: an older one of the same key would be the newest again.
func (c *cleaner) truncated() error {
	if c.l.generation.Load() == c.generation {
		return nil
	}
	if end, ok := c.l.truncated.since(c.generation); ok && end > c.latest {
		return nil
	}
	return errSuperseded
}

// copyGroup cleans the segments of a group, which begins at index i of list, into
// one.
func (c *cleaner) copyGroup(list *list, i int, group []*segment.Segment) (err error) {
	l := c.l
	c.producers = l.lastRecords()
	if len(group) == 1 && list.bases[i+1] <= c.from {
		if same, err := c.same(list, i); same || err != nil {
			return err
		}
	}
	out, err := l.newCleaned(group[0].Base())
	if err != nil {
		return err
	}
	was := c.done
	defer func() {
		c.out, c.raw, c.run = nil, c.raw[:0], c.run[:0]
		if err != nil {
			c.done = was
		}
		err = errors.Join(err, out.discard()) // nothing, once it was put in place
	}()
	c.out, out.superseded = out, c.truncated
	before := int64(0)
	for _, s := range group {
		before += s.Size()
	}
	c.left = before
	var modified time.Time
	for k, s := range group {
		aborted, err := l.AbortedTxns(s.Base(), list.bases[i+k+1], nil)
		if err != nil {
			return err
		}
		c.txns.add(aborted)
		if modified, err = l.modified(s); err != nil {
			if !l.lists(s) {
				return errSuperseded
			}
			return err
		}
		if err := c.eachBatch(list, i+k, s.Base(), c.copyBatch); err != nil {
			return err
		}
	}
	if err := c.flush(); err != nil {
		return err
	}
	if err := out.finish(modified); err != nil {
		return err
	}
	after := out.size()
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if err := out.replace(c.ctx, group, list.bases[i+len(group)]); err != nil {
		return err
	}
	c.done.Segments += len(group)
	c.done.Into++
	c.done.BytesBefore += before
	c.done.BytesAfter += after
	return nil
}

// same tells whether a cleaned segment is to stay as it is, which of one that has
// none of the keys that were seen is so: then it need not be written again. It
// looks up to the first batch that is not to be kept whole; where transactions
// are concerned that is the first of those.
func (c *cleaner) same(list *list, i int) (same bool, err error) {
	s := list.segs[i]
	aborted, err := c.l.AbortedTxns(s.Base(), list.bases[i+1], nil)
	if err != nil || len(aborted) > 0 || len(c.txns.open) > 0 {
		return false, err
	}
	progress, records := c.progress.Done, int64(0)
	same = true
	err = c.eachBatch(list, i, s.Base(), func(b codec.Batch) (more bool, err error) {
		if b.IsTransactional() || b.IsControl() {
			same = false
			return false, nil
		}
		v, err := c.verdict(b)
		same = v.kept > 0 && v.kept == int(b.RecordCount()) && !v.horizon
		records += int64(v.kept)
		return same, err
	})
	if err != nil || !same {
		c.progress.Done = progress
		return false, err
	}
	c.done.RecordsRead += records
	c.done.RecordsKept += records
	return true, nil
}

// modified is the time of a segment's log file, which what it becomes inherits:
// retention goes by it when no record has a time.
func (l *Log) modified(s *segment.Segment) (time.Time, error) {
	info, err := l.env.fsys.Stat(segment.Join(l.dir, segment.FileName(s.Base(), segment.LogSuffix)))
	return info.ModTime, err
}

// copyBatch copies what is to be kept of a batch.
func (c *cleaner) copyBatch(b codec.Batch) (more bool, err error) {
	c.left -= int64(len(b))
	c.done.RecordsRead += int64(b.RecordCount())
	v, err := c.verdict(b)
	if err != nil {
		return false, err
	}
	c.done.RecordsKept += int64(v.kept)
	from := len(c.raw)
	switch {
	case v.kept > 0 && v.kept == int(b.RecordCount()) && !v.horizon:
		c.raw = append(c.raw, b...)
	case v.kept > 0:
		err = c.rewrite(b, v)
	case v.empty:
		c.raw = appendEmptied(c.raw, b)
	default:
		return true, nil
	}
	if err != nil {
		return false, err
	}
	written := codec.Batch(c.raw[from:])
	c.wrote += int64(len(written))
	c.run = append(c.run, segment.Placed{Size: len(written), Entry: segment.Entry{LastOffset: written.LastOffset(), MaxTimestamp: written.MaxTimestamp()}})
	if len(c.raw) >= cleanChunk {
		err = c.flush()
	}
	return true, err
}

// flush writes the batches that were collected.
func (c *cleaner) flush() error {
	if len(c.raw) == 0 {
		return nil
	}
	if err := c.out.append(c.raw, c.run); err != nil {
		return err
	}
	if c.raw, c.run = c.raw[:0], c.run[:0]; cap(c.raw) > 4*cleanChunk {
		c.raw = nil
	}
	return nil
}
