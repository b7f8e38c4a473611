package log

import (
	"errors"
	"io/fs"

	"github.com/leatlog/leat/index"
	"github.com/leatlog/leat/segment"
)

type abortedTxn = index.AbortedTxn

// encodeSnapshot is the producer state as a snapshot file keeps it.
func (l *Log) encodeSnapshot() []byte {
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	return AppendSnapshot(nil, l.producers.Snapshot())
}

// writeSnapshot writes the state that held at offset, and syncs the folder.
func (l *Log) writeSnapshot(offset int64, b []byte) error {
	if err := replaceFile(l.env.fsys, l.snapshotName(offset), b); err != nil {
		return err
	}
	return l.syncDir()
}

// readSnapshot reads the state that held at offset.
func (l *Log) readSnapshot(offset int64) ([]ProducerSnapshot, error) {
	b, err := readAll(l.env.fsys, l.snapshotName(offset), maxSidecar)
	if err != nil {
		return nil, err
	}
	return ParseSnapshot(b)
}

func (l *Log) removeSnapshot(offset int64) error {
	err := l.env.fsys.Remove(l.snapshotName(offset))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (l *Log) snapshotName(offset int64) string {
	return segment.Join(l.dir, segment.FileName(offset, segment.SnapshotSuffix))
}

// settleSnapshots leaves the snapshots that belong to the recovered log: those
// at the base of a segment, not below the start and not above the end (Kafka's
// LogLoader), and writes the one at the end, so that a crash loop does not
// replay the same batches each time.
func (o *opening) settleSnapshots(end int64) error {
	l := o.l
	bases := make(map[int64]bool)
	for _, s := range o.segs {
		bases[s.Base()] = true
	}
	start := max(o.segs[0].Base(), min(o.st.StartOffset, end))
	last := o.segs[len(o.segs)-1].Base()
	o.snapshots = append(o.snapshots, o.broken...)
	o.broken = nil
	newest := int64(-1) // of those that are at no base
	for _, s := range o.snapshots {
		if !bases[s] && s >= last && s <= end {
			newest = max(newest, s)
		}
	}
	for _, s := range o.snapshots {
		if s >= start && s > 0 && s <= end && (bases[s] || s == newest) {
			continue
		}
		if err := l.removeSnapshot(s); err != nil {
			return err
		}
	}
	if end > start {
		if err := l.writeSnapshot(end, l.encodeSnapshot()); err != nil {
			return spaceError(err)
		}
		l.snapshot = end
		if newest >= 0 && newest != end {
			return l.removeSnapshot(newest)
		}
	}
	return nil
}
