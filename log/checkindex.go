package log

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/segment"
)

// indexJudge compares the offset index and the time index of a segment with its
// batches, as a scan meets them. The entries must be true; which batches have one
// is for whoever wrote them to decide, and differs between versions of Kafka.
//
// An entry of the offset index is true if a lookup that begins at its position
// misses nothing: a batch begins there, and its offset is the last one of that
// batch, or of a later one (Kafka before 4.1 wrote one entry for several batches
// that came together). An entry of the time index is true if its offset is in the
// first batch with its timestamp, and no batch before that has a later one.
type indexJudge struct {
	offsets index.Offsets
	times   index.Times
	oi, ti  int     // the entries to be met next
	ahead   []int64 // offsets of entries for several batches, whose last is still to come

	max        int64 // largest timestamp so far
	end, next  int64 // position and offset behind the last batch
	wrongEntry [2]string
	wrongAt    [2]int64
}

const (
	offsetIndexFile = iota
	timeIndexFile
)

func (x *indexJudge) reset(base int64, offsets, times []byte) {
	*x = indexJudge{offsets: index.OpenOffsets(base, offsets), times: index.OpenTimes(base, times), max: -1, next: base}
}

func (x *indexJudge) wrong(which, entry int, format string, args ...any) {
	if x.wrongEntry[which] == "" {
		size := [2]int{index.OffsetEntrySize, index.TimeEntrySize}[which]
		x.wrongEntry[which], x.wrongAt[which] = fmt.Sprintf(format, args...), int64(entry*size)
	}
}

// batch meets the next batch. Entries for what a hole before it held cannot be
// told.
func (x *indexJudge) batch(pos int64, b codec.Batch, hole bool) {
	base, last, ts := b.BaseOffset(), b.LastOffset(), b.MaxTimestamp()
	for ; x.oi < x.offsets.Len(); x.oi++ {
		offset, at := x.offsets.Entry(x.oi)
		if at > pos {
			break
		}
		switch {
		case at == pos && offset == last, at < pos && hole && at >= x.end:
		case at < pos:
			x.wrong(offsetIndexFile, x.oi, "entry %d says that a batch begins at position %d, where none does", x.oi, at)
		case offset > last:
			x.ahead = append(x.ahead, offset)
		default:
			x.wrong(offsetIndexFile, x.oi, "entry %d is for offset %d, and the batch at its position %d ends with offset %d", x.oi, offset, at, last)
		}
	}
	for ; len(x.ahead) > 0 && x.ahead[0] <= last; x.ahead = x.ahead[1:] {
		if x.ahead[0] < last && !hole {
			x.wrong(offsetIndexFile, x.oi-1, "an entry is for offset %d, with which no batch ends", x.ahead[0])
		}
	}
	for ; x.ti < x.times.Len(); x.ti++ {
		timestamp, offset := x.times.Entry(x.ti)
		if offset > last {
			break
		}
		switch {
		case offset >= base && timestamp == ts && timestamp > x.max:
		case offset < base && hole && offset >= x.next:
		case offset < base:
			x.wrong(timeIndexFile, x.ti, "entry %d is for offset %d, which no batch has", x.ti, offset)
		case timestamp != ts:
			x.wrong(timeIndexFile, x.ti, "entry %d says timestamp %d of offset %d, and its batch has %d", x.ti, timestamp, offset, ts)
		default:
			x.wrong(timeIndexFile, x.ti, "entry %d says timestamp %d of offset %d, and batches before have %d", x.ti, timestamp, offset, x.max)
		}
	}
	x.max = max(x.max, ts)
	x.end, x.next = pos+int64(len(b)), last+1
}

// finish is called behind the last batch. lost says that the file goes on with
// damage.
func (x *indexJudge) finish(lost bool) {
	if lost {
		return
	}
	if x.oi < x.offsets.Len() {
		_, at := x.offsets.Entry(x.oi)
		x.wrong(offsetIndexFile, x.oi, "entry %d says that a batch begins at position %d, and the log ends at %d", x.oi, at, x.end)
	}
	if len(x.ahead) > 0 {
		x.wrong(offsetIndexFile, x.oi-1, "an entry is for offset %d, and the segment ends at %d", x.ahead[0], x.next)
	}
	if x.ti < x.times.Len() {
		_, offset := x.times.Entry(x.ti)
		x.wrong(timeIndexFile, x.ti, "entry %d is for offset %d, and the segment ends at %d", x.ti, offset, x.next)
	}
}

