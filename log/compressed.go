package log

import (
	"errors"
	"fmt"
	"math"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// appendCompressed makes the whole batch before it asks for the lock: neither
// the CRC nor the compressed records depend on the offset and the leader epoch,
// which are patched in. Other appends go on meanwhile.
func (l *Log) appendCompressed(records []Record, f facts, d Durability) (int64, error) {
	if err := l.refusing(); err != nil {
		return 0, err
	}
	kind := l.cfg().Compression // once: it may be changed meanwhile
	h := newHeader()
	now := l.stamp(&h, &f, new(clock))
	h.LastOffsetDelta, h.RecordCount = int32(len(records)-1), int32(len(records))
	plain, packed := l.env.buffer(), l.env.buffer()
	defer l.env.release(plain)
	defer l.env.release(packed)
	if cap(*plain) < f.bound {
		*plain = make([]byte, f.bound)
	}
	b := (*plain)[:f.bound]
	groups := [1][]Record{records}
	n := encodeBatch(b, &h, groups[:], f, now)

	*packed = append((*packed)[:0], b[:codec.HeaderSize]...)
	out, err := l.env.coders.Append(*packed, b[codec.HeaderSize:n], kind)
	if errors.Is(err, compress.ErrClosed) {
		return 0, ErrClosed // with its store, since the look above
	}
	if err != nil {
		return 0, fmt.Errorf("compress: %w", err)
	}
	*packed = out
	if len(out) > int(l.cfg().MaxBatchBytes) {
		return 0, l.tooLarge(int64(len(out)))
	}
	h.Attributes |= uint16(kind)
	h.Put(out)
	codec.Seal(out)

	l.writing.Lock()
	defer l.unlock()
	return l.appendEncoded(out, len(records), h.MaxTimestamp, d)
}

// appendEncoded appends one whole batch, with its base offset and leader epoch
// still to be set. writing is held.
func (l *Log) appendEncoded(b []byte, count int, latest int64, d Durability) (int64, error) {
	if err := l.refusing(); err != nil {
		return 0, err
	}
	base := l.end.Load()
	if base > math.MaxInt64-int64(count) {
		return 0, ErrOffsetOverflow
	}
	codec.SetBaseOffset(b, base)
	codec.SetLeaderEpoch(b, l.w.epoch)
	seg, _, err := l.room(base, base+int64(count)-1, len(b), latest, nil)
	if err != nil {
		return 0, err
	}
	if err = l.copyIn(seg, b); err == nil {
		err = seg.Commit(len(b), segment.Entry{LastOffset: base + int64(count) - 1, MaxTimestamp: latest})
	}
	if err != nil {
		return 0, l.appendError(err)
	}
	l.publish(seg, base+int64(count), len(b), d)
	return base, nil
}

func (l *Log) copyIn(seg *segment.Segment, b []byte) (err error) {
	to, err := seg.Reserve(len(b))
	if err != nil {
		return err
	}
	defer vfs.Recover(seg.WriterPath(), to, &err, vfs.SetFault())
	copy(to, b)
	return nil
}
