package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
)

// Stop says why a scan ended where it did.
type Stop uint8

const (
	// StopEnd: the last batch ends where the file does.
	StopEnd Stop = iota
	// StopZeros: nothing but zero bytes follow, which were never written.
	StopZeros
	// StopShort: what follows is shorter than the batch it begins.
	StopShort
	// StopCorrupt: what follows is not a batch: its length, CRC or header is
	// impossible.
	StopCorrupt
	// StopOrder: a sound batch follows whose offsets lie below what is there
	// (Kafka: InvalidOffsetException).
	StopOrder
	// StopOverflow: a sound batch follows whose offsets do not fit the segment
	// (Kafka: LogSegmentOffsetOverflowException).
	StopOverflow
	// StopFormat: a sound batch of another message format follows.
	StopFormat
)

func (s Stop) String() string {
	return [...]string{"end", "zeros", "short", "corrupt", "order", "overflow", "format"}[s]
}

// Scan is what a scan of a whole segment found.
type Scan struct {
	Valid   int64 // bytes of sound batches from the beginning on
	Next    int64 // the offset after them
	Batches int
	Stop    Stop
	Err     error // says more, for all but StopEnd and StopZeros

	// Holes are what a scan with Around went past.
	Holes []Hole

	w *writer // the indexes, rebuilt
	// id and size are the file's, and linked says that it has other names; filed
	// that its indexes are in their files.
	id     vfs.FileID
	size   int64
	linked bool
	filed  bool
}

// Hole is a damaged stretch of a segment: [Pos, End) holds no batch.
type Hole struct {
	Pos, End int64
	Offset   int64 // the first offset lost
	Stop     Stop
	Err      error
}

// ScanOptions chooses how much a scan asks of a batch.
type ScanOptions struct {
	// Kafka: only what Apache Kafka's recovery asks: size, CRC, a magic byte
	// above 1 and a last offset that fits the index. Otherwise every batch must
	// be one that readers accept too (magic 2, counts that can be), and its
	// offsets must lie above those before it.
	Kafka bool
	// Around goes on behind damage, with the next sound batch whose offsets can
	// follow.
	Around bool
	// Each is called with every batch accepted, in order. Its error ends the
	// scan and is returned, but for a *Reject, which makes the batch a corrupt
	// one.
	Each func(r *Scan, pos int64, b codec.Batch) error
	// End stops the scan before the first batch that reaches beyond that offset;
	// 0: nowhere. Nothing behind it is looked at.
	End int64
	// Inspect, if it is set, is made once for each goroutine that looks at the
	// batches accepted, in any order and beside one another; the scan returns when
	// all have been looked at.
	Inspect func() Inspect
}

// Reject says that a batch with a good CRC cannot be right all the same.
type Reject struct{ Err error }

func (e *Reject) Error() string { return e.Err.Error() }

// scanWindow is how much is read at once without a map.
const scanWindow = 4 << 20

