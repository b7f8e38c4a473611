package leat

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
	"github.com/leatlog/leat/segment"
)

// RepairOptions say whether a repair is one. The zero value, and nil, are a dry
// run.
type RepairOptions struct {
	// Apply does what is told. Without it nothing is changed.
	Apply bool
}

// RepairStep is one thing that Repair does, or would do.
type RepairStep struct {
	// Topic and Partition say whose folder it is in.
	Topic     string
	Partition int32

	Path     string // full path of the file or folder concerned
	Position int64  // in the file, in bytes; -1: the file as a whole
	End      int64  // behind what is concerned at Position; -1: not known
	Offset   int64  // the first offset concerned; -1: none
	Next     int64  // the first offset behind what is concerned; -1: not known

	What string // what is wrong
	Do   string // what is done about it
	// Quarantine is the file in the folder that keeps what is taken out; "" when
	// nothing is.
	Quarantine string
	Done       bool  // it is done, and survives a power cut
	Err        error // why nothing can be done about it
}

// String is one line.
func (r RepairStep) String() string {
	s := r.Path
	if r.Position >= 0 {
		s += fmt.Sprintf(" at position %d", r.Position)
		if r.End > r.Position {
			s += fmt.Sprintf(", %d bytes", r.End-r.Position)
		}
	}
	if r.Offset >= 0 {
		s += fmt.Sprintf(" (offset %d)", r.Offset)
	}
	if s += ": " + r.What; r.Err != nil {
		return s + ": not mended: " + strings.TrimPrefix(r.Err.Error(), "leat: ")
	}
	if s += ": " + r.Do; r.Quarantine != "" {
		s += ", kept in " + r.Quarantine
	}
	return s
}

// Repair makes a damaged store one that opens, and can be appended to, and loses
// as little as can be. It yields what it does; without RepairOptions.Apply it
// changes nothing, takes no lock, and yields what it would do.
//
//   - Of a segment, what is no sound batch is taken out, and the log goes on
//     behind a gap. No record gets another offset. Of a batch whose header alone
//     is wrong where its CRC does not reach (base offset, leader epoch), and what
//     is around it says what was there, the header is put right.
//   - What is missing stays missing: whole segments become gaps, a log that ends
//     below its durable end is taken to end there, under a new leader epoch, and
//     a partition whose files are all gone goes on, empty, where it ended.
//   - Indexes, producer snapshots, checkpoints and checksums are made anew.
//   - Topics that the record of topics (__metadata) has lost are adopted again
//     from their folders, as Open does with a broker's: their configuration is
//     lost, so that they have unlimited retention.
//
// What is taken out is kept in the partition's folder, in files named
// <base offset>.<position>.quarantine. What a crash leaves, torn tails too, is no
// damage, and settled as Open does.
//
// A repair that is interrupted leaves everything mended or as it was. Another one
// finishes it.
//
// The errors to expect are ErrLocked: the store is open (with Apply); ErrNoSpace;
// fs.ErrNotExist: there is no store; ErrUnfinished; and ctx's. An error ends it.
func Repair(ctx context.Context, dir string, opts *RepairOptions) iter.Seq2[RepairStep, error] {
	var o RepairOptions
	if opts != nil {
		o = *opts
	}
	return func(yield func(RepairStep, error) bool) {
		r := &repairing{ctx: ctx, dir: dir, apply: o.Apply, yield: yield}
		if err := r.run(); err != nil && err != errStopped {
			yield(RepairStep{}, within(openError(err), "repair %s", dir))
		}
	}
}

// errStopped: who ranges over the steps wants no more.
var errStopped = errors.New("stopped")

// repairing is a repair under way.
type repairing struct {
	ctx   context.Context
	dir   string
	apply bool
	yield func(RepairStep, error) bool

	s       *Store // with apply one that has the lock, else for reading
	env     *log.Env
	state   stateView
	catalog *Store // to be read; nil: it cannot be
	// mended are the partitions that are to be recovered.
	mended map[log.TopicPartition]bool
	// found is the damage that a check has found; told are the paths that steps have
	// been about.
	found []Finding
	told  map[string]bool
	all   bool // partitions are to be opened, since files of the store's own are wrong
}

