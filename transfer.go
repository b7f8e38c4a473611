package leat

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
	"github.com/leatlog/leat/segment"
)

// Export copies the partition to a directory, as a folder that Kafka and Import
// take: all segments up to the log end of when it begins, indexes, producer
// state, leader epochs, partition.metadata. Appends, reads and retention go on
// meanwhile. Every batch is checked on the way, and all is synced when it
// returns nil.
//
// dir is made if it is not there, and must be empty (else fs.ErrExist). It must
// not lie in the directory of a store. If the log start offset lies within the
// first segment, a log-start-offset-checkpoint in the folder says so: Kafka has
// that file beside its folders, and that line has to be added there.
//
// The errors to expect are *CorruptError, for the partition or for a batch,
// ErrFailed, ErrNoSpace, ErrUnknownTopic (deleted), ErrClosed, and ctx's: what
// was copied is removed then.
func (p *Partition) Export(ctx context.Context, dir string) (err error) {
	l, err := p.change()
	if err != nil {
		return err
	}
	s := p.topic.store
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	o := s.opts.vfs()
	o.Create = true
	to, err := vfs.OS(dir, o)
	if err != nil {
		return openError(err)
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if list, err := to.ReadDir("."); err != nil {
		return err
	} else if len(list) > 0 {
		return fmt.Errorf("leat: export %s: %s is not empty: %w", p, to.Path("."), fs.ErrExist)
	}
	err = log.WriteFile(to, partitionMetadata, formatPartitionMetadata(p.topic.id))
	if err == nil {
		err = l.Export(ctx, to)
	}
	if err != nil {
		return within(errors.Join(openError(p.fail(err)), log.Clear(to)), "export %s", p)
	}
	return nil
}

// Import copies the folder of one partition, of Kafka's or from Export, into the
// store, as a partition of that number. A topic that is not there is made, as
// Open adopts one: under the id in partition.metadata if that is free, with
// unlimited retention, and with no other partition. To one that is there the
// partition is added; its configuration holds, retention included, and keys map
// to other partitions if the count rises.
//
// Nobody may write to dir meanwhile; it is only read. Every batch is checked, and
// indexes are made again. A torn tail of the last segment is cut off, as after a
// crash; damage before it is a *CorruptError. What is no file of Kafka's is left
// out; a link, or a folder, under such a name is an error.
//
// When Import returns nil the partition survives a power cut. After an error, or
// a crash, there is nothing of it, and it can be tried again. ErrTopicExists: the
// partition is there, or a folder with data where it would be.
func (s *Store) Import(ctx context.Context, topic string, id int32, dir string) (*Partition, error) {
	if s.follow != nil {
		return nil, ErrReadOnly
	}
	p, err := s.imports(ctx, topic, id, dir)
	if err != nil {
		return nil, within(openError(err), "import %s", dir)
	}
	return p, nil
}

// importing is an import under way.
type importing struct {
	s      *Store
	t      *Topic
	id     int32
	folder string
	from   vfs.FS
	files  []vfs.Info
	last   string // the last log file
	start  int64  // the log start offset, -1 if the first segment says it
	at     string // where the copy is

	began     bool // what is known of a partition of the name is ours
	undecided bool // the record may be there, and needs the folder
}

func (s *Store) imports(ctx context.Context, topic string, id int32, dir string) (_ *Partition, err error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if err := checkImport(topic, id); err != nil {
		return nil, err
	}
	from, err := vfs.OS(dir, vfs.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	i := &importing{s: s, id: id, folder: folderName(topic, id), from: from, start: -1,
		at: "import-0." + randomHex() + "-delete"}
	if err := i.list(); err != nil {
		return nil, err
	}
	if t, err := s.Topic(topic); err == nil && t.has(id) { // before a long copy is made in vain
		return nil, i.exists()
	}
	return i.run(ctx, topic)
}

func checkImport(topic string, id int32) error {
	if err := checkTopicName(topic); err != nil {
		return err
	}
	if topic == metadataTopic {
		return fmt.Errorf("%w: %q is the store's own", ErrInvalidTopic, topic)
	}
	if id < 0 || id == math.MaxInt32 { // with which the count would not fit
		return invalidConfig("the number of the partition is %d: allowed are 0 to %d", id, math.MaxInt32-1)
	}
	return checkFolderName(topic, id+1)
}

// list finds what is to be copied: log files, producer state and leader epochs.
// Everything else is made of them.
func (i *importing) list() error {
	infos, err := i.from.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range infos {
		_, suffix, ok := segment.ParseName(e.Name)
		suffix = strings.TrimSuffix(strings.TrimSuffix(suffix, ".swap"), ".cleaned")
		switch {
		case ok && (suffix == segment.LogSuffix || suffix == segment.SnapshotSuffix), e.Name == log.EpochsName:
			i.files = append(i.files, e)
		case ok && (suffix == segment.IndexSuffix || suffix == segment.TimeSuffix || suffix == segment.TxnSuffix),
			e.Name == partitionMetadata, e.Name == log.StartName:
		default:
			continue
		}
		if !e.Mode.IsRegular() {
			return &fs.PathError{Op: "import", Path: i.from.Path(e.Name), Err: vfs.ErrType}
		}
		if ok && strings.HasSuffix(e.Name, segment.LogSuffix) {
			i.last = e.Name // they are sorted
		}
	}
	if i.last == "" {
		return &CorruptError{Path: i.from.Path("."), Offset: -1, Err: errors.New("there is no segment in it")}
	}
	b, err := readSmall(i.from, log.StartName)
	if err != nil {
		return err
	}
	lines, err := log.ParseOffsetCheckpoint(b)
	if err != nil || len(lines) > 1 {
		return &CorruptError{Path: i.from.Path(log.StartName), Offset: -1, Err: errors.Join(err, errors.New("not one line"))}
	}
	for _, start := range lines {
		i.start = start
	}
	return nil
}

// target finds or makes the topic, and sees to it that the partition is free.
func (i *importing) target(topic string) error {
	s := i.s
	if err := s.finishDoomed(topic); err != nil {
		return err
	}
	s.mu.RLock()
	i.t = s.mu.topics[topic]
	used := map[TopicID]bool{}
	for _, t := range s.mu.topics {
		used[t.id] = true
	}
	s.mu.RUnlock()
	if i.t != nil && i.t.has(i.id) {
		return i.exists()
	}
	if i.t == nil {
		i.t = newTopic(s, topic, newTopicID(), adoptedConfig(1))
		i.t.adopted = true
		i.t.settings.Store(&settings{config: adoptedConfig(1), present: spans{}})
		b, err := readSmall(i.from, partitionMetadata)
		if err != nil {
			return err
		}
		if id, err := parsePartitionMetadata(b); err == nil && !used[id] {
			i.t.id = id
		}
	}
	if _, err := s.fsys.Stat(i.folder); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if ours, err := s.unfinished(i.folder); err != nil {
		return err
	} else if !ours {
		return fmt.Errorf("%w: %s has data in it, of no topic", ErrTopicExists, s.fsys.Path(i.folder))
	}
	return log.RemoveFolder(s.env, i.folder)
}

func (i *importing) exists() error {
	return fmt.Errorf("%w: it has a partition %d", ErrTopicExists, i.id)
}

// settings are the topic's with the partition.
func (i *importing) settings() *settings {
	now := *i.t.settings.Load()
	now.config.Partitions = max(now.config.Partitions, i.id+1)
	now.present = makeSpans(append(slices.Collect(i.t.ids()), i.id))
	if len(now.present) == 1 && now.present[0] == [2]int32{0, now.config.Partitions - 1} {
		now.present = nil
	}
	return &now
}

func (i *importing) key() log.TopicPartition {
	return log.TopicPartition{Topic: i.t.name, Partition: i.id}
}

// run copies the files under a name that any broker, and the next Open, deletes.
// Then the folder gets its own name, with a mark in it by which Open knows that
// it was never committed, and is recovered, which checks every batch; at last it
// is committed. Others may administer the store while it copies.
func (i *importing) run(ctx context.Context, topic string) (_ *Partition, err error) {
	s := i.s
	err = i.copy(ctx)
	if err == nil {
		err = s.administer(ctx)
	}
	if err != nil {
		i.undo()
		return nil, err
	}
	defer s.administered()
	defer func() {
		if err != nil {
			i.undo()
		}
	}()
	if err := i.target(topic); err != nil {
		return nil, err
	}
	l, err := i.open()
	if err != nil {
		return nil, err
	}
	now := i.settings()
	record, err := i.t.record(now, topicLive)
	if err == nil {
		err = s.commit(record)
		i.undecided = err != nil && !nothingWritten(err)
	}
	if err != nil {
		l.Abandon()
		return nil, err
	}
	p := i.t.handle(i.id)
	p.log.Store(l)
	i.t.replace(now)
	s.mu.Lock()
	s.mu.topics[i.t.name] = i.t
	s.mu.Unlock()
	if err := s.fsys.Remove(i.folder + "/" + importMark); err != nil {
		s.logger.Warn("file not removed", "file", s.fsys.Path(i.folder+"/"+importMark), "err", err)
	}
	return p, nil
}

func randomHex() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (i *importing) copy(ctx context.Context) error {
	s, folder := i.s, i.at
	if err := s.fsys.Mkdir(folder); err != nil {
		return err
	}
	for _, e := range i.files {
		f, err := log.CopyFile(ctx, i.from, e.Name, s.fsys, folder+"/"+e.Name, e.Size)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return err
		}
	}
	return log.WriteFile(s.fsys, folder+"/"+importMark, nil)
}

// open moves the folder into its place and recovers the log.
func (i *importing) open() (*log.Log, error) {
	s := i.s
	if err := log.WriteFile(s.fsys, i.at+"/"+partitionMetadata, formatPartitionMetadata(i.t.id)); err != nil {
		return nil, err
	}
	i.began = true
	i.forget()
	if i.start >= 0 {
		s.found.Lock()
		s.found.start[i.key()] = i.start
		s.found.Unlock()
	}
	// What the checkpoints said of another partition of the name must be gone, and
	// the log start offset must be there, before the partition is.
	if i.start >= 0 || s.found.stale {
		if err := s.checkpoint(); err != nil {
			return nil, err
		}
	}
	if err := s.fsys.Rename(i.at, i.folder); err != nil {
		return nil, err
	}
	i.at = i.folder
	if err := s.fsys.SyncDir("."); err != nil {
		return nil, err
	}
	state := s.openState(i.t, i.id)
	state.Adopted, state.New = true, false
	l, report, err := log.Open(s.env, i.folder, i.t.logConfig(i.id), state)
	if err != nil {
		return nil, err
	}
	s.report(i.folder, report)
	if c := damage(report.Cuts, i.last); c != nil {
		l.Abandon()
		return nil, &CorruptError{Path: i.from.Path(filepath.Base(c.Path)), Position: c.Position, Offset: c.Offset, Err: c.Reason}
	}
	return l, nil
}

// damage is the first of the cuts, if more was cut off than the tail of the last
// file: that is no interrupted append.
func damage(cuts []log.Cut, last string) *log.Cut {
	if !slices.ContainsFunc(cuts, func(c log.Cut) bool { return filepath.Base(c.Path) != last }) {
		return nil
	}
	first := slices.MinFunc(cuts, func(a, b log.Cut) int { return cmp.Compare(a.Offset, b.Offset) })
	return &first
}

// forget drops what is known of the partition.
func (i *importing) forget() {
	i.s.found.keep(func(tp log.TopicPartition) bool { return tp != i.key() })
	i.s.state.release(lineKey(i.t.id, i.id))
}

// undo removes the copy. The cause of it is what counts, so that what cannot be
// removed is only named: the next Open tries again.
func (i *importing) undo() {
	if i.undecided {
		return
	}
	if i.began {
		i.forget()
	}
	if err := log.RemoveFolder(i.s.env, i.at); err != nil {
		i.s.logger.Warn("folder not removed", "folder", i.s.fsys.Path(i.at), "err", err)
	}
}
