package leat

import (
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
)

// OpenReadOnly opens a store for reading, also while another process, or this
// one, has it open for writing: it follows the writer. It takes no lock and
// writes nothing, so that the directory may be read-only, and any number of
// followers may be there; neither they nor the writer notice one another.
//
// All that reads works as in the writer's own process, up to the writer's high
// watermark, each batch whole or not at all. What only a power cut can take back
// may be seen: records of Written topics before they are durable. Everything
// that writes is ErrReadOnly.
//
// A reader that waits polls, with pauses of 1 to 100 ms. Topics that the writer
// makes or deletes are noticed by Topic and Topics at once, by readers within
// 100 ms. When the writer takes records back (it truncates, or recovers from a
// power cut), readers behind them go on, and those beyond get an *OffsetError. They
// are told apart by leader epochs: of a topic with ExternalEpochs whose writer
// truncates and appends again in the same epoch, a follower may go on in what has
// taken the place of what it has read.
//
// The bytes are copied, not mapped, because the writer may cut files at any time.
//
// A directory that is none, or not of a store, is an error that matches
// fs.ErrNotExist.
func OpenReadOnly(dir string, opts *Options) (*Store, error) {
	fsys, err := vfs.OS(dir, vfs.Options{})
	if err != nil {
		return nil, err
	}
	s, err := openFollower(fsys, opts)
	if err != nil {
		return nil, errors.Join(err, fsys.Close())
	}
	return s, nil
}

// openFollower is openFS for reading.
func openFollower(fsys vfs.FS, opts *Options) (*Store, error) {
	s := newStore(vfs.NewReadOnly(fsys), opts)
	if err := s.openToRead(); err != nil {
		s.end()
		_ = s.follow.release() // nothing was written
		return nil, err
	}
	return s, nil
}

func (s *Store) openToRead() error {
	s.follow = &following{s: s, turn: make(chan struct{}, 1)}
	s.follow.state.fsys = s.fsys
	// No maps: the writer cuts files, and touching a map beyond the end is a fault.
	s.env = log.NewEnv(log.EnvOptions{FS: s.fsys, Logger: s.logger, Writer: log.WriterPwrite,
		Observer: s.opts.Observer.forLog()})
	if err := s.isStore(); err != nil {
		return err
	}
	if err := s.finished(); err != nil {
		return err
	}
	s.readCheckpoints()
	s.follow.state.refresh()
	return s.follow.catalog()
}

// isStore tells whether there is anything of a store in the directory.
func (s *Store) isStore() error {
	list, err := s.fsys.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range list {
		_, _, folder := parseFolder(e.Name)
		if e.IsDir() && folder || e.Name == propertiesName || e.Name == stateName {
			return nil
		}
	}
	return fmt.Errorf("leat: %s is no store: %w", s.fsys.Path("."), fs.ErrNotExist)
}

// following is what a store that is open for reading knows of its writer.
type following struct {
	s     *Store
	state stateView

	looked atomic.Int64  // when the state was looked at last
	turn   chan struct{} // a lock that is held while the catalog is read
	// What follows is guarded by turn.
	meta    *log.Log // nil: there is no __metadata yet
	cur     *log.Cursor
	end     int64 // of what has been replayed
	records map[string]*topicRecord
	adopted bool
	stale   bool      // what was replayed is worth nothing
	read    time.Time // up to when all was replayed
	shown   map[string]*topicRecord
}

// open opens a partition. The caller has filled p.opening.
func (f *following) open(p *Partition, folder string) (*log.Log, error) {
	s, t := f.s, p.topic
	b, err := readSmall(s.fsys, folder+"/"+partitionMetadata)
	if err == nil && b != nil {
		var id TopicID
		if id, err = parsePartitionMetadata(b); err == nil && id != t.id {
			return nil, &CorruptError{Path: s.fsys.Path(folder), Offset: -1,
				Err: fmt.Errorf("the folder is of topic id %v, and topic %s has id %v", id, t.name, t.id)}
		}
	}
	if err != nil {
		s.logger.Warn("file ignored", "file", s.fsys.Path(folder+"/"+partitionMetadata), "err", err)
	}
	_, start, _ := s.found.of(log.TopicPartition{Topic: t.name, Partition: p.id})
	l, err := log.OpenFollower(s.env, folder, t.logConfig(p.id), log.FollowState{
		Told: f.state.teller(lineKey(t.id, p.id)), Tick: f.look,
		StartOffset: start, Sound: !t.adopted,
	})
	if errors.Is(err, fs.ErrNotExist) {
		if _, serr := s.fsys.Stat(folder); errors.Is(serr, fs.ErrNotExist) {
			return nil, &CorruptError{Path: s.fsys.Path(folder), Offset: -1, Err: errors.New("the folder of the partition is gone")}
		}
	}
	if err != nil {
		return nil, within(err, "open %s", folder)
	}
	p.log.Store(l)
	return l, nil
}

// explain makes of the error of an open what it means: files are gone, because
// the topic is. So may be the beginning of what could be opened. The caller has
// not filled p.opening.
func (f *following) explain(p *Partition, err error) error {
	if f == nil || err == nil && p.log.Load().LogStartOffset() <= 0 {
		return err
	}
	pause := time.Millisecond
	for begun := time.Now(); !f.look(true) && time.Since(begun) < lookWait; pause = min(2*pause, lookEvery) {
		time.Sleep(pause)
	}
	if p.topic.deleted.Load() {
		return unknownTopic(p.topic.name)
	}
	return err
}

// lookWait is how long an open that looks wrong waits for a writer that recovers
// to say whether the topic is still there.
const lookWait = time.Second

// close ends a store that was open for reading. Nothing is written.
func (f *following) close() error {
	return errors.Join(f.release(), f.s.fsys.Close())
}

func (f *following) release() error {
	s := f.s
	errs := []error{closeAll(s.openLogs())}
	if f.meta != nil {
		f.cur.Close()
		errs = append(errs, f.meta.Close())
	}
	f.state.close()
	s.env.Close()
	return errors.Join(errs...)
}
