package segment

import (
	"errors"
	"fmt"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
)

// followWindow is how much Extend reads at first: most polls find a few batches
// in a file that is mostly room for more.
const followWindow = 16 << 10

// Follow begins to follow a segment that another process appends to. The scan it
// returns is empty; readers of the segment go by it, and see what Extend adds.
func (s *Segment) Follow() *Scan {
	r := &Scan{Next: s.base, w: s.newWriter(nil, 0)}
	s.settle(r)
	s.damaged.Store(r)
	return r
}

// Extend goes on with a scan that Follow began, up to the batch that reaches
// beyond offset end, or to whatever is no sound batch; r says what. Readers may
// look at the segment meanwhile. One goroutine at a time extends it.
func (s *Segment) Extend(r *Scan, end int64, each func(r *Scan, pos int64, b codec.Batch) error) (err error) {
	f, err := s.fsys.Open(s.name(LogSuffix), vfs.ReadOnly)
	if err != nil {
		return fmt.Errorf("segment %d: %w", s.base, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := s.expected(f); err != nil {
		return err
	}
	size, err := f.Size()
	if err != nil {
		return err
	}
	// Without a map: the file may become shorter at any moment.
	in := &scanInput{f: f, size: size, maps: s.maps, window: followWindow, brief: true}
	if size < r.Valid {
		r.Stop, r.Err = StopShort, fmt.Errorf("file has %d bytes, and had %d", size, r.Valid)
		return nil
	}
	r.Stop, r.Err = StopEnd, nil
	err = s.scan(r, in, ScanOptions{End: end, Each: func(r *Scan, pos int64, b codec.Batch) error {
		if err := each(r, pos, b); err != nil {
			return err
		}
		// Before its index entry: see Commit.
		s.size.Store(pos + int64(len(b)))
		return nil
	}})
	s.size.Store(r.Valid)
	s.maxTime.Store(r.w.maxTime)
	return err
}

// Followed reports whether the segment is read by a scan and not by its index
// files.
func (s *Segment) Followed() bool { return s.damaged.Load() != nil }
