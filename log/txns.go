package log

import (
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"sync"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// txns are the transaction indexes of sealed segments that were found right. A
// wrong one would show aborted records to those who asked not to see them, and
// nothing in the file would tell: an entry that is missing looks like one that
// never was. So no file is believed on its word.
//
// What Leat sealed has its checksum in segments.sum. Of another segment the
// index is made anew from the log, once, when it is first asked for, and the
// file must not say less.
type txns struct {
	sync.Mutex
	proved map[int64]index.Txns // by base offset
}

// AbortedTxns appends the aborted transactions that offsets from from up to and
// without upto may belong to (KAFKA_RULES 4.9). There may be more than needed.
func (l *Log) AbortedTxns(from, upto int64, dst []index.AbortedTxn) ([]index.AbortedTxn, error) {
	for kept := len(dst); ; dst = dst[:kept] {
		if l.closed.Load() {
			return dst, ErrClosed
		}
		run := l.followRun()
		list := l.segments.Load()
		out, err := l.collectTxns(list, from, upto, dst)
		if l.follow != nil && !l.follow.intact(run) {
			return dst, ErrRestarted
		}
		if err == nil {
			return out, nil
		}
		if l.follow != nil && isMissing(err) { // retention, or a cleaning has replaced it
			l.follow.again(run, err, 0)
			return dst, ErrRestarted
		}
		if (errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrClosed)) && l.segments.Load() != list {
			continue // retention was quicker
		}
		if again, err := l.vanished(list, err); !again {
			return dst, err
		}
	}
}

func (l *Log) collectTxns(list *list, from, upto int64, dst []index.AbortedTxn) ([]index.AbortedTxn, error) {
	first := max(list.find(from), 0)
	run := span{first, first}
	known := list.quiet.Load()
	for i := first; i < len(list.segs); i++ {
		if known != nil && known.from <= i && i < known.to {
			if i == run.to {
				run.to = known.to
			}
			i = known.to - 1
			continue
		}
		// Asked before the look: it may be sealed meanwhile. The last one may grow
		// for other reasons than a writer of ours.
		sealed := i+1 < len(list.segs) && !list.segs[i].Active()
		t, done, err := l.txnsOf(list, i, upto)
		if err == nil && l.follow == nil && l.segments.Load() != list && !l.lists(list.segs[i]) {
			err = ErrClosed // what was read under its name may be a cleaned one's
		}
		if err != nil {
			return dst, err
		}
		if !done {
			if sealed && t.Len() == 0 && i == run.to {
				run.to++
			}
			dst, done = t.Collect(from, upto, dst)
		}
		if done {
			break
		}
	}
	list.learn(run)
	return dst, nil
}

// learn notes a run of segments without aborted transactions, if it is more than
// was known, or joins that.
func (l *list) learn(run span) {
	was := l.quiet.Load()
	switch {
	case was == nil:
	case run.from <= was.to && was.from <= run.to:
		run = span{min(run.from, was.from), max(run.to, was.to)}
		if run == *was {
			return
		}
	case run.to-run.from <= was.to-was.from:
		return
	}
	if run.from < run.to {
		l.quiet.Store(&span{run.from, run.to})
	}
}

// txnsOf is the transaction index of a segment. none says that neither this
// segment nor a later one can have an entry of a transaction that began below
// upto.
func (l *Log) txnsOf(list *list, i int, upto int64) (x index.Txns, none bool, err error) {
	s := list.segs[i]
	// One that is followed and not the last was followed to its end (step has kept
	// what it found), or was only gone through when the follower began.
	if s.Active() || s.Followed() && i+1 == len(list.segs) {
		x, err := s.Txns()
		return x, false, err
	}
	l.txns.Lock()
	defer l.txns.Unlock()
	if x, ok := l.txns.proved[s.Base()]; ok {
		return x, false, nil
	}
	sealed, _ := l.sums.of(s.Base(), segment.LogSuffix)
	want, ok := l.sums.of(s.Base(), segment.TxnSuffix)
	ok = ok && sealed.Name != "" && sealed.Size == s.Size()
	if ok && want.Size == 0 {
		l.keepTxns(list, s.Base(), x)
		return x, false, nil
	}
	if !ok && s.Base() >= upto && !l.openBelow(s.Base(), upto) {
		return x, true, nil
	}
	x, sound, err := l.readTxns(s.Base())
	if err != nil {
		return x, false, err
	}
	b := x.Bytes()
	if !ok || !sound || int64(len(b)) != want.Size || crc32.Checksum(b, castagnoli) != want.CRC {
		r, err := l.replayTxns(list.segs, i)
		if err != nil {
			return x, false, err
		}
		if ok || !sound || !r.accept(x) {
			x = r.x
			l.mendTxns(s.Base(), x)
		}
	}
	l.keepTxns(list, s.Base(), x)
	return x, false, nil
}

