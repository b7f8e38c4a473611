package log

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/segment"
)

// Log is one partition. All methods may be called from many goroutines.
type Log struct {
	env    *Env
	obs    *observed
	dir    string
	config atomic.Pointer[Config] // never changed, replaced whole; see cfg
	scfg   segment.Config         // of segments made from now on; guarded by writing

	// segments is swapped whole, under writing.
	segments atomic.Pointer[list]

	// The offsets that readers and callers ask for. end is stored by the holder
	// of writing after everything below it is in place.
	start    atomic.Int64
	end      atomic.Int64
	durable  atomic.Int64
	unstable atomic.Int64 // first offset of an unfinished transaction, or noOffset
	external atomic.Int64 // the high watermark that a wrapper has set, with ExternalWatermark
	// deciding says that a transaction has ended whose marker is not below the
	// high watermark: when that moves, unstable may. Stored under stateMu.
	deciding atomic.Bool

	// generation changes when published records may have been taken back; truncated
	// says how far. See generation.go.
	generation atomic.Int64
	truncated  takenBack

	// refuse is why appends are refused: closed, failed, damaged. closed is why
	// reads are.
	refuse atomic.Pointer[refusal]
	closed atomic.Bool

	writing sync.Mutex
	// pending are the appends that came while another was at work, newest first.
	pending atomic.Pointer[request]
	seen    atomic.Int64 // the clock in milliseconds, as last read
	// w is guarded by writing.
	w struct {
		active   *segment.Segment
		scratch  *scratch
		armed    bool  // the flush timer runs
		dirty    int64 // bytes appended since it was armed
		flushing bool  // a goroutine syncs because of dirty
		epoch    int32
		clock    clock
		stamped  int64     // what it said to the last append, 0 if not asked
		rolled   time.Time // when the active segment was made, for batches without time

		turn      uint32   // counts uncontended appends, of which some are measured
		last      int      // bytes of the last batch
		uncounted Counts   // appended, and not in the counters yet
		reports   []report // to be made when the lock is free
	}
	flush *time.Timer // of Written data, made when first needed

	sync  syncer
	syncs atomic.Int64
	tail  tail
	ahead ahead

	appends, reads counters

	// state is guarded by stateMu.
	stateMu   sync.Mutex
	epochs    Epochs
	producers *Producers
	snapshot  int64 // the offset of the newest snapshot file
	expireAt  int64 // when producers are to be looked through next, in milliseconds

	work  sync.WaitGroup // background work that Close waits for
	seals sealer
	sums  sums
	marks *Marks

	damage *segment.CorruptError
	point  int64       // with damage, the mark that tells it from a torn tail
	healed atomic.Bool // of damage, by a reset: damage and point do not count
	clean  bool        // closed in order
	// opened are the segments as they were opened after a clean close, nil once
	// something was appended; see untouched. Guarded by writing.
	opened *list
	turn   *turn                  // among those that are awake, nil at rest; guarded by Env.awake
	report atomic.Pointer[Report] // of a recovery, until it is told
	// denseFrom is the offset from which on none may be missing; noOffset when
	// it cannot be told.
	denseFrom atomic.Int64
	gapsFrom  atomic.Int64 // from where on some may be missing again: see allowGaps
	txns      txns
	folder    folder
	retain    retaining
	cleaning  cleaning
	follow    *follower // of a log that another process writes, else nil
}

// scratch is what a writer needs for the moment of an append.
type scratch struct {
	groups  []*request
	records [][]Record
	header  codec.Header // of the batch being appended
}

// scratch is made by the first append after a rest. writing is held.
func (l *Log) scratch() *scratch {
	if l.w.scratch == nil {
		l.w.scratch = &scratch{header: newHeader()}
	}
	return l.w.scratch
}

const noOffset = math.MaxInt64

type refusal struct{ err error }

// cfg is the configuration as it is now. Who needs several values that belong
// together loads it once.
func (l *Log) cfg() *Config { return l.config.Load() }

