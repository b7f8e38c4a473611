package log

import (
	"github.com/leatlog/leat/compress"
)

// Placed says where a batch is that Place has stored.
type Placed struct {
	BaseOffset int64
	// Time is what records without a timestamp have got, in milliseconds; with
	// LogAppendTime, what all have.
	Time int64
	// Timed says that Time holds for all of them.
	Timed bool
	// Durable and Generation are what WaitDurable wants for the durability asked
	// for: Durable is 0 for Written.
	Durable, Generation int64
}

// Place stores records as one batch of their own, as Append does, but returns
// when they are in place: WaitDurable tells when they are durable, and the caller
// must wait for it. kind is how they are compressed where the topic says nothing
// of it. Nothing that records point to is kept.
//
// ErrFailed of a log that had not failed before leaves open whether they are
// stored; after any other error they are not.
func (l *Log) Place(records []Record, kind compress.Codec, d Durability) (Placed, error) {
	c := l.cfg()
	if d == 0 {
		d = c.Durability
	}
	if c.Compression != compress.None {
		kind = c.Compression
	}
	f, err := l.inspect(records, kind)
	if err != nil {
		return Placed{}, err
	}
	var w watch
	switch {
	case l.obs.Append != nil:
		w = l.obs.watch()
	case rarely():
		w = l.obs.sampled()
	}
	var (
		base int64
		s    stored
	)
	if kind != compress.None {
		base, s, err = l.appendCompressed(records, f, kind, 0, d)
	} else {
		base, s, err = l.placeLocked(records, f, d)
	}
	l.appended(w, s, err)
	if err != nil {
		return Placed{}, err
	}
	p := Placed{BaseOffset: base, Time: s.time, Timed: c.LogAppendTime && s.time != 0, Generation: s.generation}
	if d == Synced {
		p.Durable = base + int64(len(records))
	}
	return p, nil
}

func (l *Log) placeLocked(records []Record, f facts, d Durability) (base int64, s stored, err error) {
	l.writing.Lock()
	defer l.unlock()
	groups := [1][]Record{records}
	base, err = l.appendLocked(groups[:], len(records), f, d)
	s = l.takeStored(base, len(records), err)
	s.time, s.generation = l.w.stamped, l.generation.Load()
	return base, s, err
}