// readTxns reads the transaction index of a segment. One that is missing is
// empty, and so is one that cannot be an index of the segment, which is not
// sound.
func (l *Log) readTxns(base int64) (x index.Txns, sound bool, err error) {
	b, err := readAll(l.env.fsys, l.txnName(base), maxTxnFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return x, true, nil
	case errors.Is(err, errTooLarge):
		return x, false, nil
	case err != nil:
		return x, false, err
	}
	x = index.OpenTxns(b)
	if x.Check(base, noOffset) != nil {
		return index.Txns{}, false, nil
	}
	return x, true, nil
}

func (l *Log) txnName(base int64) string {
	return segment.Join(l.dir, segment.FileName(base, segment.TxnSuffix))
}

// maxTxnFile is a bound for what is read: 100,000 aborted transactions.
const maxTxnFile = 100_000 * index.TxnEntrySize

// forgetTxns is for when segments have been replaced.
func (l *Log) forgetTxns() {
	l.txns.Lock()
	clear(l.txns.proved)
	l.txns.Unlock()
}

// forgetTxnsOf forgets segments that were replaced. What another goroutine found in
// them meanwhile is kept no more: see keepTxns.
func (l *Log) forgetTxnsOf(segs []*segment.Segment) {
	l.txns.Lock()
	defer l.txns.Unlock()
	for _, s := range segs {
		delete(l.txns.proved, s.Base())
	}
}

// keepTxns remembers what was proved, and forgets segments that are gone.
func (l *Log) keepTxns(list *list, base int64, x index.Txns) {
	if now := l.segments.Load(); now != nil && now != list {
		return // a truncation may have given the segment other batches since
	}
	if len(l.txns.proved) > 2*len(list.segs) {
		clear(l.txns.proved)
	}
	if l.txns.proved == nil {
		l.txns.proved = make(map[int64]index.Txns)
	}
	l.txns.proved[base] = x
}

// forgetTxnsBelow forgets the segments below start. When it returns nobody writes a
// file for one of them any more.
func (l *Log) forgetTxnsBelow(start int64) {
	l.txns.Lock()
	defer l.txns.Unlock()
	for base := range l.txns.proved {
		if base < start {
			delete(l.txns.proved, base)
		}
	}
}

// mendTxns writes a transaction index that was wrong. What is in memory serves
// as well, so failing is no error; and nothing is written to a damaged log.
func (l *Log) mendTxns(base int64, x index.Txns) {
	name := l.txnName(base)
	l.env.logger.Warn("transaction index rebuilt from the log", "path", l.env.fsys.Path(name))
	if l.Damage() != nil || l.follow != nil || base < l.segments.Load().bases[0] {
		return // or the segment was deleted meanwhile, and the file would stay
	}
	var err error
	if x.Len() == 0 {
		if err = l.env.fsys.Remove(name); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		err = WriteFile(l.env.fsys, name, x.Bytes())
	}
	if err != nil {
		l.env.logger.Warn("transaction index not written", "path", l.env.fsys.Path(name), "err", err)
	}
}

// txnsKept tells whether the transaction index of the last segment is what the
// close before this open left, or else one that fits the log.
func (l *Log) txnsKept(segs []*segment.Segment) (bool, error) {
	last := segs[len(segs)-1]
	if want, ok := l.sums.of(last.Base(), segment.TxnSuffix); ok {
		sum, err := l.sumFile(segment.FileName(last.Base(), segment.TxnSuffix))
		return sum == want, err
	}
	x, sound, err := l.readTxns(last.Base())
	if !sound || err != nil {
		return false, err
	}
	r, err := l.replayTxns(segs, len(segs)-1)
	return err == nil && r.accept(x), err
}

// noteTxns notes the checksum of the last segment's transaction index for the
// next open, which finds it in a file.
func (l *Log) noteTxns(s *segment.Segment) {
	sum, err := l.sumFile(segment.FileName(s.Base(), segment.TxnSuffix))
	if err != nil {
		l.env.logger.Warn("checksum not written", "partition", l.name(), "err", err)
		return
	}
	if was, ok := l.sums.of(s.Base(), segment.TxnSuffix); !ok || was != sum {
		l.sums.add(l, sum)
	}
}

