package log

import (
	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
)

// appendCompressed makes the whole batch before it asks for the lock: neither
// the CRC nor the compressed records depend on the offset and the leader epoch,
// which are patched in. Other appends go on meanwhile.
func (l *Log) appendCompressed(records []Record, f facts, kind compress.Codec, epoch int32, d Durability) (base int64, s stored, err error) {
	if err := l.refusing(); err != nil {
		return 0, s, err
	}
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
	if err != nil {
		return 0, s, codersError(err)
	}
	*packed = out
	if len(out) > int(l.cfg().MaxBatchBytes) {
		return 0, s, l.tooLarge(int64(len(out)))
	}
	h.Attributes |= uint16(kind)
	h.Put(out)
	codec.Seal(out)

	c := l.env.rawCall()
	defer l.env.releaseRaw(c)
	c.cfg, c.from, c.epoch = l.cfg(), fromClient, epoch
	c.add(out)
	c.total()
	l.writing.Lock()
	defer l.unlock()
	r, err := l.place(c, d)
	s = l.takeStored(r.BaseOffset, len(records), err)
	s.time, s.generation = now, r.Generation
	return r.BaseOffset, s, err
}
