package log

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
)

// moment is what is known when the power fails.
type moment struct {
	acked, tried int64
	origin       int64 // of values
	// The log starts at start at least, at deleting at most; without marks a
	// checkpoint says saved.
	start, deleting, saved int64
	resetting              int64 // where it may begin anew; -1: nowhere
	startPoint             int64
	values                 [][]byte
	marks                  [][8]uint64 // every state that leat.state has been in
	checkpoint             int64
	clean                  bool
	rng                    *rand.Rand
}

// cut lets the power fail now. full looks at all that FAULTS.md lists, else at a
// few of them.
func (p *power) cut(full bool) {
	p.mu.Lock()
	m := moment{origin: p.mu.origin, start: p.mu.start, resetting: p.mu.resetting, startPoint: p.mu.startPoint,
		acked: p.mu.acked, checkpoint: p.mu.checkpoint, clean: p.mu.clean, rng: rand.New(rand.NewPCG(p.mu.rng.Uint64(), 3))}
	takenBack := p.mu.takenBack
	p.mu.Unlock()
	// The marks go first: what they promise is in the files. They are taken again
	// if they were synced meanwhile, since files may be gone then by their word.
	var d *vfs.DirtyState
	var killed *vfs.Mem
	for syncs := -1; ; {
		p.mu.Lock()
		if syncs == p.mu.syncs {
			break
		}
		syncs = p.mu.syncs
		now := NewMarks(p.words, nil).snapshot()
		if n := len(p.mu.marks); n == 0 || p.mu.marks[n-1] != now {
			p.mu.marks = append(p.mu.marks, now)
		}
		m.marks = slices.Clone(p.mu.marks)
		m.saved = p.mu.saved
		p.mu.Unlock()
		d, killed = p.mem.Dirty(), p.mem.Snapshot()
	}
	if p.mu.takenBack != takenBack { // by another goroutine: it cannot be told what the trees may hold
		p.mu.Unlock()
		return
	}
	m.deleting = p.mu.deleting
	m.values = slices.Clip(p.mu.values)
	m.tried = m.origin + int64(len(m.values))
	p.mu.Unlock()

	if full {
		for c, tree := range d.States(8, m.rng.Uint64()) {
			p.check(tree, &m, 2, c.String())
		}
	} else {
		for range 2 {
			all := vfs.Choices(d, 4, m.rng.Uint64())
			c := all[m.rng.IntN(len(all))]
			p.check(d.Clone(c), &m, 2, c.String())
		}
	}
	if full || m.rng.IntN(4) == 0 {
		// The process was killed: the disk has all, and the marks are the latest.
		p.stats.kills.Add(1)
		m.marks = m.marks[len(m.marks)-1:]
		p.check(killed, &m, 1, "kill")
	}
}

// snapshot copies the words.
func (m *Marks) snapshot() (w [8]uint64) {
	for i := range w {
		w[i] = atomic.LoadUint64(&m.w[i])
	}
	return w
}