// openBelow tells whether a transaction that began below upto was open where a
// segment begins. If it cannot be told it may have been.
func (l *Log) openBelow(base, upto int64) bool {
	list, err := l.readSnapshot(base)
	if err != nil {
		return true
	}
	for _, p := range list {
		if p.CurrentTxnFirstOffset >= 0 && p.CurrentTxnFirstOffset < upto {
			return true
		}
	}
	return false
}

// txnReplay is the transaction index of a segment as its batches give it.
type txnReplay struct {
	base int64
	x    index.Txns
	// exact: a snapshot told what was open at base. Else it was found out from
	// the log before, as far as that is still there.
	exact   bool
	markers map[int64][]marker // by producer
}

type marker struct {
	offset int64
	abort  bool
}

// replayTxns makes the transaction index of a segment anew.
func (l *Log) replayTxns(segs []*segment.Segment, i int) (*txnReplay, error) {
	s := segs[i]
	r := &txnReplay{base: s.Base(), markers: make(map[int64][]marker)}
	any, err := l.hasControl(s)
	if err != nil || !any {
		return r, err
	}
	p := NewProducers()
	list, err := l.readSnapshot(s.Base())
	if r.exact = err == nil; r.exact {
		p.Load(list, 0, noOffset)
	} else if err := l.replay(p, segs[:i], s.Base()); err != nil {
		return nil, err
	}
	var out []byte
	_, err = s.Scan(segment.ScanOptions{Around: true, Each: func(_ *segment.Scan, _ int64, b codec.Batch) error {
		if b.ProducerID() < 0 {
			return nil
		}
		if c, ok, err := codec.DecodeControl(b); b.IsControl() && err == nil && ok {
			r.markers[b.ProducerID()] = append(r.markers[b.ProducerID()], marker{b.BaseOffset(), c.Type == codec.ControlAbort})
		}
		p.OnHighWatermark(b.BaseOffset())
		return l.noteProducer(p, b, func(t abortedTxn) error {
			out = t.Append(out)
			return nil
		})
	}})
	r.x = index.OpenTxns(out)
	return r, err
}

// replay brings the producer state to an offset where a segment begins, from the
// newest snapshot that can be read or from the log's beginning.
func (l *Log) replay(p *Producers, segs []*segment.Segment, to int64) error {
	from := len(segs)
	for from > 0 {
		from--
		if list, err := l.readSnapshot(segs[from].Base()); err == nil {
			p.Load(list, 0, noOffset)
			break
		}
	}
	for _, s := range segs[from:] {
		if err := l.replaySegment(p, s, s.Base(), to); err != nil {
			return err
		}
	}
	return nil
}

// hasControl looks for a control batch: at the headers only.
func (l *Log) hasControl(s *segment.Segment) (found bool, err error) {
	if err := s.Pin(); err != nil {
		return false, err
	}
	defer s.Unpin()
	defer vfs.Recover(s.Path(), s.Data(), &err, vfs.SetFault())
	var buf segment.Buffer
	for pos := int64(0); ; {
		b, err := s.BatchAt(pos, s.Base(), &buf)
		switch {
		case err == io.EOF:
			return false, nil
		case errors.Is(err, ErrCorrupt):
			return true, nil // the scan goes around it
		case err != nil:
			return false, err
		case b.IsControl():
			return true, nil
		}
		pos += int64(len(b))
	}
}

// accept tells whether an index file says what the log says. It may say more,
// of what compaction and retention have taken away.
func (r *txnReplay) accept(x index.Txns) bool {
	at := make(map[int64]index.AbortedTxn, x.Len())
	for a := range x.All() {
		if !r.possible(a) {
			return false
		}
		at[a.LastOffset] = a
	}
	for want := range r.x.All() {
		a, ok := at[want.LastOffset]
		if !ok || a.FirstOffset > want.FirstOffset || a.LastStableOffset > want.LastStableOffset {
			return false
		}
		if r.exact && want.FirstOffset < r.base && a != want {
			return false
		}
	}
	return true
}

// possible tells whether the marker of an entry is there, and no other one
// inside of its transaction.
func (r *txnReplay) possible(a index.AbortedTxn) bool {
	found := false
	for _, m := range r.markers[a.ProducerID] {
		switch {
		case m.offset == a.LastOffset:
			found = m.abort
		case m.offset > a.FirstOffset && m.offset < a.LastOffset:
			return false
		}
	}
	return found
}
