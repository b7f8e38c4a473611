package leat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
)

// unfinishedName is a file in the root of a directory that is to become a store.
// While it is there the directory is none, whatever else is in it: it is made
// first, and removed when everything else is durable.
const unfinishedName = "leat.unfinished"

// ErrUnfinished is an open of a directory in which a backup has not come to its
// end, because its process was killed. Remove the directory, and begin again.
var ErrUnfinished = errors.New("leat: the directory is a backup that was never finished")

// finished refuses a directory that is not a store yet.
func (s *Store) finished() error {
	_, err := s.fsys.Stat(unfinishedName)
	if errors.Is(err, fs.ErrNotExist) || err == nil && s.still {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%w: %s", ErrUnfinished, s.fsys.Path("."))
	}
	return err
}

// BackupOptions choose how a store is copied. The zero value is what most want.
type BackupOptions struct {
	// Copy: every file is copied, also where it could be shared by a hard link.
	// The copy then takes as much room as the store, and damage to one of the two
	// on the disk does not reach the other.
	Copy bool
	// Progress is told, from the goroutine that called Backup, how far it has come;
	// nil: nobody is.
	Progress func(BackupProgress)
}

// BackupProgress is how many bytes of batches are in the copy and checked, of how
// many there were when it began.
type BackupProgress struct{ Done, Total int64 }

// BackupReport is what a backup holds.
type BackupReport struct {
	Topics, Partitions, Segments int   // the store's own topics not counted
	Linked                       int64 // bytes of batches in files that are shared with the store
	Copied                       int64 // bytes of batches in files of its own
}

// Backup copies the store to a directory, as a store that was closed in order:
// Open scans nothing there, and finds what was durable here when Backup came by.
// Appends, reads, retention and everything else go on meanwhile; what a store
// that is open for writing has been given before the call is in the copy. A store
// from OpenReadOnly is copied as its writer has it, up to its durable end.
//
// Segments that are sealed are shared by hard links, where dir is on the same
// filesystem and Options do not forbid it: neither store ever changes a file that
// has a second name. The rest is copied. All of it is read on the way, and
// checked, batch by batch and against segments.sum.
//
// Each partition is copied at a moment of its own. What refers to others, the
// store's own topics, comes first, so that nothing in the copy refers to records
// that are not in it. A topic that is made meanwhile may be missing in the copy,
// and one that is deleted may be there as it was, or not at all.
//
// dir is made if it is not there, must be empty (else fs.ErrExist), and not lie
// in the store's directory (ErrInvalidConfig). When Backup returns nil the copy
// survives a power cut. After an error dir is empty again. If the process is
// killed, what there is of the copy is ErrUnfinished for all who open it.
//
// The errors to expect are *CorruptError: a store that is damaged is not copied,
// see Repair; ErrFailed, ErrNoSpace, ErrClosed, and ctx's.
func (s *Store) Backup(ctx context.Context, dir string, o BackupOptions) (_ BackupReport, err error) {
	if err := s.enter(); err != nil {
		return BackupReport{}, err
	}
	defer s.leave()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.retention.ctx, func() { cancel(ErrClosed) })() // Close waits for this
	b := &backup{s: s, o: o, topics: map[string]*backedUp{}}
	for _, name := range []*offsetLines{&b.recovery, &b.start, &b.watermark} {
		*name = offsetLines{}
	}
	err = b.run(ctx, dir)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err != nil {
		return BackupReport{}, within(openError(err), "backup to %s", dir)
	}
	return b.report, nil
}

// backup is one under way.
type backup struct {
	s      *Store
	o      BackupOptions
	to     vfs.FS
	report BackupReport
	done   BackupProgress

	topics map[string]*backedUp // that are in the copy
	// catalog: the store has a __metadata, which is in the copy too.
	catalog                    bool
	recovery, start, watermark offsetLines
	// cleaned is how far partitions were cleaned, at most: as of before they were
	// copied, since a cleaning may come by afterwards.
	cleaned offsetLines
}

// backedUp is a topic in the copy.
type backedUp struct {
	id         TopicID
	partitions map[int32]bool
}

func (b *backup) run(ctx context.Context, dir string) (err error) {
	s := b.s
	if err := outside(s.fsys, dir); err != nil {
		return err
	}
	v := s.opts.vfs()
	v.Create = true
	if b.to, err = vfs.OS(dir, v); err != nil {
		return err
	}
	defer func() {
		if b.to != nil { // not yet the store's that is made of it
			err = errors.Join(err, b.to.Close())
		}
	}()
	list, err := b.to.ReadDir(".")
	if err != nil {
		return err
	}
	if slices.ContainsFunc(list, func(e vfs.Info) bool { return e.Name == unfinishedName }) {
		return fmt.Errorf("%w: %w: remove it first", fs.ErrExist, ErrUnfinished)
	}
	if len(list) > 0 {
		return fmt.Errorf("%s is not empty: %w", b.to.Path("."), fs.ErrExist)
	}
	if err = b.copy(ctx); err == nil {
		err = b.finish(ctx)
	}
	if err != nil {
		return errors.Join(err, clearTree(dir, v))
	}
	return nil
}

