package log

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/segment"
)

// unreadable gathers the batches whose CRC is good and whose records are none. A
// scan has them looked at on several goroutines.
type unreadable struct {
	mu struct {
		sync.Mutex
		list []unreadableBatch
		more int // that were not kept
	}
}

type unreadableBatch struct {
	pos, end   int64
	base, next int64
	err        error
}

// keptUnreadable bounds what a file made of such batches costs.
const keptUnreadable = 1000

// inspect is segment.ScanOptions.Inspect.
func (u *unreadable) inspect(env *Env) func() segment.Inspect {
	return func() segment.Inspect {
		var (
			dec codec.Decoder
			buf []byte
		)
		return func(pos int64, b codec.Batch) {
			payload, err := codec.Unpack(b, buf, env.coders, MaxUnpacked)
			if b.Compression() != compress.None && cap(payload) > cap(buf) {
				buf = payload
			}
			if err == nil {
				_, err = dec.Inspect(b, payload)
			}
			if err != nil {
				u.add(unreadableBatch{pos, pos + int64(len(b)), b.BaseOffset(), b.NextOffset(), err})
			}
		}
	}
}

func (u *unreadable) add(b unreadableBatch) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.mu.list) < keptUnreadable {
		u.mu.list = append(u.mu.list, b)
	} else {
		u.mu.more++
	}
}

func (u *unreadable) reset() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.mu.list, u.mu.more = u.mu.list[:0], 0
}

// tell tells of what was gathered, once the scan is over.
func (u *unreadable) tell(j *judge) {
	u.mu.Lock()
	defer u.mu.Unlock()
	slices.SortFunc(u.mu.list, func(a, b unreadableBatch) int { return compare(a.pos, b.pos) })
	for i, b := range u.mu.list {
		if b.base >= j.torn {
			break // it will be cut off
		}
		f := Finding{Severity: Damage, Kind: FindingRecords, Path: j.seg.Path(), Position: b.pos, End: b.end, Offset: b.base, Next: b.next,
			What: fmt.Sprintf("the records of this batch cannot be read, though its CRC is good: %v", b.err)}
		if errors.Is(b.err, codec.ErrUnsupported) {
			f.Kind = FindingFormat
		}
		if u.mu.more > 0 && i+1 == len(u.mu.list) {
			f.What += fmt.Sprintf(" (and %d more like it)", u.mu.more)
		}
		j.found(f)
	}
}
