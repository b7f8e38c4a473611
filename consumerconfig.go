package leat

import (
	"context"
	"fmt"
	"time"
)

// ConsumerConfig says what a consumer consumes, and how. In brackets are Kafka's
// names.
type ConsumerConfig struct {
	// Group is the consumer group that the consumer is a member of: its members
	// share the partitions of the topics, each has one owner at any time, and
	// positions are committed under its name. Several groups read the same topics
	// independently. Empty: none; the consumer has all the partitions of its Topics
	// for itself, or those of Assign, and cannot commit [group.id].
	Group string
	// Member is the member's name in the group, which no other may have at the same
	// time; empty: one is made up [group.instance.id].
	Member string

	// Topics, or all those whose whole name the regular expression Pattern matches,
	// later ones included, internal ones never. Neither: Assign says what to consume.
	Topics  []string
	Pattern string

	Start      Start      // where a partition begins that the group has not committed; the zero value is Earliest [auto.offset.reset]
	OutOfRange OutOfRange // what happens where retention has overtaken a position [auto.offset.reset]
	Isolation  Isolation  // [isolation.level]

	Balancer Balancer // who gets which partition; nil: Sticky [partition.assignment.strategy]
	// AutoCommit commits, at most so often, what the caller has come back from:
	// in Poll, what earlier calls gave. 0: never [auto.commit.interval.ms].
	AutoCommit time.Duration
	// PollTimeout is how long a member may stay away from Poll before its
	// partitions are given to others; 0: 5 minutes; Unlimited: for ever [max.poll.interval.ms].
	PollTimeout time.Duration

	MinBytes int           // that Poll waits for, in all partitions together; 0: any [fetch.min.bytes]
	MaxBytes int           // that Poll returns, about: the first batch comes whole; 0: 1 MiB [fetch.max.bytes]
	MaxWait  time.Duration // bounds the wait for MinBytes, from when there is something; 0: it is not bounded [fetch.max.wait.ms]

	// OnAssign and OnRevoke are called within Poll, on its caller's goroutine, when
	// partitions come and go: OnAssign with the positions where they will be read,
	// which Seek may change; OnRevoke with those reached, before others get the
	// partitions, so that they can be committed, and so by Close, too. Those of a
	// member that was away for too long are lost already: that is ErrRebalanced
	// [ConsumerRebalanceListener].
	OnAssign, OnRevoke func(ctx context.Context, c *Consumer, parts []Position)
}

// OutOfRange says what a consumer does when the log no longer has its position:
// retention has overtaken it, or the log was cut below it.
type OutOfRange uint8

const (
	OutOfRangeError    OutOfRange = iota // Poll returns an *OffsetError with the range there is, until Seek leads into it
	OutOfRangeEarliest                   // go on with the earliest record there is; what is left out is logged
	OutOfRangeLatest                     // go on with what comes from now on; what is left out is logged
)

func (o OutOfRange) String() string {
	switch o {
	case OutOfRangeError:
		return "error"
	case OutOfRangeEarliest:
		return "earliest"
	case OutOfRangeLatest:
		return "latest"
	}
	return fmt.Sprintf("OutOfRange(%d)", uint8(o))
}

// Balancer assigns the partitions of a group to its members. It is called with
// the group's lock held, whenever members, their subscriptions or the topics
// change: it must not call the store. Both lists are sorted; the offsets of parts
// mean nothing. Each partition must be given to one member, by its ID, that has
// subscribed to its topic; one that nobody gets is consumed by nobody. Any other
// answer, and a panic, is ErrInvalidAssignment for all members, and the
// assignment stays as it was. All members of a group need the same Balancer.
type Balancer interface {
	Assign(members []Member, parts []Position) map[string][]Position
}

// Member is a member of a group, for a Balancer.
type Member struct {
	ID     string
	Topics []string   // subscribed to, sorted; those of a Pattern are those that it matches now
	Owned  []Position // the partitions that are his now, or on their way to him, sorted
}