// outside refuses a directory in the tree of a store.
func outside(fsys vfs.FS, dir string) error {
	if !vfs.IsOS(fsys) {
		return nil
	}
	root, err := filepath.EvalSymlinks(fsys.Path("."))
	if err != nil {
		return err
	}
	path, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for at, rest := path, ""; ; { // the last of it may not be there yet
		real, err := filepath.EvalSymlinks(at)
		if err == nil {
			path = filepath.Join(real, rest)
			break
		}
		up := filepath.Dir(at)
		if !errors.Is(err, fs.ErrNotExist) || up == at {
			return err
		}
		at, rest = up, filepath.Join(filepath.Base(at), rest)
	}
	if rel, err := filepath.Rel(root, path); err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return invalidConfig("%s lies in the directory of the store", path)
	}
	return nil
}

// clearTree removes what an error left, what says that it is nothing last.
func clearTree(dir string, o vfs.Options) error {
	o.Create = false
	fsys, err := vfs.OS(dir, o)
	if err != nil {
		return err
	}
	defer fsys.Close()
	list, err := fsys.ReadDir(".")
	for _, e := range list {
		if e.IsDir() {
			inside, rerr := fsys.ReadDir(e.Name)
			err = errors.Join(err, rerr)
			for _, f := range inside {
				err = errors.Join(err, fsys.Remove(e.Name+"/"+f.Name))
			}
		}
		if e.Name != unfinishedName {
			err = errors.Join(err, fsys.Remove(e.Name))
		}
	}
	if err == nil {
		err = errors.Join(fsys.SyncDir("."), fsys.Remove(unfinishedName))
	}
	return err
}

// stateTopics are the internal topics in the order in which they are copied:
// each refers to those behind it.
var stateTopics = []string{metadataTopic, "__transaction_state", "__share_group_state", "__consumer_offsets"}

// copy fills the directory with folders and checkpoints, of a store that was not
// closed.
func (b *backup) copy(ctx context.Context) error {
	s := b.s
	if err := log.WriteFile(b.to, unfinishedName, nil); err != nil {
		return err
	}
	if text, err := readSmall(s.fsys, propertiesName); err == nil && text != nil {
		if err := log.WriteFile(b.to, propertiesName, text); err != nil {
			return err
		}
	}
	b.count()
	b.cleaned = b.readCleaned()
	if err := b.copyCatalog(ctx); err != nil {
		return err
	}
	// Those that there are now: all that the copied catalog has, but for deletions.
	topics := s.topics()
	if s.isClosed() {
		return ErrClosed
	}
	order := func(t *Topic) int {
		if i := slices.Index(stateTopics, t.name); i >= 0 {
			return i
		}
		return len(stateTopics)
	}
	slices.SortStableFunc(topics, func(x, y *Topic) int { return order(x) - order(y) })
	for _, t := range topics {
		if err := b.copyTopic(ctx, t); err != nil {
			return err
		}
	}
	for i, o := range []offsetLines{b.recovery, b.start, b.watermark} {
		name := []string{recoveryName, startName, watermarkName}[i]
		if err := log.WriteFile(b.to, name, log.AppendOffsetCheckpoint(nil, o)); err != nil {
			return err
		}
	}
	b.done.Total = b.done.Done // some of it was room ahead of the batches
	b.progress(0)
	return b.copyCleaned()
}

// count adds up what there is to be copied.
func (b *backup) count() {
	add := func(folder string) {
		files, err := b.s.segmentFiles(folder)
		if err != nil {
			return // who copies it is told
		}
		for _, f := range files {
			b.done.Total += f.size
		}
	}
	add(folderName(metadataTopic, 0))
	for _, t := range b.s.topics() {
		for id := range t.ids() {
			add(folderName(t.name, id))
		}
	}
}

func (b *backup) progress(n int64) {
	b.done.Done += n
	b.done.Total = max(b.done.Total, b.done.Done)
	if b.o.Progress != nil {
		b.o.Progress(b.done)
	}
}

// copyCatalog copies __metadata, if there is one: Kafka has none.
func (b *backup) copyCatalog(ctx context.Context) error {
	meta := b.s.meta
	if f := b.s.follow; f != nil {
		f.look(true)
		f.turn <- struct{}{}
		meta = f.meta
		<-f.turn
	}
	if meta == nil {
		return nil
	}
	b.catalog = true
	_, err := b.copyLog(ctx, meta, metadataTopic, 0, false)
	return err
}

func (b *backup) copyTopic(ctx context.Context, t *Topic) error {
	c := &backedUp{id: t.id, partitions: map[int32]bool{}}
	var r BackupReport
	for id := range t.ids() {
		p := t.handle(id)
		l, err := p.use()
		if err == nil {
			var one log.Backup
			if one, err = b.copyLog(ctx, l, t.name, id, t.adopted); err == nil {
				r.Segments += one.Segments
				r.Linked += one.Linked
				r.Copied += one.Copied
			}
		}
		b.s.follow.look(true)
		if t.deleted.Load() && !b.s.isClosed() && ctx.Err() == nil {
			return nil // finish removes what there is of it, which may be another topic's
		}
		if err != nil {
			return within(p.fail(err), "%s", p)
		}
		r.Partitions++
		c.partitions[id] = true
	}
	b.topics[t.name] = c
	b.report.Topics++
	b.report.Partitions += r.Partitions
	b.report.Segments += r.Segments
	b.report.Linked += r.Linked
	b.report.Copied += r.Copied
	return nil
}

