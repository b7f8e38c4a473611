package log

import (
	"strings"

	"github.com/leatlog/leat/segment"
)

// leftovers judges the names in the folder: what is no part of the log is not
// opened.
func (j *judge) leftovers() {
	logs := make(map[int64]bool)
	for _, info := range j.infos {
		if base, suffix, ok := segment.ParseName(info.Name); ok && suffix == segment.LogSuffix {
			logs[base] = true
		}
	}
	for _, info := range j.infos {
		base, suffix, ok := segment.ParseName(info.Name)
		f := j.inFile(Notice, FindingLeftover, info.Name, "")
		switch {
		case strings.HasSuffix(info.Name, quarantineSuffix) && ok:
			f.Kind, f.What = FindingQuarantine, "bytes that a recovery or a repair has put aside"
		case info.Name == segment.PreparedName:
			f.What = "a segment that was made in advance"
		case isTemporary(info.Name):
			f.What = "a file that was being written"
		case ok && strings.HasSuffix(info.Name, deletedSuffix):
			f.What = "a file that was being deleted"
		case ok && strings.HasSuffix(info.Name, cleanedSuffix):
			f.What = "a segment that compaction had not finished"
		case ok && strings.HasSuffix(info.Name, swapSuffix):
			f.What = "a segment of compaction that had not taken its place yet"
		case ok && suffix == segment.SnapshotSuffix, ok && suffix == segment.LogSuffix:
			continue // looked at; one that is no file cannot be
		case ok && isSegmentFile(suffix):
			if logs[base] {
				continue
			}
			f.What = "an index without a log file"
		case info.Name == epochsName, info.Name == sumsName, info.Name == idName, info.Name == importName, info.Name == StartName:
			continue
		default:
			f.Kind, f.What = FindingUnknown, "it is no file of a partition"
			if !info.Mode.IsRegular() {
				f.What = "it is no file of a partition (" + info.Mode.Type().String() + "), and was not opened"
			}
		}
		j.found(f)
	}
}

const (
	quarantineSuffix = ".quarantine"
	idName           = "partition.metadata"
	importName       = "leat.import" // of an import; see the store
)

// Repair says what can be done about a finding of a kind.
func (k FindingKind) Repair(s Severity) string {
	if s == Notice {
		switch k {
		case FindingTail:
			return "the next open cuts it off, and keeps it in a quarantine file"
		case FindingLeftover:
			return "the next open removes it, or puts it in its place"
		case FindingIndex, FindingTxns, FindingSnapshot, FindingEpochs:
			return "it is made anew when it is needed"
		case FindingQuarantine, FindingUnknown:
			return "it is left alone"
		}
		return ""
	}
	switch k {
	case FindingBatch, FindingRecords, FindingFormat:
		return "repair puts it aside in a quarantine file, and its offsets are lost"
	case FindingTail:
		return "repair puts it aside in a quarantine file"
	case FindingMissing, FindingEnd:
		return "repair cannot bring it back; it can make the log one that lacks these offsets"
	case FindingEpoch:
		return "repair gives the batch the epoch that held"
	case FindingSum:
		return "nothing says which bytes changed; compare with a backup, or have repair take the file as it is"
	case FindingIndex, FindingTxns, FindingSnapshot, FindingEpochs, FindingSums:
		return "repair makes it anew from the log"
	case FindingID, FindingCheckpoint, FindingState:
		return "repair writes it anew"
	}
	return ""
}
