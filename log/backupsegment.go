package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// checked is what reading a segment of a copy told.
type checked struct {
	sums segment.Sums
	next int64
	// sealed: its indexes are in the copy, and need not be made by recovering it.
	sealed bool
}

// take puts the log files of sealed segments into the copy, the newest first:
// what retention takes away from under this is older than all that was taken.
func (b *backup) take(ctx context.Context, bases []int64) error {
	for _, base := range slices.Backward(bases) {
		if err := ctx.Err(); err != nil {
			return err
		}
		id, size, err := b.identity(base)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it is seen by still whether it may be gone
		}
		if err != nil {
			return err
		}
		if t, ok := b.have[base]; ok {
			if t.id == id && t.size == size {
				continue
			}
			if err := b.drop(base); err != nil {
				return err
			}
		}
		t := taken{id: id, size: size}
		if t.linked, err = b.takeFile(ctx, base, segment.LogSuffix, size, b.o.Links); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		b.have[base] = t
	}
	return nil
}

// takeFile links a file, or copies it.
func (b *backup) takeFile(ctx context.Context, base int64, suffix string, size int64, link bool) (linked bool, err error) {
	from, as := b.source(base, suffix), b.target(base, suffix)
	if err := b.to.Remove(as); err != nil && !isMissing(err) { // of an earlier try
		return false, err
	}
	if link {
		err := vfs.Link(b.from, from, b.to, as)
		if !errors.Is(err, vfs.ErrNotSupported) {
			return err == nil, err
		}
	}
	f, err := CopyFile(ctx, b.from, from, b.to, as, size)
	if errors.Is(err, io.ErrUnexpectedEOF) { // cut to its size, or another file by now
		err = fmt.Errorf("%w: %w", errMeanwhile, err)
	}
	if err != nil {
		return false, err
	}
	return false, f.Close()
}

// copyTail copies what the last segment has up to the end, and tells its size.
// The recovery of the copy checks it.
func (b *backup) copyTail(ctx context.Context, base int64) (int64, error) {
	l := b.l
	size := int64(0)
	if base < b.end {
		seg := segment.Open(b.from, l.env.maps, l.dir, base, 0, l.scfg)
		r, err := seg.Scan(segment.ScanOptions{End: b.end, Each: func(_ *segment.Scan, _ int64, x codec.Batch) error { return b.fits(x) }})
		if err != nil {
			return 0, err
		}
		if r.Next != b.end {
			return 0, b.doubtful(base, r.Valid, r.Next, errors.Join(r.Err,
				fmt.Errorf("the segment ends at offset %d, and the log is durable up to offset %d", r.Next, b.end)))
		}
		size = r.Valid
	}
	_, err := b.takeFile(ctx, base, segment.LogSuffix, size, false)
	return size, err
}

// check reads the sealed segments of the copy, and gives them their indexes.
func (b *backup) check(ctx context.Context, sealed []int64, tail int64) (Backup, error) {
	r := Backup{Segments: len(sealed) + 1, Start: b.start, End: b.end, RecoveryPoint: tail}
	for i, base := range sealed {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		next := tail
		if i+1 < len(sealed) {
			next = sealed[i+1]
		}
		t := b.have[base]
		if !t.checked {
			var err error
			if t, err = b.checkSegment(ctx, base, t); err != nil {
				return r, err
			}
			t.checked = true
			b.have[base] = t
			b.progress(t.size)
		}
		if t.sound.next > next || t.sound.next < next && b.dense(t.sound.next) {
			return r, b.doubtful(base, t.size, t.sound.next, fmt.Errorf("the segment ends at offset %d, and the next begins at offset %d", t.sound.next, next))
		}
		if !t.sound.sealed {
			r.RecoveryPoint = min(r.RecoveryPoint, base)
		}
		if t.linked {
			r.Linked += t.size
		} else {
			r.Copied += t.size
		}
	}
	return r, nil
}