// check recovers a tree and holds it against the invariants of FAULTS.md. depth
// says how often the power may fail again meanwhile.
func (p *power) check(tree *vfs.Mem, m *moment, depth int, what string) {
	p.stats.states.Add(1)
	if p.failed.Load() != nil {
		return
	}
	fail := func(format string, args ...any) {
		s := fmt.Sprintf("%v\nstate: %s, acked %d, tried %d, checkpoint %d, clean %v\n%s", p, what, m.acked, m.tried,
			m.checkpoint, m.clean, fmt.Sprintf(format, args...))
		p.failed.CompareAndSwap(nil, &s)
	}
	words := m.marks[m.rng.IntN(len(m.marks))]
	st := OpenState{Clean: m.clean, RecoveryPoint: m.checkpoint, StartOffset: m.startPoint, HighWatermark: -1}
	begun := *m // for a power cut while it recovers
	deletes := p.kind == powerDelete
	if m.rng.IntN(3) > 0 || strings.HasPrefix(what, "kill") {
		st.Marks, st.MarksValid = NewMarks(&words, nil), true
		if deletes { // it may rely on what is in them from now on, and syncs them before
			begun.marks = [][8]uint64{words}
			begun.saved = max(m.saved, st.Marks.Start())
		}
	} else if deletes && m.saved > 0 {
		// The checkpoint of the start, which is written with that of the recovery
		// point.
		st.StartOffset, st.RecoveryPoint = m.saved, max(st.RecoveryPoint, m.saved)
	}
	if m.rng.IntN(3) == 0 && (!deletes || st.Marks != nil || m.saved == 0) {
		st.RecoveryPoint, st.Clean = -1, false
	}

	// While it recovers, the power may fail again.
	faults := func(op vfs.Op, _ string, b bool) error {
		if b {
			return p.fault(op)
		}
		return nil
	}
	tree.SetHook(faults)
	var again *vfs.Mem
	var how string
	if depth > 0 && m.rng.IntN(3) == 0 {
		at := m.rng.IntN(30)
		tree.SetHook(func(op vfs.Op, name string, b bool) error {
			if op.Mutates() && again == nil {
				if at--; at < 0 {
					d := tree.Dirty()
					all := vfs.Choices(d, 2, m.rng.Uint64())
					c := all[m.rng.IntN(len(all))]
					again, how = d.Clone(c), fmt.Sprintf("%s, then at %v %s: %v", what, op, name, c)
				}
			}
			return faults(op, name, b)
		})
	}

	env := p.newEnv(tree)
	defer env.Close()
	l, rep, err := Open(env, "t-0", p.cfg, st)
	tree.SetHook(faults) // recovery is over: what follows has goroutines of its own
	if err != nil {
		fail("open %+v: %v", st, err)
		return
	}
	defer func() {
		if l != nil {
			l.Abandon()
		}
	}()
	if rep.Damage != nil {
		fail("a power cut is no damage: %v", rep.Damage)
		return
	}
	end := l.LogEndOffset()
	if m.resetting >= 0 && end == m.resetting && l.LogStartOffset() == end {
		m = &moment{origin: end, start: end, deleting: end, acked: end, tried: end, resetting: -1, marks: m.marks, checkpoint: m.checkpoint, startPoint: m.startPoint, rng: m.rng}
	}
	switch { // I1, I2, I4
	case end < m.acked:
		fail("records up to %d were acknowledged, and the log ends at %d: %+v", m.acked, end, rep)
		return
	case end > m.tried:
		fail("the log ends at %d", end)
		return
	case l.LogStartOffset() < m.start || l.LogStartOffset() > m.deleting: // I10
		fail("start %d, not %d to %d", l.LogStartOffset(), m.start, m.deleting)
		return
	case l.HighWatermark() != end || l.DurableEnd() != end:
		fail("start %d, high watermark %d, durable %d, end %d", l.LogStartOffset(), l.HighWatermark(), l.DurableEnd(), end)
	}
	p.checkReport(l, rep, fail)
	if err := p.readBack(l, m.origin, m.values[:end-m.origin]); err != nil { // I1 to I4, I9
		fail("%v\n%+v\n%s", err, rep, listFiles(folderFiles(p.t, tree, "t-0")))
	}
	if again != nil {
		p.stats.deep.Add(1)
		p.check(again, &begun, depth-1, how)
	}
	// Nothing is left for another recovery (I11).
	if !rep.Clean && m.rng.IntN(4) == 0 {
		l.Abandon()
		files := folderFiles(p.t, tree, "t-0")
		st.Clean = false
		if l, rep, err = Open(env, "t-0", p.cfg, st); err != nil {
			fail("second open: %v", err)
			l = nil
			return
		}
		if l.LogEndOffset() != end || rep.BytesCut > 0 || rep.Shortened || rep.Damage != nil {
			fail("second recovery: %+v", rep)
		}
		if now := folderFiles(p.t, tree, "t-0"); !sameFiles(files, now) {
			fail("second recovery changed files:\n%s", diffFiles(files, now))
		}
	}
	// What is appended now replaces what was lost, for ever (I3).
	if depth > 0 && m.rng.IntN(3) == 0 {
		p.goOn(l, tree, m, end, depth-1, what, &words, st.Marks != nil)
	}
}

// goOn appends to a recovered log and lets the power fail once more.
func (p *power) goOn(l *Log, tree *vfs.Mem, m *moment, end int64, depth int, what string, words *[8]uint64, marked bool) {
	start := l.LogStartOffset()
	next := &moment{origin: m.origin, start: start, deleting: start, saved: start, resetting: -1, startPoint: m.startPoint, acked: end,
		values: slices.Clone(m.values[:end-m.origin]), checkpoint: m.checkpoint, rng: m.rng}
	next.marks = [][8]uint64{*words}
	if !marked && p.kind == powerDelete { // they are discarded
		next.marks[0] = [8]uint64{markStart: littleEndian(uint64(start)), markDurable: littleEndian(uint64(start))}
	}
	for i := range 1 + m.rng.IntN(3) {
		v := fmt.Appendf(nil, "%d/%d/again %d/%d", p.seed, m.origin+int64(len(next.values)), i, m.rng.Uint64())
		v = append(v, make([]byte, m.rng.IntN(2)*m.rng.IntN(500))...)
		next.values = append(next.values, v)
		d := []Durability{Synced, Written}[m.rng.IntN(2)]
		base, err := l.Append(context.Background(), []Record{{Value: v, Timestamp: time.UnixMilli(2_000_000)}}, d)
		require.NoError(p.t, err, p)
		if d == Synced {
			next.acked = base + 1
		}
		if marked {
			next.marks = append(next.marks, NewMarks(words, nil).snapshot())
		}
	}
	next.tried = m.origin + int64(len(next.values))
	d := tree.Dirty()
	all := vfs.Choices(d, 2, m.rng.Uint64())
	for range 2 {
		c := all[m.rng.IntN(len(all))]
		p.stats.deep.Add(1)
		p.check(d.Clone(c), next, depth, fmt.Sprintf("%s, went on at %d, then %v", what, end, c))
	}
}

