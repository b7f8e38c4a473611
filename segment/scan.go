package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

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
}

// Hole is a damaged stretch of a segment: [Pos, End) holds no batch.
type Hole struct {
	Pos, End int64
	Offset   int64 // the first offset lost
	Err      error
}

// ScanOptions chooses how much a scan asks of a batch.
type ScanOptions struct {
	// Kafka: only what Apache Kafka's recovery asks: size, CRC, a magic byte
	// above 1 and an offset that fits the index. Otherwise magic must be 2, the
	// header possible, and base offsets must rise.
	Kafka bool
	// Around goes on behind damage, with the next sound batch whose offsets can
	// follow.
	Around bool
	// Each is called with every batch accepted, in order. Its error ends the
	// scan and is returned, but for a *Reject, which makes the batch a corrupt
	// one.
	Each func(r *Scan, pos int64, b codec.Batch) error
}

// Reject says that a batch with a good CRC cannot be right all the same.
type Reject struct{ Err error }

func (e *Reject) Error() string { return e.Err.Error() }

// scanWindow is how much of the map is asked for ahead of the scan, and read at
// once without a map.
const scanWindow = 4 << 20

// Scan reads the whole file, whatever its size was taken for, checks batch by
// batch and rebuilds the indexes in memory; nothing on disk changes. Activate
// or Rebuilt puts them to use.
func (s *Segment) Scan(o ScanOptions) (r *Scan, err error) {
	f, err := s.fsys.Open(s.name(LogSuffix), vfs.ReadOnly)
	if err != nil {
		return nil, fmt.Errorf("segment %d: %w", s.base, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
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
	in, err := s.openScan(f, size)
	if err != nil {
		return nil, err
	}
	defer in.close()

	r = &Scan{Next: s.base, w: s.newWriter(f, size)}
	r.w.file = nil
	defer vfs.Recover(f.Path(), in.data, &err, vfs.SetFault())
	for {
		if err := s.scan(r, in, o); err != nil {
			return r, err
		}
		if !o.Around || r.Stop == StopEnd || r.Stop == StopZeros || !s.resume(r, in) {
			return r, nil
		}
	}
}

// resume moves a scan behind the damage that stopped it, to the next place
// where a sound batch begins. It reports whether there is one.
func (s *Segment) resume(r *Scan, in *scanInput) bool {
	h := Hole{Pos: r.Valid, Offset: r.Next, Err: r.Err}
	for pos := h.Pos + 1; pos+codec.HeaderSize <= in.size; pos++ {
		b, err := in.bytes(pos, codec.HeaderSize)
		if err != nil {
			return false
		}
		if b[16] != codec.Magic {
			continue
		}
		n := int64(int32(binary.BigEndian.Uint32(b[8:]))) + codec.LogOverhead
		base := int64(binary.BigEndian.Uint64(b))
		if n < codec.HeaderSize || n > in.size-pos || base < r.Next || base-s.base > maxRelative {
			continue
		}
		if b, err = in.bytes(pos, int(n)); err != nil {
			return false
		}
		if codec.Batch(b).Check() == nil {
			h.End = pos
			r.Holes = append(r.Holes, h)
			r.Valid, r.Stop, r.Err = pos, StopEnd, nil
			return true
		}
	}
	h.End = in.size
	r.Holes = append(r.Holes, h)
	return false
}

func (s *Segment) scan(r *Scan, in *scanInput, o ScanOptions) error {
	for {
		b, err := in.next(r)
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
			case base < r.Next || last < base:
				r.Stop, r.Err = StopOrder, fmt.Errorf("batch of offsets %d to %d where %d is next: %w", base, last, r.Next, ErrInvalidOffset)
				return nil
			case last-s.base > maxRelative:
				r.Stop, r.Err = StopOverflow, fmt.Errorf("batch at offset %d: %w", last, ErrOffsetOverflow)
				return nil
			case b.RecordCount() < 0:
				r.Stop, r.Err = StopCorrupt, fmt.Errorf("record count %d", b.RecordCount())
				return nil
			}
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
		if err := r.w.note(s, Entry{last, b.MaxTimestamp()}, r.Valid, int64(len(b))); err != nil {
			r.Stop, r.Err = StopOrder, fmt.Errorf("batch of offsets %d to %d: %w: %w", base, last, ErrInvalidOffset, err)
			return nil
		}
		r.Batches++
		r.Valid += int64(len(b))
		r.Next = last + 1
	}
}

// scanInput is the file being scanned: mapped where it can be, else a window of
// it.
type scanInput struct {
	f    vfs.File
	maps *Maps
	size int64
	m    vfs.Map
	data []byte // the map
	seen int64  // how far the map was populated

	buf []byte // without a map: bytes from at on
	at  int64
}

func (s *Segment) openScan(f vfs.File, size int64) (*scanInput, error) {
	in := &scanInput{f: f, size: size, maps: s.maps}
	if size == 0 || !s.maps.reserve() {
		return in, nil
	}
	m, err := f.Map(size, false)
	if err != nil {
		s.maps.unreserve()
		if errors.Is(err, vfs.ErrNotSupported) || errors.Is(err, vfs.ErrTooManyMaps) {
			return in, nil
		}
		return nil, fmt.Errorf("segment %d: %w", s.base, err)
	}
	in.m, in.data = m, m.Bytes()
	return in, nil
}

func (in *scanInput) close() {
	if in.m != nil {
		_ = in.m.Unmap()
		in.maps.unreserve()
	}
}

// bytes gives n bytes at pos.
func (in *scanInput) bytes(pos int64, n int) ([]byte, error) {
	if in.m != nil {
		if end := pos + int64(n); end > in.seen {
			ahead := min(scanWindow, in.size-in.seen)
			_ = in.m.Populate(int(in.seen), int(ahead), false)
			in.seen += ahead
		}
		return in.data[pos : pos+int64(n)], nil
	}
	if i := pos - in.at; i >= 0 && i+int64(n) <= int64(len(in.buf)) {
		return in.buf[i : i+int64(n)], nil
	}
	want := max(int64(n), min(scanWindow, in.size-pos))
	if int64(cap(in.buf)) < want {
		in.buf = make([]byte, want)
	}
	in.buf, in.at = in.buf[:want], pos
	m, err := in.f.ReadAt(in.buf, pos)
	in.buf = in.buf[:m]
	if m < n {
		return nil, fmt.Errorf("%s: read at %d: %w", in.f.Path(), pos, err)
	}
	return in.buf[:n], nil
}

// next gives the batch at r.Valid with its CRC checked, or sets why there is
// none. The rules are those of Kafka's FileLogInputStream and ensureValid.
func (in *scanInput) next(r *Scan) (codec.Batch, error) {
	pos := r.Valid
	left := in.size - pos
	if left == 0 {
		return nil, nil
	}
	if left <= 17 {
		r.Stop, r.Err = StopShort, fmt.Errorf("%d bytes left are no batch", left)
		return nil, in.zeros(r)
	}
	head := min(left, codec.HeaderSize)
	h, err := in.bytes(pos, int(head))
	if err != nil {
		return nil, err
	}
	length := int64(int32(binary.BigEndian.Uint32(h[8:])))
	n := length + codec.LogOverhead
	switch {
	case length < 14:
		r.Stop, r.Err = StopCorrupt, fmt.Errorf("batch length %d", length)
		return nil, in.zeros(r)
	case n > left:
		r.Stop, r.Err = StopShort, fmt.Errorf("batch of %d bytes where %d are left", n, left)
		return nil, nil
	}
	magic := int8(h[16])
	if magic < codec.Magic {
		r.Stop, r.Err = StopCorrupt, error(&codec.MagicError{Magic: magic})
		b, err := in.bytes(pos, int(n))
		if err == nil && magic >= 0 && legacyCRC(b) {
			r.Stop = StopFormat
		}
		return nil, err
	}
	if n < codec.HeaderSize {
		r.Stop, r.Err = StopCorrupt, fmt.Errorf("batch length %d", length)
		return nil, nil
	}
	b, err := in.bytes(pos, int(n))
	if err != nil {
		return nil, err
	}
	if batch := codec.Batch(b); batch.CRCValid() {
		return batch, nil
	}
	r.Stop, r.Err = StopCorrupt, fmt.Errorf("CRC does not match a batch of %d bytes", n)
	return nil, nil
}

// legacyCRC recognises a message of format 0 or 1, whose CRC-32 covers all
// behind itself.
func legacyCRC(b []byte) bool {
	return crc32.ChecksumIEEE(b[16:]) == binary.BigEndian.Uint32(b[12:])
}

// zeros turns a stop into StopZeros when nothing but zero bytes are left.
func (in *scanInput) zeros(r *Scan) error {
	for pos := r.Valid; pos < in.size; {
		n := int(min(64<<10, in.size-pos))
		b, err := in.bytes(pos, n)
		if err != nil {
			return err
		}
		if !allZero(b) {
			return nil
		}
		pos += int64(n)
	}
	r.Stop, r.Err = StopZeros, nil
	return nil
}

// allZero looks at eight bytes at a time.
func allZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
