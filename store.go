package leat

import (
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
)

// Store is an open directory of topics. All methods may be called from many
// goroutines.
type Store struct {
	opts   Options
	fsys   vfs.FS
	logger *slog.Logger // never nil
	lock   io.Closer
	env    *log.Env
	state  *stateFile
	clean  bool // closed cleanly before this open
	// still: nothing is deleted or cleaned behind its back, and it may be one that
	// is not finished. It is a copy that is being made, or repaired.
	still bool

	// meta is __metadata. It is written to, and folders of topics are made and
	// removed, by whoever has put something into admin: a channel and not a
	// mutex, because it is held while the disk works.
	meta       *log.Log
	metaReport *log.Report // of its open, nil if there was nothing to be done
	admin      chan struct{}
	found      checkpoints // admin
	// follow is what a store that was opened for reading has in place of lock,
	// state and meta; nil otherwise.
	follow *following
	// doomed are the topics whose deletion is decided and not finished; admin.
	doomed map[string]*Topic

	maxMaps int // see Stats

	dirty atomic.Bool    // the checkpoint timer runs
	ops   sync.WaitGroup // what Close waits for; added to with mu held and not closed

	retention   retention
	cleaner     cleaner
	consumers   consumers
	disk        *disk // nil: no limit
	offsets     offsets
	coordinator coordinator // of consumer groups
	generations generations // see Groups.Commit

	mu struct {
		sync.RWMutex
		closed bool
		topics map[string]*Topic
		timer  *time.Timer
	}
}

func newStore(fsys vfs.FS, opts *Options) *Store {
	s := &Store{fsys: fsys, admin: make(chan struct{}, 1), doomed: map[string]*Topic{}}
	if opts != nil {
		s.opts = *opts
	}
	if s.logger = s.opts.Logger; s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	s.mu.topics = map[string]*Topic{}
	s.offsets.store = s
	s.retention.init()
	s.cleaner.init()
	s.coordinator.init(s)
	return s
}

// enter begins something that Close waits for; leave ends it.
func (s *Store) enter() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.mu.closed {
		return ErrClosed
	}
	s.ops.Add(1)
	return nil
}

func (s *Store) leave() { s.ops.Done() }

// administer is enter for what only one at a time may do.
func (s *Store) administer(ctx context.Context) error {
	if s.follow != nil {
		return ErrReadOnly
	}
	if err := s.enter(); err != nil {
		return err
	}
	err := ctx.Err()
	if err == nil {
		select {
		case s.admin <- struct{}{}:
			return nil
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	s.leave()
	return err
}

func (s *Store) administered() {
	<-s.admin
	s.leave()
}

func (s *Store) isClosed() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mu.closed
}

// Topic is the topic of that name, or ErrUnknownTopic.
func (s *Store) Topic(name string) (*Topic, error) {
	s.follow.look(true)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.mu.closed {
		return nil, ErrClosed
	}
	if t, ok := s.mu.topics[name]; ok {
		return t, nil
	}
	return nil, unknownTopic(name)
}

// Topics lists the topics there are now, by name; none after Close.
func (s *Store) Topics() iter.Seq[*Topic] {
	return func(yield func(*Topic) bool) {
		for _, t := range s.topics() {
			if !yield(t) {
				return
			}
		}
	}
}

func (s *Store) topics() []*Topic {
	s.follow.look(true)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.mu.closed {
		return nil
	}
	return s.topicsLocked()
}

func (s *Store) topicsLocked() []*Topic {
	list := make([]*Topic, 0, len(s.mu.topics))
	for _, name := range slices.Sorted(maps.Keys(s.mu.topics)) {
		list = append(list, s.mu.topics[name])
	}
	return list
}

// openLogs are the partitions that are open, __metadata among them.
func (s *Store) openLogs() map[log.TopicPartition]*log.Log {
	s.mu.RLock()
	topics := s.topicsLocked()
	s.mu.RUnlock()
	logs := map[log.TopicPartition]*log.Log{}
	if s.meta != nil {
		logs[log.TopicPartition{Topic: metadataTopic}] = s.meta
	}
	for _, t := range topics {
		for _, p := range t.handles() {
			if l := p.log.Load(); l != nil {
				logs[log.TopicPartition{Topic: t.name, Partition: p.id}] = l
			}
		}
	}
	return logs
}

// Close waits for what is being created, deleted or opened, makes everything
// durable, and closes the store. Blocked readers and later calls get ErrClosed;
// the batch that a reader has given last stays readable until the reader is
// closed, retained batches until they are released.
//
// Only a close without an error, of a store without a failed or damaged
// partition, lets the next Open do without any recovery. A second Close does
// nothing and returns nil.
func (s *Store) Close() error {
	s.coordinator.end() // saves, and so comes first
	if !s.end() {
		return nil
	}
	if s.follow != nil {
		return s.follow.close()
	}
	for _, t := range s.doomed {
		for _, p := range t.handles() {
			if l := p.log.Load(); l != nil {
				l.Abandon() // its files could not be removed
			}
		}
	}
	logs := s.openLogs()
	errs := []error{closeAll(logs)}
	clean := errs[0] == nil && !s.unrecovered() && len(s.doomed) == 0
	for _, l := range logs {
		clean = clean && l.Clean()
	}
	errs = append(errs, s.checkpoint())
	errs = append(errs, s.state.close())
	if clean && errors.Join(errs...) == nil {
		errs = append(errs, log.WriteFile(s.fsys, cleanName, []byte(cleanText)))
	}
	s.env.Close()
	errs = append(errs, s.lock.Close(), s.fsys.Close())
	return errors.Join(errs...)
}

// end makes every later call fail and waits for those under way, the checkpoint
// among them. It returns false when that has been done before.
func (s *Store) end() bool {
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return false
	}
	s.mu.closed = true
	if t := s.mu.timer; t != nil && t.Stop() {
		s.ops.Done()
	}
	s.consumers.end()
	s.endRetention()
	s.endCleaner()
	s.mu.Unlock()
	s.ops.Wait()
	return true
}

// unrecovered tells whether the store was opened after a crash, and has
// partitions that nobody has opened, and so recovered, since.
func (s *Store) unrecovered() bool {
	if s.clean {
		return false
	}
	for _, t := range s.mu.topics {
		if t.unopened() {
			return true
		}
	}
	return false
}

// closeAll closes logs side by side, since each waits for the disk.
func closeAll(logs map[log.TopicPartition]*log.Log) error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	slots := make(chan struct{}, 4*runtime.GOMAXPROCS(0))
	for _, l := range logs {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := l.Close(); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