// checkReport holds the report against the files (I13).
func (p *power) checkReport(l *Log, rep *Report, fail func(string, ...any)) {
	after := folderFiles(p.t, l.env.fsys, "t-0")
	var sum int64
	for _, c := range rep.Cuts {
		sum += c.Bytes
		if int64(len(after[c.Quarantine])) != c.Bytes {
			fail("%d bytes are kept of %+v", len(after[c.Quarantine]), c)
		}
		if c.Quarantine == "" || c.Bytes == 0 || c.Reason == nil {
			fail("cut without bytes, place or reason: %+v", c)
		}
	}
	latest, _ := l.epochs.Latest()
	for name := range after {
		if strings.HasSuffix(name, ".quarantine") && latest.Epoch == 0 {
			fail("a recovery has cut the log, and no new epoch began")
		}
		if strings.HasSuffix(name, ".tmp") || name == "next.segment" && rep.Clean {
			fail("%s is left", name)
		}
	}
	if rep.BytesCut != sum {
		fail("report says %d bytes cut, cuts have %d: %+v", rep.BytesCut, sum, rep)
	}
	if rep.Shortened != (sum > 0) && sum > 0 {
		fail("shortened: %+v", rep)
	}
	if sum > 0 {
		p.stats.cuts.Add(1)
	}
	if rep.EndOffset != l.LogEndOffset() || rep.StartOffset != l.LogStartOffset() {
		fail("report: %+v", rep)
	}
	if rep.Shortened {
		if e, ok := l.epochs.Latest(); !ok || e.StartOffset != rep.EndOffset || e.Epoch == 0 {
			fail("shortened without a new epoch: %+v", l.epochs.Entries())
		}
	}
}

// readBack compares the whole log with what was appended, and lookups with what
// a scan finds.
func (p *power) readBack(l *Log, origin int64, want [][]byte) error {
	start := l.LogStartOffset()
	records, err := tryRecords(l, start)
	if err != nil {
		return err
	}
	want = want[start-origin:]
	if len(records) > 0 { // the first batch is whole
		records = records[max(start-records[0].Offset, 0):]
	}
	if start > origin {
		if _, err := l.NewCursor(start - 1).Next(l.LogEndOffset()); !errors.Is(err, ErrOffsetOutOfRange) {
			return fmt.Errorf("cursor below the start: %v", err)
		}
	}
	i := 0
	for offset, v := range want {
		if v == nil { // a follower left it out
			continue
		}
		if i == len(records) {
			return fmt.Errorf("%d records, and none for offset %d", len(records), offset)
		}
		if r := records[i]; r.Offset != start+int64(offset) || string(r.Value) != string(v) {
			return fmt.Errorf("record %d is %d %.60q, not %d %.60q", i, r.Offset, r.Value, start+int64(offset), v)
		}
		i++
	}
	if i < len(records) {
		return fmt.Errorf("%d records, not %d", len(records), i)
	}
	for i := 0; i < len(records); i += 1 + len(records)/4 {
		at := records[i].Offset
		c := l.NewCursor(at)
		b, err := c.Next(l.LogEndOffset())
		if err != nil || b.BaseOffset() > at || b.LastOffset() < at {
			return fmt.Errorf("cursor at %d: %v", at, err)
		}
		c.Close()
		ts := records[i].Timestamp
		first := slices.IndexFunc(records, func(r codec.Record) bool { return r.Timestamp >= ts })
		offset, got, found, err := l.OffsetForTimestamp(ts)
		if err != nil || !found || offset != records[first].Offset || got != records[first].Timestamp {
			return fmt.Errorf("time %d: offset %d, time %d, %v, %v; a scan finds %d", ts, offset, got, found, err, first)
		}
	}
	if p.kind != powerRaw {
		return nil
	}
	return p.checkState(l)
}

func listFiles(m map[string]string) string {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&out, "%s: %d bytes, %d without zeros at the end\n", name, len(m[name]), len(strings.TrimRight(m[name], "\x00")))
	}
	return out.String()
}

func sameFiles(a, b map[string]string) bool { return diffFiles(a, b) == "" }

// diffFiles lists what differs between two folders, but for zeros at the end of
// a file.
func diffFiles(a, b map[string]string) string {
	var out strings.Builder
	for name, x := range a {
		y, ok := b[name]
		switch {
		case !ok:
			fmt.Fprintf(&out, "%s is gone\n", name)
		case strings.TrimRight(x, "\x00") != strings.TrimRight(y, "\x00"):
			fmt.Fprintf(&out, "%s: %d bytes, now %d\n", name, len(x), len(y))
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			fmt.Fprintf(&out, "%s is new\n", name)
		}
	}
	return out.String()
}