func (r *repairing) run() (err error) {
	fsys, err := vfs.OS(r.dir, vfs.Options{})
	if err != nil {
		return err
	}
	if !r.apply {
		fsys = vfs.NewDraft(fsys)
	}
	r.mended, r.told = map[log.TopicPartition]bool{}, map[string]bool{}
	s := newStore(fsys, nil)
	s.still = true
	r.s = s
	opened := false
	defer func() {
		r.state.close()
		if r.catalog != nil {
			err = errors.Join(err, r.catalog.Close())
		}
		if r.env != nil {
			r.env.Close()
		}
		if opened {
			if cerr := s.Close(); cerr != nil || err != nil {
				err = errors.Join(err, cerr)
				return
			}
			err = r.again()
			return
		}
		if r.apply {
			s.abandon()
		} else {
			s.end()
		}
		err = errors.Join(err, fsys.Close())
	}()
	if err := s.isStore(); err != nil {
		return err
	}
	if _, err := fsys.Stat(unfinishedName); err == nil {
		return fmt.Errorf("%w: %s", ErrUnfinished, r.dir)
	}
	if r.apply {
		if s.lock, err = lock(fsys, 0); err != nil {
			return err
		}
	}
	if err := r.check(fsys); err != nil || len(r.found) == 0 {
		return err
	}
	if r.apply {
		if err := s.begin(); err != nil {
			return err
		}
	} else {
		_, cerr := fsys.Stat(cleanName)
		s.clean = cerr == nil
		s.readCheckpoints()
	}
	r.env = log.NewEnv(log.EnvOptions{FS: fsys, Writer: log.WriterPwrite})
	r.state.fsys = fsys
	r.state.refresh()
	if err := r.topics(); err != nil {
		return err
	}
	if !r.apply {
		return r.others()
	}
	r.env.Close()
	r.env = nil
	if err := s.openTopics(); err != nil {
		return err
	}
	opened = true
	return r.recover()
}

// check finds what there is to be done. Nobody writes meanwhile: with apply the
// lock is taken, else the check sees to it.
func (r *repairing) check(fsys vfs.FS) error {
	c := &checker{ctx: r.ctx, fsys: vfs.NewDraft(fsys), locked: r.apply}
	c.yield = func(f Finding, err error) bool {
		if err != nil {
			return true // again says so
		}
		inRoot := f.Kind == log.FindingCheckpoint || f.Kind == log.FindingState || f.Kind == log.FindingProperties
		if f.Severity == SeverityDamage || f.Kind == log.FindingFolder && r.hasData(f.Path) {
			r.found = append(r.found, f)
			r.all = r.all || inRoot
		}
		return true
	}
	c.env = log.NewEnv(log.EnvOptions{FS: c.fsys, MaxMaps: vfs.MaxMaps(), Writer: log.WriterPwrite})
	defer c.env.Close()
	return c.run()
}

// again tells of what is left when all is done.
func (r *repairing) again() error {
	if err := r.others(); err != nil {
		return err
	}
	for f, err := range Check(r.ctx, r.dir, nil) {
		if r.ctx.Err() != nil {
			return r.ctx.Err()
		}
		step := RepairStep{Topic: f.Topic, Partition: f.Partition, Path: f.Path, Position: f.Position, End: f.End,
			Offset: f.Offset, Next: f.Next, What: f.What, Err: errNotMended}
		switch {
		case err != nil:
			step = RepairStep{Path: r.dir, Partition: -1, Position: -1, End: -1, Offset: -1, Next: -1, What: "it could not be looked at", Err: err}
		case f.Severity != SeverityDamage:
			continue
		}
		if err := r.tell(step); err != nil {
			return err
		}
	}
	return nil
}

var errNotMended = errors.New("there is no way to mend it")

// hasData tells of a folder of no topic whether there is anything to be adopted.
func (r *repairing) hasData(path string) bool {
	bare, err := r.s.unfinished(filepath.Base(path))
	return err == nil && !bare
}

// others tells of what opening the store will mend, or nothing.
func (r *repairing) others() error {
	for _, f := range r.found {
		if r.told[f.Path] || f.Topic != "" && r.told[r.s.fsys.Path(folderName(f.Topic, f.Partition))] {
			continue
		}
		do := f.Repair
		if do == "" {
			do = "make it anew when the store is opened"
		}
		if err := r.tell(RepairStep{Topic: f.Topic, Partition: f.Partition, Path: f.Path, Position: f.Position, End: f.End,
			Offset: f.Offset, Next: f.Next, What: f.What, Do: do, Done: r.apply}); err != nil {
			return err
		}
	}
	return nil
}

