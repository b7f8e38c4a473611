package log

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Severity says whether a store is sound with what was found.
type Severity uint8

const (
	// Notice is worth knowing and no damage: what a crash leaves and the next open
	// settles by itself, files that are missing and made anew, files of others.
	Notice Severity = iota + 1
	// Damage is a file that says what is not true, or lacks what was durable.
	Damage
)

func (s Severity) String() string {
	switch s {
	case Notice:
		return "notice"
	case Damage:
		return "damage"
	}
	return fmt.Sprintf("Severity(%d)", uint8(s))
}

// FindingKind says what a finding is about, for programs: the text may change,
// these do not.
type FindingKind string

// Findings in the log itself. Position and End are the stretch of the file that
// is meant, Offset the first offset concerned, Next the first one behind.
const (
	FindingBatch   FindingKind = "batch"   // bytes that are no sound batch, in what was durable
	FindingRecords FindingKind = "records" // a batch with a good CRC whose records cannot be read
	FindingFormat  FindingKind = "format"  // a batch of another message format, or with a codec that is not known
	FindingEpoch   FindingKind = "epoch"   // a batch with a leader epoch that did not hold at its offset
	FindingMissing FindingKind = "missing" // offsets, or a whole segment, that are not there and were
	FindingEnd     FindingKind = "end"     // the log ends below what was durable
	FindingSum     FindingKind = "sum"     // a sealed log file is not the one that was sealed, and nothing says where
	FindingTail    FindingKind = "tail"    // bytes behind the last sound batch, above what is known to be durable
)

// Findings in the files beside it, which all follow from the log.
const (
	FindingIndex    FindingKind = "index"    // an offset index or a time index
	FindingTxns     FindingKind = "txns"     // a transaction index
	FindingSnapshot FindingKind = "snapshot" // a producer snapshot
	FindingEpochs   FindingKind = "epochs"   // leader-epoch-checkpoint
	FindingSums     FindingKind = "sums"     // segments.sum
	FindingID       FindingKind = "id"       // partition.metadata
)

// Findings in a store around its partitions.
const (
	FindingCheckpoint FindingKind = "checkpoint" // one of the offset checkpoints, or a line of it
	FindingState      FindingKind = "state"      // leat.state, or a line of it
	FindingProperties FindingKind = "properties" // meta.properties
	FindingTopics     FindingKind = "topics"     // a record of __metadata
	FindingFolder     FindingKind = "folder"     // a folder of no topic, or a partition without its folder
)

// Findings of files that are no part of the log.
const (
	FindingUnclean    FindingKind = "unclean"    // not closed in order: the next open recovers
	FindingLeftover   FindingKind = "leftover"   // of work that was interrupted; the next open finishes or undoes it
	FindingQuarantine FindingKind = "quarantine" // what a recovery or a repair has put aside
	FindingUnknown    FindingKind = "unknown"    // not of a store; left alone
)

// Finding is one thing that a check has found.
type Finding struct {
	Severity Severity
	Kind     FindingKind

	// Topic and Partition say whose folder it is in; "" and -1 in the store's own
	// files, and in a folder whose name does not say.
	Topic     string
	Partition int32

	Path     string // full path of the file or folder
	Position int64  // in the file, in bytes; -1: the file as a whole
	End      int64  // behind what is meant at Position; -1: it has no end that could be told
	Offset   int64  // the first offset concerned; -1: none, or not known
	Next     int64  // the first offset behind what is concerned; -1: none, or not known

	What   string // what is wrong
	Repair string // what can be done about it, or will be
}

// String is one line.
func (f Finding) String() string {
	path := f.Path
	if strings.ContainsFunc(path, unicode.IsControl) {
		path = strconv.Quote(path) // a name of a file that somebody else made
	}
	s := fmt.Sprintf("%s: %s", f.Severity, path)
	if f.Position >= 0 {
		s += fmt.Sprintf(" at position %d", f.Position)
	}
	if f.Offset >= 0 {
		s += fmt.Sprintf(" (offset %d)", f.Offset)
	}
	s += ": " + f.What
	if f.Repair != "" {
		s += "; " + f.Repair
	}
	return s
}