// checkSegment reads a log file that was taken: every batch, and the checksum of
// the whole, since a batch's own leaves its offset out.
func (b *backup) checkSegment(ctx context.Context, base int64, t taken) (taken, error) {
	l := b.l
	scan := func() (*segment.Scan, error) {
		seg := segment.Open(b.to, l.env.maps, b.dir, base, t.size, l.scfg)
		return seg.Scan(segment.ScanOptions{Each: func(r *segment.Scan, pos int64, x codec.Batch) error {
			if first := x.BaseOffset(); first > r.Next && b.dense(r.Next) {
				return &segment.Reject{Err: fmt.Errorf("batch begins at offset %d where %d is next: %w", first, r.Next, segment.ErrInvalidOffset)}
			}
			return b.fits(x)
		}})
	}
	r, err := scan()
	if err == nil && r.Stop == segment.StopZeros {
		// It was rolled, and is not cut to its size yet.
		if t.linked, err = b.takeFile(ctx, base, segment.LogSuffix, r.Valid, false); err == nil {
			r, err = scan()
		}
	}
	if err != nil {
		return t, err
	}
	name := segment.FileName(base, segment.LogSuffix)
	line, known := b.sums.Files[name]
	switch {
	case r.Stop == segment.StopEnd:
	case !known, errors.Is(r.Err, errEpoch): // it is being sealed, or a truncation has begun
		return t, b.doubtful(base, r.Valid, r.Next, r.Err)
	default:
		return t, b.corrupt(base, r.Valid, r.Next, r.Err)
	}
	t.sound.next = r.Next
	sum, err := sumOf(b.to, b.dir, name)
	if err != nil {
		return t, err
	}
	switch {
	case known && line == sum:
	case known && line.Size == sum.Size:
		return t, b.doubtful(base, 0, base, fmt.Errorf("checksum %08x, and %08x when it was sealed", sum.CRC, line.CRC))
	case b.o.Adopted && base < b.sums.Dense: // by those who do without
	default:
		t.sound.sealed = false // not yet
		return t, nil
	}
	t.sound.sums = segment.Sums{sum}
	return t, b.takeIndexes(ctx, base, &t, r)
}

// takeIndexes puts the index files into the copy, as they are if that is known to
// be right, or else made of the batches.
func (b *backup) takeIndexes(ctx context.Context, base int64, t *taken, r *segment.Scan) error {
	if err := r.Finish(); err != nil {
		return err
	}
	offsets, times, _ := r.Indexes()
	t.sound.sealed = true
	for _, x := range []struct {
		suffix string
		made   []byte
	}{{segment.IndexSuffix, offsets.Bytes()}, {segment.TimeSuffix, times.Bytes()}, {segment.TxnSuffix, nil}} {
		name := segment.FileName(base, x.suffix)
		line, known := b.sums.Files[name]
		sum, err := sumOf(b.from, b.l.dir, name)
		if err != nil {
			return err
		}
		switch {
		case known && sum == line && sum.Size == 0 && x.suffix == segment.TxnSuffix: // there is none
		case known && sum == line:
			if _, err := b.takeFile(ctx, base, x.suffix, sum.Size, b.o.Links); err != nil {
				return err
			}
			if sum, err = sumOf(b.to, b.dir, name); err != nil {
				return err
			}
			if sum != line {
				return errMeanwhile
			}
		case x.suffix != segment.TxnSuffix:
			if err := replaceFile(b.to, b.target(base, x.suffix), x.made); err != nil {
				return spaceError(err)
			}
			if sum, err = sumOf(b.to, b.dir, name); err != nil {
				return err
			}
		case known || !b.o.Adopted:
			t.sound.sealed = false // only replaying the batches makes it
			return nil
		case sum.Size > 0:
			if err := b.copyAborted(ctx, base, t, sum.Size); err != nil || !t.sound.sealed {
				return err
			}
		}
		t.sound.sums = append(t.sound.sums, sum)
	}
	return nil
}

func (b *backup) corrupt(base, pos, offset int64, err error) *segment.CorruptError {
	return &segment.CorruptError{Path: b.from.Path(b.source(base, segment.LogSuffix)), Position: pos, Offset: offset, Err: err}
}

// doubtful is damage if it is still there when everything is looked at again: a
// cleaning may have put another segment in place.
func (b *backup) doubtful(base, pos, offset int64, err error) error {
	return fmt.Errorf("%w: %w", errMeanwhile, b.corrupt(base, pos, offset, err))
}

// copyAborted copies a transaction index that has no checksum, if it can be right.
func (b *backup) copyAborted(ctx context.Context, base int64, t *taken, size int64) error {
	if _, err := b.takeFile(ctx, base, segment.TxnSuffix, size, false); err != nil {
		return err
	}
	text, err := readAll(b.to, b.target(base, segment.TxnSuffix), maxSidecar)
	if err != nil {
		return err
	}
	if index.OpenTxns(text).Check(base, t.sound.next) != nil {
		t.sound.sealed = false
		return b.to.Remove(b.target(base, segment.TxnSuffix))
	}
	return nil
}