func (b *backup) copyLog(ctx context.Context, l *log.Log, topic string, id int32, adopted bool) (r log.Backup, err error) {
	folder := folderName(topic, id)
	if err := b.to.Mkdir(folder); err != nil {
		return r, err
	}
	tp := log.TopicPartition{Topic: topic, Partition: id}
	if b.s.follow == nil { // of a log that is not open the file is right
		generation := l.Generation()
		if point := b.s.found.cleanedAt(tp); point >= 0 {
			b.cleaned[tp] = point
		} else {
			delete(b.cleaned, tp)
		}
		defer func() {
			if l.Generation() != generation {
				delete(b.cleaned, tp)
			}
		}()
	}
	r, err = l.Backup(ctx, b.to, folder, log.BackupOptions{Links: !b.o.Copy, Adopted: adopted, Progress: b.progress})
	if err != nil {
		return r, err
	}
	b.recovery[tp], b.watermark[tp] = r.RecoveryPoint, r.End
	if r.Start > 0 {
		b.start[tp] = r.Start
	}
	return r, nil
}

// readCleaned is how far partitions have been cleaned.
func (b *backup) readCleaned() offsetLines {
	text, err := readSmall(b.s.fsys, cleanerName)
	if err != nil {
		return offsetLines{}
	}
	lines, err := log.ParseOffsetCheckpoint(text)
	if err != nil || lines == nil {
		return offsetLines{}
	}
	return lines
}

// copyCleaned writes down how far the copies have been cleaned. It is a hint, which
// must not be too high: what was taken back meanwhile has made it less.
func (b *backup) copyCleaned() error {
	kept, now := offsetLines{}, b.readCleaned()
	for tp, offset := range b.cleaned {
		after, ok := now[tp]
		end, copied := b.watermark[tp]
		if offset = min(offset, after); ok && copied && offset <= end {
			kept[tp] = offset
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return log.WriteFile(b.to, cleanerName, log.AppendOffsetCheckpoint(nil, kept))
}

// finish makes a store of the copy that was closed in order, by opening it as
// after a crash, and closing it.
func (b *backup) finish(ctx context.Context) (err error) {
	if err := b.to.SyncDir("."); err != nil {
		return err
	}
	ends := b.watermark
	o := Options{FileMode: b.s.opts.FileMode, Writer: b.s.opts.Writer, MaxMaps: b.s.opts.MaxMaps}
	st := newStore(b.to, &o)
	st.still = true
	if err := st.open(); err != nil {
		st.abandon()
		return err
	}
	to := b.to
	b.to = nil
	defer func() {
		if err != nil {
			err = errors.Join(err, st.Close())
		}
	}()
	if err := b.dropTopics(ctx, st); err != nil {
		return err
	}
	for _, t := range st.topics() {
		for id := range t.ids() {
			if err := ctx.Err(); err != nil {
				return err
			}
			p := t.handle(id)
			l, err := p.use()
			if err != nil {
				return err
			}
			if damage := l.Damage(); damage != nil {
				return damage
			}
			if end := ends[log.TopicPartition{Topic: t.name, Partition: id}]; l.LogEndOffset() != end {
				return &CorruptError{Path: to.Path(p.String()), Offset: l.LogEndOffset(),
					Err: fmt.Errorf("the copy ends here, and not at offset %d", end)}
			}
		}
	}
	path := to.Path(".")
	if err := st.Close(); err != nil {
		return err
	}
	return b.declare(path)
}

// dropTopics removes what the copied catalog has and the copy has not, since it
// was deleted, and the reverse, since it was made, while the rest was copied.
func (b *backup) dropTopics(ctx context.Context, st *Store) error {
	for _, t := range st.topics() {
		c := b.topics[t.name]
		whole := c != nil && (!b.catalog || c.id == t.id)
		for id := range t.ids() {
			whole = whole && c.partitions[id]
		}
		if !whole {
			if err := st.DeleteTopic(ctx, t.name); err != nil {
				return err
			}
		}
	}
	list, err := st.fsys.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range list {
		topic, id, ok := parseFolder(e.Name)
		if !ok || !e.IsDir() || topic == metadataTopic {
			continue
		}
		if t, err := st.Topic(topic); err == nil && t.has(id) {
			continue
		}
		if err := log.RemoveFolder(st.env, e.Name); err != nil {
			return err
		}
	}
	return nil
}

// declare says that the copy is one.
func (b *backup) declare(path string) (err error) {
	to, err := vfs.OS(path, b.s.opts.vfs())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if err := to.SyncDir("."); err != nil {
		return err
	}
	if err := to.Remove(unfinishedName); err != nil {
		return err
	}
	return to.SyncDir(".")
}