// readIndexes reads the offset and the time index of a segment.
func (j *judge) readIndexes(i int) {
	base := j.seg.Base()
	clear(j.unlike)
	clear(j.untrue)
	read := func(suffix string, size int64) []byte {
		b, ok := j.sidecar(segment.FileName(base, suffix), i >= j.rebuilt)
		if !ok {
			return nil
		}
		return b
	}
	offsets := read(segment.IndexSuffix, index.OffsetEntrySize)
	times := read(segment.TimeSuffix, index.TimeEntrySize)
	anew := i >= j.rebuilt
	ox, tx := index.OpenOffsets(base, offsets), index.OpenTimes(base, times)
	// Room that was set aside and not given back is no damage, but nobody leaves it
	// in order behind a segment that is complete.
	if w := ox.Written(); w.Len() < ox.Len() {
		j.room(segment.IndexSuffix, w.Len(), ox.Len(), anew)
		ox = w
	}
	if w := tx.Written(); w.Len() < tx.Len() {
		j.room(segment.TimeSuffix, w.Len(), tx.Len(), anew)
		tx = w
	}
	bound := min(j.bound, offsetLimit(base))
	ob, tb := ox.Bytes(), tx.Bytes()
	if err := ox.Check(max(j.size, 1), bound); err != nil {
		j.wrongIndex(segment.IndexSuffix, anew, err)
		ob = nil
	}
	if err := tx.Check(bound); err != nil {
		j.wrongIndex(segment.TimeSuffix, anew, err)
		tb = nil
	}
	j.indexes.reset(base, ob, tb)
}

// offsetLimit is above every offset that a segment can have.
func offsetLimit(base int64) int64 {
	if base > noOffset-1<<31 {
		return noOffset
	}
	return base + 1<<31
}

func (j *judge) room(suffix string, used, all int, anew bool) {
	if !anew && (j.bound < noOffset || j.st.Clean) {
		j.found(j.inFile(Notice, FindingIndex, segment.FileName(j.seg.Base(), suffix), "%d entries are followed by room for %d", used, all-used))
	}
}

// wrongIndex tells of an index file that cannot be right.
func (j *judge) wrongIndex(suffix string, anew bool, err error) {
	kind := FindingIndex
	if suffix == segment.TxnSuffix {
		kind = FindingTxns
	}
	j.untrue[suffix] = true
	f := j.inFile(j.grade(anew), kind, segment.FileName(j.seg.Base(), suffix), "%v", err)
	var e *index.CorruptError
	if errors.As(err, &e) && e.Entry >= 0 {
		size := map[string]int64{segment.IndexSuffix: index.OffsetEntrySize, segment.TimeSuffix: index.TimeEntrySize, segment.TxnSuffix: index.TxnEntrySize}[suffix]
		f.Position = int64(e.Entry) * size
	}
	j.found(f)
}

// sidecar reads an index file, and compares it with its line of segments.sum.
// anew says that a recovery makes it anew, so that it is no matter if it is not
// there. ok is false when there is nothing to look at.
func (j *judge) sidecar(name string, anew bool) (b []byte, ok bool) {
	b, err := readAll(j.l.env.fsys, segment.Join(j.l.dir, name), maxSidecar)
	want, listed := j.l.sums.Files[name]
	_, suffix, _ := segment.ParseName(name)
	// Of the last segment only the transaction index has a line, after a close.
	listed = listed && (j.bound < noOffset || j.st.Clean && suffix == segment.TxnSuffix)
	kind := FindingIndex
	if suffix == segment.TxnSuffix {
		kind = FindingTxns
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if kind == FindingIndex && !anew {
			j.found(j.inFile(Notice, kind, name, "the file is missing"))
		}
		if kind == FindingTxns && listed && want.Size > 0 {
			j.found(j.inFile(j.grade(anew), kind, name, "the file is missing, and had %d bytes (segments.sum)", want.Size))
		}
		return nil, false
	case errors.Is(err, errTooLarge):
		j.found(j.inFile(j.grade(anew), kind, name, "%v", err))
		return nil, false
	case err != nil:
		j.failed(err)
		return nil, false
	}
	if listed && !anew {
		if got := crc32.Checksum(b, castagnoli); int64(len(b)) != want.Size || got != want.CRC {
			j.unlike[suffix] = j.inFile(Damage, kind, name, "it has %d bytes and CRC-32C %08x, and had %d and %08x when it was sealed (segments.sum)",
				len(b), got, want.Size, want.CRC)
		}
	}
	return b, true
}