// refusing is why appends are refused; nil when they are not.
func (l *Log) refusing() error {
	if r := l.refuse.Load(); r != nil {
		return r.err
	}
	return nil
}

// fail makes the log refuse everything but reads of what is there, once. It
// returns what appends get from now on.
func (l *Log) fail(cause error) error {
	r := &refusal{fmt.Errorf("%w: %s: %w", ErrFailed, l.name(), spaceError(cause))}
	if l.refuse.CompareAndSwap(nil, r) {
		l.env.logger.Error("partition failed", "partition", l.name(), "err", cause)
		l.background(r.err)
		l.sync.wake(r.err)
		l.tail.wakeAll()
	}
	return l.refusing()
}

// Failed is the error that made the log refuse appends, nil if none did.
func (l *Log) Failed() error { return l.refusing() }

// Trouble is Failed, but of a log that is followed, which refuses appends anyway,
// it is what keeps it from following.
func (l *Log) Trouble() error {
	if l.follow != nil {
		return l.follow.trouble()
	}
	return l.refusing()
}

// Damage is the damage that made the log refuse appends, nil if there is none.
func (l *Log) Damage() *segment.CorruptError {
	if l.healed.Load() {
		return nil
	}
	return l.damage
}

func (l *Log) name() string { return fmt.Sprintf("%s-%d", l.cfg().Topic, l.cfg().Partition) }

// Dir is the log's folder within the store.
func (l *Log) Dir() string { return l.dir }

// LogStartOffset is the offset below which nothing can be read.
func (l *Log) LogStartOffset() int64 { return l.start.Load() }

// LogEndOffset is the offset that the next record gets.
func (l *Log) LogEndOffset() int64 { return l.end.Load() }

// DurableEnd is the offset below which all is known to be on stable storage.
func (l *Log) DurableEnd() int64 { return l.durable.Load() }

// RecoveryPoint is where an unclean open begins to scan: all below it is known to
// be durable. That of a damaged log stays where it was, or the damage would be a
// torn tail to the next open.
func (l *Log) RecoveryPoint() int64 {
	if l.Damage() != nil {
		return l.point
	}
	return l.durable.Load()
}

// dense tells whether no offset may be missing where this one is.
func (l *Log) dense(offset int64) bool {
	return offset >= l.denseFrom.Load() && offset < l.gapsFrom.Load()
}

// LastStableOffset is the offset below which every transaction is decided.
func (l *Log) LastStableOffset() int64 { return min(l.HighWatermark(), l.unstable.Load()) }

// Visible is the end of what a reader of the given isolation may see.
func (l *Log) Visible(committed bool) int64 {
	l.Poll()
	if committed {
		return l.LastStableOffset()
	}
	return l.HighWatermark()
}

// EndOffsetForEpoch is Kafka's answer to OffsetsForLeaderEpoch (KAFKA_RULES
// 4.10): the largest known epoch not above e, and where it ended; -1, -1 when
// it cannot be told.
func (l *Log) EndOffsetForEpoch(e int32) (epoch int32, end int64) {
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	return l.epochs.EndOffset(e, l.end.Load())
}

// LatestEpoch is the leader epoch that appends are stamped with.
func (l *Log) LatestEpoch() int32 {
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	e, ok := l.epochs.Latest()
	if !ok {
		return -1
	}
	return e.Epoch
}

// SegmentInfo describes one segment.
type SegmentInfo struct {
	BaseOffset int64
	Size       int64 // bytes of batches
}

// Segments lists the segments, oldest first.
func (l *Log) Segments() []SegmentInfo {
	segs := l.segments.Load().segs
	out := make([]SegmentInfo, len(segs))
	for i, s := range segs {
		out[i] = SegmentInfo{s.Base(), s.Size()}
	}
	return out
}

// Size is the number of bytes of all batches.
func (l *Log) Size() int64 {
	var n int64
	for _, s := range l.segments.Load().segs {
		n += s.Size()
	}
	return n
}
