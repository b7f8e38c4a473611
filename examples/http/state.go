package main

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/leatlog/leat"
)

// partitionAnswer is all there is to know of a partition at one moment.
type partitionAnswer struct {
	Topic string `json:"topic"`
	partitionInfo
	FirstUnstableOffset int64          `json:"first_unstable_offset"` // -1: no transaction holds readers back
	State               partitionState `json:"state"`
}

type partitionState struct {
	Segments     listed[segment]  `json:"segments"`      // oldest first
	LeaderEpochs listed[epoch]    `json:"leader_epochs"` // oldest first
	Producers    listed[producer] `json:"producers"`     // longest open transaction first, then latest append
	OpenTxns     int              `json:"open_transactions"`
	AbortedTxns  listed[aborted]  `json:"aborted_transactions"` // oldest first
}

// listed is a list of which only the end is told, or of producers the beginning.
type listed[T any] struct {
	Count int `json:"count"`
	List  []T `json:"list"`
}

type segment struct {
	BaseOffset int64 `json:"base_offset"`
	Bytes      int64 `json:"bytes"`
}

type epoch struct {
	Epoch       int32 `json:"epoch"`
	StartOffset int64 `json:"start_offset"`
}

type producer struct {
	ProducerID    int64 `json:"producer_id"`
	ProducerEpoch int16 `json:"producer_epoch"`
	LastTimestamp int64 `json:"last_timestamp"` // ms since 1970, -1: none
	TxnStart      int64 `json:"txn_start"`      // offset where its open transaction began, -1: none is
}

type aborted struct {
	ProducerID  int64 `json:"producer_id"`
	FirstOffset int64 `json:"first_offset"`
	LastOffset  int64 `json:"last_offset"` // of the marker
}

// describePartition tells of one partition, which is opened if it is not open:
// segments, leader epochs, producers and transactions, at most limit of each.
func (s *server) describePartition(w http.ResponseWriter, r *http.Request) error {
	p, err := s.partition(r)
	if err != nil {
		return err
	}
	q := query(r)
	limit := q.atMost("limit", s.limits.records, s.limits.records)
	if err := q.done(); err != nil {
		return err
	}
	st, err := p.State(r.Context())
	if err != nil {
		return err
	}
	stats := s.store.Stats()
	answer := partitionAnswer{
		Topic:               p.Topic().Name(),
		partitionInfo:       describeOne(&st.Info, countsOf(&stats, p.Topic().Name())[p.ID()]),
		FirstUnstableOffset: st.FirstUnstableOffset,
	}
	slices.SortStableFunc(st.Producers, byTxn)
	for _, p := range st.Producers {
		if p.CurrentTxnFirstOffset >= 0 {
			answer.State.OpenTxns++
		}
	}
	answer.State.Segments = listOf(st.Segments, newest(st.Segments, limit), func(g leat.SegmentInfo) segment {
		return segment{g.BaseOffset, g.Size}
	})
	answer.State.LeaderEpochs = listOf(st.LeaderEpochs, newest(st.LeaderEpochs, limit), func(e leat.LeaderEpoch) epoch {
		return epoch{e.Epoch, e.StartOffset}
	})
	answer.State.Producers = listOf(st.Producers, st.Producers[:min(limit, len(st.Producers))], func(p leat.ProducerState) producer {
		return producer{p.ProducerID, p.ProducerEpoch, p.LastTimestamp, p.CurrentTxnFirstOffset}
	})
	answer.State.AbortedTxns = listOf(st.AbortedTxns, newest(st.AbortedTxns, limit), func(a leat.TxnIndexEntry) aborted {
		return aborted{a.ProducerID, a.FirstOffset, a.LastOffset}
	})
	return answerJSON(w, http.StatusOK, answer)
}

// byTxn puts those first that hold readers back, the one that does so longest
// before all, and then those that appended last.
func byTxn(a, b leat.ProducerState) int {
	openA, openB := a.CurrentTxnFirstOffset >= 0, b.CurrentTxnFirstOffset >= 0
	switch {
	case openA && openB:
		return cmp.Compare(a.CurrentTxnFirstOffset, b.CurrentTxnFirstOffset)
	case openA:
		return -1
	case openB:
		return 1
	}
	return cmp.Compare(b.LastTimestamp, a.LastTimestamp)
}

// newest is the end of a list whose oldest comes first.
func newest[T any](all []T, limit int) []T { return all[max(len(all)-limit, 0):] }

func listOf[T, U any](all, told []T, of func(T) U) listed[U] {
	l := listed[U]{Count: len(all), List: make([]U, 0, len(told))}
	for _, one := range told {
		l.List = append(l.List, of(one))
	}
	return l
}