// Scan reads the whole file, whatever its size was taken for, checks batch by
// batch and rebuilds the indexes in memory; nothing on disk changes. Activate,
// Sealed or Damaged puts them to use.
func (s *Segment) Scan(o ScanOptions) (r *Scan, err error) {
	f, err := s.maps.open(s.fsys, s.name(LogSuffix), vfs.ReadOnly)
	if err != nil {
		return nil, fmt.Errorf("segment %d: %w", s.base, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := s.expected(f); err != nil {
		return nil, err
	}
	return s.scanFile(f, o)
}

// ScanFile scans a file that is no segment yet, as one of the given base.
func ScanFile(f vfs.File, base int64, maps *Maps, c Config) (*Scan, error) {
	s := &Segment{base: base, cfg: c, maps: maps}
	return s.scanFile(f, ScanOptions{})
}

func (s *Segment) scanFile(f vfs.File, o ScanOptions) (r *Scan, err error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	in := s.openScan(f, size)
	defer in.close()
	in.inspect = newInspector(&o, in)
	defer func() {
		if ierr := in.inspect.close(); err == nil {
			err = ierr
		}
	}()

	r = &Scan{Next: s.base, w: s.newWriter(f, size), size: size}
	r.w.file = nil
	if r.id, err = f.ID(); err != nil {
		return nil, err
	}
	r.linked = vfs.Links(f) > 1
	defer vfs.Recover(f.Path(), in.data, &err, vfs.SetFault())
	for {
		if err := s.scan(r, in, o); err != nil {
			return r, err
		}
		if !o.Around || r.Stop == StopEnd || r.Stop == StopZeros {
			return r, nil
		}
		if again, err := s.resume(r, in); !again || err != nil {
			return r, err
		}
	}
}

// resume moves a scan behind the damage that stopped it, to the next place
// where a sound batch begins. It reports whether there is one.
func (s *Segment) resume(r *Scan, in *scanInput) (again bool, err error) {
	h := Hole{Pos: r.Valid, Offset: r.Next, End: in.size, Stop: r.Stop, Err: r.Err}
	for pos := h.Pos + 1; pos+codec.HeaderSize <= in.size; pos++ {
		pos, err = in.findMagic(pos)
		if err != nil {
			return false, err
		}
		if pos+codec.HeaderSize > in.size {
			break
		}
		b, err := in.bytes(pos, codec.HeaderSize)
		if err != nil {
			return false, err
		}
		n := int64(int32(binary.BigEndian.Uint32(b[8:]))) + codec.LogOverhead
		base := int64(binary.BigEndian.Uint64(b))
		if n < codec.HeaderSize || n > in.size-pos || base < r.Next || base-s.base > maxRelative {
			continue
		}
		// What looks like a header costs a checksum of what it says is the batch.
		// Honest bytes seldom do; a file made of such headers must not cost the
		// square of its size.
		if in.tried += n; in.tried > 8*in.size+1<<20 {
			break
		}
		if b, err = in.bytes(pos, int(n)); err != nil {
			return false, err
		}
		if codec.Batch(b).Check() == nil {
			h.End = pos
			r.Holes = append(r.Holes, h)
			r.Valid, r.Stop, r.Err = pos, StopEnd, nil
			return true, nil
		}
	}
	r.Holes = append(r.Holes, h)
	return false, nil
}

// findMagic is the first position from pos on where a batch would have the right
// magic byte, or one too near the end of the file for a batch.
func (in *scanInput) findMagic(pos int64) (int64, error) {
	const at = 16 // in a batch
	for pos+codec.HeaderSize <= in.size {
		n := min(64<<10, in.size-pos)
		b, err := in.bytes(pos, int(n))
		if err != nil {
			return 0, err
		}
		if i := bytes.IndexByte(b[at:], codec.Magic); i >= 0 {
			return pos + int64(i), nil
		}
		pos += n - at
	}
	return in.size, nil
}

func (s *Segment) scan(r *Scan, in *scanInput, o ScanOptions) error {
	for o.End == 0 || r.Next < o.End {
		b, err := in.next(r)
		if errors.Is(err, io.EOF) && in.shorter() {
			continue
		}
		if err != nil || b == nil {
			return err
		}
		if !o.Kafka && b.Magic() != codec.Magic {
			r.Stop, r.Err = StopFormat, &codec.MagicError{Magic: b.Magic()}
			return nil
		}
		base, last := b.BaseOffset(), b.LastOffset()
		if o.Kafka {
			if last-s.base < 0 || last-s.base > maxRelative {
				r.Stop, r.Err = StopOverflow, fmt.Errorf("batch at offset %d: %w", last, ErrOffsetOverflow)
				return nil
			}
		} else {
			switch {
			case b.LastOffsetDelta() < 0 || b.RecordCount() < 0:
				r.Stop, r.Err = StopCorrupt, fmt.Errorf("last offset delta %d, record count %d", b.LastOffsetDelta(), b.RecordCount())
				return nil
			case base < r.Next:
				r.Stop, r.Err = StopOrder, fmt.Errorf("batch of offsets %d to %d where %d is next: %w", base, last, r.Next, ErrInvalidOffset)
				return nil
			case last < base || last == math.MaxInt64 || last-s.base > maxRelative:
				r.Stop, r.Err = StopOverflow, fmt.Errorf("batch from offset %d: %w", base, ErrOffsetOverflow)
				return nil
			}
		}
		if o.End > 0 && last >= o.End {
			return nil
		}
		if o.Each != nil {
			err := o.Each(r, r.Valid, b)
			var reject *Reject
			if errors.As(err, &reject) {
				r.Stop, r.Err = StopCorrupt, reject.Err
				return nil
			}
			if err != nil {
				return err
			}
		}
		if err := r.w.note(Entry{last, b.MaxTimestamp()}, r.Valid, int64(len(b))); err != nil {
			r.Stop, r.Err = StopOrder, fmt.Errorf("batch of offsets %d to %d: %w: %w", base, last, ErrInvalidOffset, err)
			return nil
		}
		in.inspect.add(r.Valid, b)
		r.Batches++
		r.Valid += int64(len(b))
		r.Next = last + 1
	}
	return nil
}
