package leat

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"sync"
	"time"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
)

// The files in a store's root that Kafka has as well. All but meta.properties
// are hints: one that cannot be read is named in the log and done without.
const (
	lockName       = ".lock"
	propertiesName = "meta.properties"
	cleanName      = ".kafka_cleanshutdown"
	recoveryName   = "recovery-point-offset-checkpoint"
	startName      = "log-start-offset-checkpoint"
	watermarkName  = "replication-offset-checkpoint"
	cleanerName    = "cleaner-offset-checkpoint"

	cleanText = `{"version":0,"brokerEpoch":-1}`
)

// checkpointInterval is Kafka's, for the first three of the files.
const checkpointInterval = time.Minute

// offsetLines are the lines of an offset checkpoint.
type offsetLines = map[log.TopicPartition]int64

// The places of the files in what follows.
const (
	recoveryText = iota
	startText
	watermarkText
	cleanerText
	checkpointFiles
)

var checkpointNames = [checkpointFiles]string{recoveryName, startName, watermarkName, cleanerName}

// checkpoints are the four files: as they were found at open, then as they
// were written last. Partitions that were not opened since keep their lines.
type checkpoints struct {
	sync.Mutex // of the maps; never held while the disk works

	recovery, start, watermark offsetLines
	cleaner                    offsetLines // see compactpoint.go

	// Guarded by Store.admin: the files' bytes, in this order, and whether they
	// have lines that were dropped here, which must not meet a new topic of the
	// same name.
	text  [checkpointFiles][]byte
	stale bool
}

// of is what the files say of a partition, -1 where they say nothing.
func (c *checkpoints) of(tp log.TopicPartition) (recovery, start, watermark int64) {
	c.Lock()
	defer c.Unlock()
	get := func(o offsetLines) int64 {
		if v, ok := o[tp]; ok {
			return v
		}
		return -1
	}
	return get(c.recovery), get(c.start), get(c.watermark)
}

// keep drops the lines of all partitions but those that f wants.
func (c *checkpoints) keep(f func(log.TopicPartition) bool) {
	c.Lock()
	defer c.Unlock()
	for _, o := range c.all() {
		had := len(o)
		maps.DeleteFunc(o, func(tp log.TopicPartition, _ int64) bool { return !f(tp) })
		c.stale = c.stale || len(o) < had
	}
}

// all are the files' lines, in order.
func (c *checkpoints) all() [checkpointFiles]offsetLines {
	return [...]offsetLines{c.recovery, c.start, c.watermark, c.cleaner}
}

// update takes the offsets of open logs over.
func (c *checkpoints) update(logs map[log.TopicPartition]*log.Log) {
	c.Lock()
	defer c.Unlock()
	for tp, l := range logs {
		c.recovery[tp] = l.RecoveryPoint()
		c.watermark[tp] = l.HighWatermark()
		// Kafka lists a start offset only when the first segment does not say it.
		if start := l.LogStartOffset(); start > l.OldestFile() {
			c.start[tp] = start
		} else {
			delete(c.start, tp)
		}
		// Here a truncation or a reset lowers it, before it touches a file.
		if point, ok := c.cleaner[tp]; ok && point > c.recovery[tp] {
			c.cleaner[tp] = c.recovery[tp]
		}
	}
}

// format is the content that the files should have.
func (c *checkpoints) format() (text [checkpointFiles][]byte) {
	c.Lock()
	defer c.Unlock()
	for i, o := range c.all() {
		text[i] = log.AppendOffsetCheckpoint(nil, o)
	}
	return text
}

// readSmall reads a file that must not be large; a missing one is nil, nil.
func readSmall(fsys vfs.FS, name string) (_ []byte, err error) {
	f, err := fsys.Open(name, vfs.ReadOnly)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > 256<<20 {
		return nil, &fs.PathError{Op: "read", Path: f.Path(), Err: errors.New("too large for what it is")}
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if isEOF(err) {
		err = nil
	}
	return b[:n], err
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

func (s *Store) readCheckpoints() {
	c := &s.found
	for i, into := range [...]*offsetLines{&c.recovery, &c.start, &c.watermark, &c.cleaner} {
		b, err := readSmall(s.fsys, checkpointNames[i])
		if err == nil {
			*into, err = log.ParseOffsetCheckpoint(b)
		}
		if err != nil {
			s.logger.Warn("checkpoint ignored", "path", s.fsys.Path(checkpointNames[i]), "err", err)
		}
		if *into == nil {
			*into = offsetLines{}
		}
		c.text[i] = b
	}
}

// checkpointHash is what leat.state knows the recovery point checkpoint by.
func checkpointHash(text []byte) uint64 {
	sum := sha256.Sum256(text)
	return binary.LittleEndian.Uint64(sum[:])
}

// checkpoint writes the four files, those of them that have changed, and makes
// the words of leat.state durable. The caller has filled admin.
func (s *Store) checkpoint() error {
	s.found.update(s.openLogs())
	text := s.found.format()
	hash := checkpointHash(text[0])
	if err := s.state.expect(hash); err != nil {
		return err
	}
	for i, name := range checkpointNames {
		if bytes.Equal(text[i], s.found.text[i]) {
			continue
		}
		if err := log.WriteFile(s.fsys, name, text[i]); err != nil {
			return err
		}
		s.found.text[i] = text[i]
		if i == recoveryText {
			s.state.replaced(hash)
		}
	}
	s.found.stale = false
	return nil
}

// touch is called after every append: a load, but for the first since the last
// checkpoint, which arms the timer of the next one.
func (s *Store) touch() {
	if !s.dirty.Load() {
		s.armCheckpoint()
	}
}

// It arms the cleaner as well, which goes on while appends come.
func (s *Store) armCheckpoint() {
	defer s.armCleaner(cleanInterval) // when mu is free again
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.follow != nil || s.mu.closed || s.dirty.Swap(true) {
		return
	}
	s.ops.Add(1)
	s.mu.timer = time.AfterFunc(checkpointInterval, func() {
		defer s.ops.Done()
		s.dirty.Store(false) // first: what is appended from here on asks for another
		s.admin <- struct{}{}
		err := s.checkpoint()
		<-s.admin
		if s.env.Settle() || err != nil {
			s.armCheckpoint()
		}
		if err != nil {
			s.logger.Error("checkpoint not written", "err", err)
			s.background(within(err, "checkpoint not written"))
		}
	})
}

// readProperties makes meta.properties when there is none. An existing one is
// left as it is: it is Kafka's, and names the cluster and the node.
func (s *Store) readProperties() error {
	b, err := readSmall(s.fsys, propertiesName)
	if err != nil {
		s.logger.Warn("file ignored", "path", s.fsys.Path(propertiesName), "err", err)
		return nil
	}
	if b == nil {
		text := fmt.Sprintf("version=1\ncluster.id=%v\nnode.id=0\ndirectory.id=%v\n", newTopicID(), newTopicID())
		return log.WriteFile(s.fsys, propertiesName, []byte(text))
	}
	return nil
}

// takeCleanMarker tells whether the store was closed cleanly, and removes the
// sign of it for good before anything is written.
func (s *Store) takeCleanMarker() error {
	_, err := s.fsys.Stat(cleanName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.clean = true
	if err := s.fsys.Remove(cleanName); err != nil {
		return err
	}
	return s.fsys.SyncDir(".")
}