// tellUnlike tells of an index file that is not the one that was sealed. One whose
// entries hold was made anew just before a crash, and its line was to come: the
// next open goes on with both.
func (j *judge) tellUnlike(suffix string, holds bool) {
	f, ok := j.unlike[suffix]
	if !ok {
		return
	}
	if holds {
		f.Severity = Notice
		f.What += "; what it says is true"
	}
	j.found(f)
}

// beside judges the index files of the segment that was scanned.
func (j *judge) beside(i int, r *segment.Scan) {
	anew := i >= j.rebuilt
	x := &j.indexes
	lost := len(r.Holes) > 0 && r.Holes[len(r.Holes)-1].End == r.FileSize()
	x.finish(lost)
	for which, suffix := range []string{segment.IndexSuffix, segment.TimeSuffix} {
		j.tellUnlike(suffix, x.wrongEntry[which] == "" && !j.untrue[suffix] && len(r.Holes) == 0)
		if x.wrongEntry[which] == "" {
			continue
		}
		f := j.inFile(j.grade(anew), FindingIndex, segment.FileName(j.seg.Base(), suffix), "%s", x.wrongEntry[which])
		f.Position = x.wrongAt[which]
		j.found(f)
	}
	if last, _ := x.times.Last(); !anew && j.bound < noOffset && len(r.Holes) == 0 && x.times.Len() > 0 && last < x.max && x.wrongEntry[timeIndexFile] == "" {
		j.found(j.inFile(Notice, FindingIndex, segment.FileName(j.seg.Base(), segment.TimeSuffix),
			"its last entry has timestamp %d, and the segment has %d: lookups by time read further", last, x.max))
	}
	j.besideTxns(i, r)
}

// besideTxns judges the transaction index of the segment that was scanned.
func (j *judge) besideTxns(i int, r *segment.Scan) {
	anew := i >= j.rebuilt
	name := segment.FileName(j.seg.Base(), segment.TxnSuffix)
	b, there := j.sidecar(name, anew)
	x := index.OpenTxns(b)
	if err := x.Check(j.seg.Base(), max(r.Next, j.seg.Base())); err != nil && len(r.Holes) == 0 {
		j.tellUnlike(segment.TxnSuffix, false)
		j.wrongIndex(segment.TxnSuffix, anew, err)
		return
	}
	if len(r.Holes) > 0 || anew && !there {
		j.tellUnlike(segment.TxnSuffix, false)
		return
	}
	_, _, want := r.Indexes()
	j.txns.x = want
	j.tellUnlike(segment.TxnSuffix, string(want.Bytes()) == string(x.Bytes()))
	strict := j.strict && j.states.exact && !j.states.thin && !j.states.sparse && j.states.fresh == nil
	switch {
	case string(want.Bytes()) == string(x.Bytes()):
	case j.states.fresh != nil && string(j.states.aborted) == string(x.Bytes()):
	case !strict && j.txns.leaves(x):
	case j.states.fresh != nil && j.asSealed(segment.TxnSuffix):
		// Whoever sealed it knew less of what was before than snapshots tell now.
	case !there:
		j.found(j.inFile(Notice, FindingTxns, name, "the file is missing, and the segment has %d aborted transactions", want.Len()))
	case strict:
		j.found(j.inFile(j.grade(anew), FindingTxns, name, "its %d aborted transactions are not the %d that the log has", x.Len(), want.Len()))
	default:
		j.found(j.inFile(j.grade(anew), FindingTxns, name, "its aborted transactions are not those of the log"))
	}
}

// asSealed tells whether an index file is the one that segments.sum tells of.
func (j *judge) asSealed(suffix string) bool {
	_, listed := j.l.sums.of(j.seg.Base(), suffix)
	_, unlike := j.unlike[suffix]
	return listed && !unlike
}

// leaves is accept for a segment of which compaction may have taken batches: that
// of a transaction which began before the segment may all be gone, and then its
// entry went with them.
func (r *txnReplay) leaves(x index.Txns) bool {
	var here []byte
	for a := range r.x.All() {
		if a.FirstOffset >= r.base {
			here = a.Append(here)
		}
	}
	r.x, r.exact = index.OpenTxns(here), false
	return r.accept(x)
}
