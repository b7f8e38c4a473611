package log

import (
	"fmt"
	"slices"
	"sort"
	"strconv"

	"github.com/leatlog/leat/codec"
)

// EpochEntry says that a leader epoch began with an offset.
type EpochEntry struct {
	Epoch       int32
	StartOffset int64
}

// Epochs is the history of a partition's leader epochs: what the file
// leader-epoch-checkpoint holds, Kafka's LeaderEpochFileCache. Both epochs and
// start offsets rise strictly. The zero value is an empty history. It is not
// safe for concurrent use: the caller locks, and writes the file after a
// method said that something changed.
type Epochs struct {
	list []EpochEntry
}

// ParseEpochs reads a leader-epoch-checkpoint. Kafka reads a list that is out of
// order and drops from it what contradicts the later lines; here that is an
// error, since the history can be rebuilt from the batches. Errors match
// ErrCheckpoint.
func ParseEpochs(b []byte) (*Epochs, error) {
	list, err := ParseEpochEntries(b)
	if err != nil {
		return nil, err
	}
	for i, e := range list {
		if i > 0 && (e.Epoch <= list[i-1].Epoch || e.StartOffset <= list[i-1].StartOffset) {
			return nil, fmt.Errorf("%w: line %d: epoch %d from %d on does not come after epoch %d from %d on",
				ErrCheckpoint, i+3, e.Epoch, e.StartOffset, list[i-1].Epoch, list[i-1].StartOffset)
		}
	}
	return &Epochs{list}, nil
}

// ParseEpochEntries reads the lines of a leader-epoch-checkpoint as they stand,
// in whatever order: what a dump shows.
func ParseEpochEntries(b []byte) ([]EpochEntry, error) {
	var list []EpochEntry
	err := parseCheckpoint(b, 2, func(fields [][]byte) error {
		epoch, err := strconv.ParseInt(string(fields[0]), 10, 32)
		if err != nil || epoch < 0 {
			return fmt.Errorf("epoch %.20q", fields[0])
		}
		start, err := strconv.ParseInt(string(fields[1]), 10, 64)
		if err != nil || start < 0 {
			return fmt.Errorf("start offset %.20q", fields[1])
		}
		list = append(list, EpochEntry{int32(epoch), start})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Append appends the content of the file.
//
//	0              version
//	2              number of lines to come
//	0 0            epoch, its first offset
//	3 120
func (e *Epochs) Append(dst []byte) []byte {
	dst = appendCheckpointHead(dst, len(e.list))
	for _, entry := range e.list {
		dst = append(strconv.AppendInt(dst, int64(entry.Epoch), 10), ' ')
		dst = append(strconv.AppendInt(dst, entry.StartOffset, 10), '\n')
	}
	return dst
}

// Entries is a copy of the history, oldest first.
func (e *Epochs) Entries() []EpochEntry { return slices.Clone(e.list) }

// Disproved is the first epoch that was to begin within a batch of an older one:
// a truncation notes its new epoch before it cuts.
func (e *Epochs) Disproved(by codec.Batch) (x EpochEntry, ok bool) {
	for _, x := range slices.Backward(e.list) {
		switch {
		case x.StartOffset < by.BaseOffset():
			return EpochEntry{}, false
		case x.StartOffset <= by.LastOffset() && x.Epoch > by.LeaderEpoch():
			return x, true
		}
	}
	return EpochEntry{}, false
}

// Remove drops one epoch.
func (e *Epochs) Remove(x EpochEntry) {
	e.list = slices.DeleteFunc(e.list, func(y EpochEntry) bool { return x == y })
}

// Latest is the newest epoch; there is none in a log without batches, or with
// batches that carry no epoch only.
func (e *Epochs) Latest() (EpochEntry, bool) {
	if len(e.list) == 0 {
		return EpochEntry{}, false
	}
	return e.list[len(e.list)-1], true
}

// Assign notes that epoch holds from offset start on. The newest epoch once
// more is nothing new. What contradicts the new entry, an epoch or a start not
// below its own, is dropped: the log was truncated and written anew. Negative
// values mean 'none' in a batch and are ignored.
func (e *Epochs) Assign(epoch int32, start int64) (changed bool) {
	if epoch < 0 || start < 0 {
		return false
	}
	if last, ok := e.Latest(); ok && last.Epoch == epoch && last.StartOffset <= start {
		return false
	}
	keep := len(e.list)
	for keep > 0 && (e.list[keep-1].Epoch >= epoch || e.list[keep-1].StartOffset >= start) {
		keep--
	}
	e.list = append(e.list[:keep], EpochEntry{epoch, start})
	return true
}

// TruncateFromEnd drops the epochs that began at the offset or later, because
// the log now ends there.
func (e *Epochs) TruncateFromEnd(end int64) (changed bool) {
	keep := len(e.list)
	for end >= 0 && keep > 0 && e.list[keep-1].StartOffset >= end {
		keep--
	}
	changed = keep < len(e.list)
	e.list = e.list[:keep]
	return changed
}

// TruncateFromStart drops the epochs that ended before the offset, because the
// log now starts there. The one that holds at it remains, from there on.
func (e *Epochs) TruncateFromStart(start int64) (changed bool) {
	gone := e.search(start)
	if gone == 0 || gone == 1 && e.list[0].StartOffset == start {
		return false
	}
	e.list = slices.Delete(e.list, 0, gone-1)
	e.list[0].StartOffset = start
	return true
}

// At is the epoch that holds at an offset.
func (e *Epochs) At(offset int64) (epoch int32, ok bool) {
	if i := e.search(offset); i > 0 {
		return e.list[i-1].Epoch, true
	}
	return -1, false
}

// search counts the epochs that began at or before the offset.
func (e *Epochs) search(offset int64) int {
	return sort.Search(len(e.list), func(i int) bool { return e.list[i].StartOffset > offset })
}

// EndOffset answers a follower that asks where an epoch ended: the largest epoch
// not above the one asked for, and the first offset behind it. For the newest
// one that is logEnd. An epoch below all known ones is answered by itself with
// the first offset known, one above them all, and -1, by (-1, -1).
func (e *Epochs) EndOffset(epoch int32, logEnd int64) (int32, int64) {
	last, ok := e.Latest()
	switch {
	case epoch < 0 || !ok || epoch > last.Epoch:
		return -1, -1
	case epoch == last.Epoch:
		return epoch, logEnd
	}
	higher := sort.Search(len(e.list), func(i int) bool { return e.list[i].Epoch > epoch })
	if higher > 0 {
		epoch = e.list[higher-1].Epoch
	}
	return epoch, e.list[higher].StartOffset
}
