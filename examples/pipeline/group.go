package main

import (
	"context"
	"fmt"

	"github.com/leatlog/leat"
)

const group = "workers"

// newLedger opens the books where the group has stopped.
func newLedger(st *leat.Store, topic *leat.Topic) (*ledger, error) {
	l := &ledger{groups: st.Groups(), parts: make([]account, topic.Config().Partitions)}
	for p := range topic.Partitions() {
		l.parts[p.ID()] = account{Partition: p, began: p.LogEndOffset()}
		l.at = append(l.at, leat.Position{Topic: topic.Name(), Partition: p.ID()})
	}
	at, err := l.fetch()
	for i, p := range at {
		l.parts[i].next = max(p.Offset, l.parts[i].LogStartOffset())
	}
	return l, err
}

// fetch tells what the group has committed: -1 where nothing is.
func (l *ledger) fetch() ([]leat.Position, error) {
	return l.groups.Fetch(context.Background(), group, true, l.at...) // also when the run was stopped
}

// backlog is what the group has yet to do: records, bytes on the disk, and the age
// of the oldest.
func (l *ledger) backlog() (all leat.Lag, err error) {
	at, err := l.fetch()
	for i, p := range at {
		lag, err := l.parts[i].Lag(p.Offset, leat.ReadCommitted)
		if err != nil {
			return all, err
		}
		all.Records += lag.Records
		all.Bytes += lag.Bytes
		all.Time = max(all.Time, lag.Time)
	}
	return all, err
}

// committed checks that the group has committed what was processed, and no more.
func (l *ledger) committed() error {
	at, err := l.fetch()
	for i, p := range at {
		next := l.parts[i].position()
		if p.Offset != next && (p.Offset >= 0 || next > l.parts[i].LogStartOffset()) {
			return fmt.Errorf("%v: processed up to offset %d, and committed %d", l.parts[i].Partition, next, p.Offset)
		}
	}
	return err
}