// topics goes through all partitions, the record of topics first.
func (r *repairing) topics() error {
	list, err := r.s.fsys.ReadDir(".")
	if err != nil {
		return err
	}
	folders := map[string][]int32{}
	for _, e := range list {
		if topic, id, ok := parseFolder(e.Name); ok && e.IsDir() {
			folders[topic] = append(folders[topic], id)
		}
	}
	if slices.Contains(folders[metadataTopic], 0) {
		meta := metadataTopicOf(r.s)
		if err := r.partition(meta, 0, true); err != nil {
			return err
		}
	}
	if err := r.openCatalog(); err != nil {
		return err
	}
	known := map[string]*Topic{}
	if r.catalog != nil {
		for _, t := range r.catalog.topics() {
			known[t.name] = t
		}
	}
	for name, ids := range folders {
		if known[name] == nil && name != metadataTopic {
			t := r.s.adopted(name, ids)
			known[name] = t
			if r.catalog != nil {
				if err := r.ownerless(t, ids); err != nil {
					return err
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		t := known[name]
		for id := range t.ids() {
			if err := r.partition(t, id, slices.Contains(folders[name], id)); err != nil {
				return err
			}
		}
	}
	return nil
}

// openCatalog reads the record of topics. One that cannot be read as a whole is
// set aside.
func (r *repairing) openCatalog() error {
	c, err := OpenReadOnly(r.dir, nil)
	if err == nil {
		r.catalog = c
		return nil
	}
	if !errors.Is(err, ErrCorrupt) {
		return err
	}
	folder := folderName(metadataTopic, 0)
	if len(r.told) > 0 && !r.apply {
		return r.tell(RepairStep{Topic: metadataTopic, Path: r.s.fsys.Path(folder), Position: -1, End: -1, Offset: -1, Next: -1,
			What: "the record of topics cannot be read before it is mended", Do: "adopt the topics that it has lost from their folders"})
	}
	step := RepairStep{Topic: metadataTopic, Path: r.s.fsys.Path(folder), Position: -1, End: -1, Offset: -1, Next: -1,
		What: err.Error(), Do: "set all of it aside, and adopt the topics from their folders",
		Quarantine: "<base offset>.0.quarantine"}
	if r.apply && !r.mended[log.TopicPartition{Topic: metadataTopic}] {
		if err := log.SetAside(r.env, folder); err != nil {
			return err
		}
		if err := r.forget(metadataTopicOf(r.s), 0, -1, 0); err != nil {
			return err
		}
		step.Done = true
	}
	return r.tell(step)
}

// ownerless is for folders of no topic, which are adopted.
func (r *repairing) ownerless(t *Topic, ids []int32) error {
	for _, id := range ids {
		folder := folderName(t.name, id)
		if bare, err := r.s.unfinished(folder); err != nil || bare {
			continue // a create that was never committed
		}
		return r.tell(RepairStep{Topic: t.name, Partition: id, Path: r.s.fsys.Path(folder), Position: -1, End: -1, Offset: -1, Next: -1,
			What: "the folder is of no topic", Do: "adopt it, as a topic of id " + t.id.String() + " with unlimited retention", Done: r.apply})
	}
	return nil
}

func (r *repairing) tell(s RepairStep) error {
	r.told[s.Path] = true
	if !r.yield(s, nil) {
		return errStopped
	}
	return r.ctx.Err()
}

// partition repairs one partition, up to its recovery.
func (r *repairing) partition(t *Topic, id int32, there bool) error {
	s := r.s
	folder := folderName(t.name, id)
	words := r.state.teller(lineKey(t.id, id))()
	recovery, start, _ := s.found.of(log.TopicPartition{Topic: t.name, Partition: id})
	st := log.RepairState{Durable: recovery, StartOffset: start, Adopted: t.adopted}
	if words.Known {
		st.Durable, st.StartOffset = max(recovery, words.Durable), max(start, words.Start)
	}
	bad := map[[2]int64]bool{}
	st.Wrong = map[string]string{}
	st.Bad = func(base, pos int64) bool { return bad[[2]int64{base, pos}] }
	for _, f := range r.found {
		if f.Topic != t.name || f.Partition != id {
			continue
		}
		name := filepath.Base(f.Path)
		if base, suffix, ok := segment.ParseName(name); ok && suffix == segment.LogSuffix {
			if f.Kind == log.FindingRecords {
				bad[[2]int64{base, f.Position}] = true
			}
		} else if ok {
			st.Wrong[name] = f.What
		} else if name == partitionMetadata && there {
			if err := r.partitionID(t, id, f); err != nil {
				return err
			}
		}
	}
	path := s.fsys.Path(folder)
	step := RepairStep{Topic: t.name, Partition: id, Path: path, Position: -1, End: -1, Offset: -1, Next: -1}
	if !there {
		step.What = "the folder of the partition is gone"
		end := max(st.Durable, st.StartOffset, 0)
		step.Do = fmt.Sprintf("make an empty one, which goes on at offset %d", end)
		if r.apply {
			if err := r.makeFolder(t, id, folder); err != nil {
				return err
			}
		} else {
			return r.tell(step)
		}
		step.Done = true
		if err := r.tell(step); err != nil {
			return err
		}
	}
	plan, err := log.PlanRepair(r.ctx, r.env, folder, t.logConfig(id), st)
	if errors.Is(err, ErrUnsupported) || errors.Is(err, vfs.ErrType) || errors.Is(err, ErrCorrupt) {
		step.What, step.Err = "it cannot be looked at", err
		return r.tell(step)
	}
	if err != nil {
		return err
	}
	if r.apply && len(plan.Steps) > 0 {
		if err := plan.Apply(r.ctx); err != nil {
			return within(err, "%s", folder)
		}
		if err := r.forget(t, id, plan.From, max(st.StartOffset, 0)); err != nil {
			return err
		}
	}
	if !there {
		return nil // it is told
	}
	for _, x := range plan.Steps {
		if err := r.tell(RepairStep{Topic: t.name, Partition: id, Path: x.Path, Position: x.Position, End: x.End,
			Offset: x.Offset, Next: x.Next, What: x.What, Do: x.Do, Quarantine: x.Quarantine, Done: r.apply}); err != nil {
			return err
		}
	}
	return nil
}

// partitionID makes the file with the topic id say what the record of topics says.
func (r *repairing) partitionID(t *Topic, id int32, f Finding) error {
	if r.apply {
		if err := log.WriteFile(r.s.fsys, t.handle(id).String()+"/"+partitionMetadata, formatPartitionMetadata(t.id)); err != nil {
			return err
		}
	}
	return r.tell(RepairStep{Topic: t.name, Partition: id, Path: f.Path, Position: -1, End: -1, Offset: -1, Next: -1,
		What: f.What, Do: "let it say " + t.id.String() + ", as the record of topics does", Done: r.apply})
}

func (r *repairing) makeFolder(t *Topic, id int32, folder string) error {
	s := r.s
	if err := s.fsys.Mkdir(folder); err != nil {
		return err
	}
	if err := log.WriteFile(s.fsys, folder+"/"+partitionMetadata, formatPartitionMetadata(t.id)); err != nil {
		return err
	}
	return s.fsys.SyncDir(".")
}

// forget makes the next open recover a partition from an offset on.
func (r *repairing) forget(t *Topic, id int32, from, start int64) error {
	s := r.s
	tp := log.TopicPartition{Topic: t.name, Partition: id}
	s.found.Lock()
	delete(s.found.recovery, tp)
	delete(s.found.cleaner, tp) // the log may end before that, and grow beyond it
	if from >= 0 {
		s.found.recovery[tp] = from
	}
	if start > 0 {
		s.found.start[tp] = start
	}
	s.found.Unlock()
	// A checkpoint that is lower than the words is no harm; the reverse would be.
	if err := s.checkpoint(); err != nil {
		return err
	}
	s.state.release(lineKey(t.id, id))
	if err := s.state.sync(); err != nil {
		return err
	}
	r.mended[tp] = true
	return nil
}

// recover opens what was mended and, unless the store was closed in order,
// everything else, and adopts the folders of no topic.
func (r *repairing) recover() error {
	s := r.s
	if err := s.adoptOwnerless(); err != nil {
		return err
	}
	for _, t := range s.topics() {
		for id := range t.ids() {
			if err := r.ctx.Err(); err != nil {
				return err
			}
			if s.clean && !r.all && !r.mended[log.TopicPartition{Topic: t.name, Partition: id}] {
				continue
			}
			p := t.handle(id)
			l, err := p.use()
			if err == nil && l.Damage() != nil {
				err = l.Damage()
			}
			if err != nil {
				step := RepairStep{Topic: t.name, Partition: id, Path: s.fsys.Path(p.String()), Position: -1, End: -1, Offset: -1, Next: -1,
					What: "it does not open", Err: err}
				if err := r.tell(step); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// adoptOwnerless makes topics of the folders that have data and no topic.
func (s *Store) adoptOwnerless() error {
	list, err := s.fsys.ReadDir(".")
	if err != nil {
		return err
	}
	folders := map[string][]int32{}
	for _, e := range list {
		topic, id, ok := parseFolder(e.Name)
		if !ok || !e.IsDir() || topic == metadataTopic || s.mu.topics[topic] != nil || s.doomed[topic] != nil {
			continue
		}
		if bare, err := s.unfinished(e.Name); err == nil && !bare {
			folders[topic] = append(folders[topic], id)
		}
	}
	if len(folders) == 0 {
		return nil
	}
	records := map[string]*topicRecord{}
	if err := s.adopt(records, folders); err != nil {
		return err
	}
	for _, rec := range records {
		t, err := s.makeTopic(rec)
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.mu.topics[rec.name] = t
		s.mu.Unlock()
	}
	return nil
}
