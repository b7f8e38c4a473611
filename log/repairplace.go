package log

import (
	"math/bits"

	"github.com/leatlog/leat/segment"
)

// A batch's CRC leaves its base offset out, so that a sound batch may say a wrong
// one. What is around it tells: batches that follow each other without a gap, in
// the file, do so in their offsets. So each of a run of them, less the records
// before it in the run, says where the run begins, and so do the log in front of
// it, if nothing is lost there, and the next segment behind it. One that is alone
// with what it says is wrong where its neighbours agree.

// run is a run of batches.
type run struct {
	pieces []segment.Piece
	at     int64 // the least offset that there can be
	lost   bool  // something is, in front of it
	back   int64 // the offset behind it; -1: not known
	sure   bool  // about back
}

// vote is where a run begins by one of its witnesses.
type vote struct {
	start int64
	known bool
	sure  bool
}

// places are the base offsets of a run's batches where no offset is missing by
// right; -1 for one that cannot be where it says.
func (r *run) places() []int64 {
	votes := make([]vote, 0, len(r.pieces)+2)
	votes = append(votes, vote{r.at, !r.lost, !r.lost})
	n := int64(0)
	for _, x := range r.pieces {
		votes = append(votes, vote{x.Base - n, true, false})
		n += x.Next - x.Base
	}
	votes = append(votes, vote{r.back - n, r.back >= 0, r.back >= 0 && r.sure})
	for i := range votes {
		for j := i + 1; j < min(i+3, len(votes)); j++ { // its neighbour, and that one's
			if a, b := &votes[i], &votes[j]; a.known && b.known && a.start == b.start {
				a.sure, b.sure = true, true
			}
		}
	}
	out := make([]int64, len(r.pieces))
	before := int64(0) // records in the run
	at := r.at
	for i, x := range r.pieces {
		start, ok := believe(votes, i+1)
		base := start + before
		if !ok || base < at {
			base = -1
		} else {
			at = base + x.Next - x.Base
		}
		out[i] = base
		before += x.Next - x.Base
	}
	return out
}

// believe is what is believed of a vote.
func believe(votes []vote, i int) (start int64, ok bool) {
	own := votes[i]
	if own.sure {
		return own.start, true
	}
	left, right := i-1, i+1
	for left >= 0 && !votes[left].sure {
		left--
	}
	for right < len(votes) && !votes[right].sure {
		right++
	}
	switch {
	case left >= 0 && right < len(votes):
		l, r := votes[left].start, votes[right].start
		switch {
		case l == r, oneBit(own.start, l):
			return l, true
		case oneBit(own.start, r):
			return r, true
		}
		return own.start, l < own.start && own.start < r
	case right < len(votes)-1: // one of the run
		return votes[right].start, true
	case right < len(votes): // something may be missing in front of the next segment
		if own.start >= votes[0].start && own.start < votes[right].start {
			return own.start, true
		}
		return votes[right].start, true
	case left >= 0 && oneBit(own.start, votes[left].start):
		return votes[left].start, true
	}
	return own.start, true
}

func oneBit(a, b int64) bool { return bits.OnesCount64(uint64(a^b)) == 1 }
