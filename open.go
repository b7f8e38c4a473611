package leat

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
)

// Options configures a store. The zero value, and nil, are safe and durable.
type Options struct {
	FileMode fs.FileMode   // of new files; 0: 0600. Directories get the matching x bits
	LockWait time.Duration // how long to wait for another process to let go; 0: ErrLocked at once
	Topic    TopicConfig   // in place of the defaults, for topics created from now on
	Writer   Writer        // how segments are written; 0: WriterAuto
	MaxMaps  int           // memory maps in use at once; 0: half of the system's limit
	Logger   *slog.Logger  // nil: silent
	Observer *Observer     // is told what the store does; nil: nobody. It must not change any more
	Cleaner  Cleaner       // how topics are compacted

	// OffsetsRetention is how long what a group has committed outlives the group:
	// from when it was left by its last member, or without members from the commit
	// on. 0: for ever, as does Unlimited [offsets.retention.minutes].
	OffsetsRetention time.Duration

	// DiskLimit bounds the bytes of the files of all partitions, from 1 MiB; 0:
	// Unlimited. Close to it the oldest sealed segments of the topics that delete
	// old records go, of whatever age, in the background, and active segments are
	// rolled early. Topics with CleanupCompact alone lose nothing, nor do adopted ones
	// as long as their Retention is unlimited, nor partitions what Retention.Groups
	// have not committed, up to Retention.GroupsBytes for all that a partition has. At
	// the limit appends and imports get ErrNoSpace until there is room.
	DiskLimit int64
}

// Writer is how the active segment of a partition is written. The bytes are the
// same.
type Writer uint8

const (
	WriterAuto   Writer = iota // what measures better on this filesystem
	WriterMapped               // through a shared memory map of really allocated space
	WriterPwrite               // with write calls
)

func (w Writer) String() string {
	switch w {
	case WriterAuto:
		return "auto"
	case WriterMapped:
		return "mapped"
	case WriterPwrite:
		return "pwrite"
	}
	return fmt.Sprintf("Writer(%d)", uint8(w))
}

// Open opens the store in a directory, which is made if it is not there. One
// process at a time has a store open, and once: others get ErrLocked.
//
// A directory of a stopped Kafka broker is a store as well. What it holds is
// adopted: every partition folder is a partition, without any retention until
// one is configured.
//
// After a crash each partition is recovered when it is first used. What cannot
// be read of it then is kept in its folder as a .quarantine file, and reported
// to Options.Logger.
//
// Damage to the record of topics is a *CorruptError; a directory that cannot be
// written is ErrReadOnly.
func Open(dir string, opts *Options) (*Store, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	v := o.vfs()
	v.Create = true
	fsys, err := vfs.OS(dir, v)
	if err != nil {
		return nil, openError(err)
	}
	s, err := openFS(fsys, &o)
	if err != nil {
		return nil, errors.Join(err, fsys.Close())
	}
	return s, nil
}

// vfs are the modes of files and directories.
func (o *Options) vfs() vfs.Options {
	mode := o.FileMode & fs.ModePerm
	if mode == 0 {
		mode = 0o600
	}
	return vfs.Options{FileMode: mode, DirMode: mode | mode>>2&0o111}
}

// OpenMem opens a store in memory: the same code over memory files, for tests.
// It is empty, and gone after Close.
func OpenMem(opts *Options) (*Store, error) { return openFS(vfs.NewMem(), opts) }

// openFS opens the store in a directory tree. When it fails the tree is the
// caller's, else the store's.
func openFS(fsys vfs.FS, opts *Options) (*Store, error) {
	s := newStore(fsys, opts)
	if err := s.open(); err != nil {
		s.abandon()
		return nil, openError(err)
	}
	return s, nil
}

func openError(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", ErrReadOnly, err)
	case errors.Is(err, vfs.ErrNoSpace) && !errors.Is(err, ErrNoSpace):
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}

// open does things in an order that a crash may end anywhere. The sign of a
// clean close is gone for good before the first write.
func (s *Store) open() error {
	if err := s.begin(); err != nil {
		return err
	}
	return s.openTopics()
}

// begin takes the directory, and reads what is known of its partitions.
func (s *Store) begin() (err error) {
	full := s.opts.Topic.withDefaults(TopicConfig{})
	if err := full.check(); err != nil {
		return within(err, "Options.Topic")
	}
	if s.opts.Writer > WriterPwrite {
		return invalidConfig("Options.Writer is %v", s.opts.Writer)
	}
	if err := s.opts.Cleaner.check(); err != nil {
		return err
	}
	if r := s.opts.OffsetsRetention; r < 0 && r != Unlimited {
		return invalidConfig("Options.OffsetsRetention is %v: it must not be negative", r)
	}
	if err := s.limitDisk(); err != nil {
		return err
	}
	if s.lock == nil { // a repair has it already
		if s.lock, err = lock(s.fsys, s.opts.LockWait); err != nil {
			return err
		}
	}
	if err := s.finished(); err != nil {
		return err
	}
	if err := s.takeCleanMarker(); err != nil {
		return err
	}
	if err := s.readProperties(); err != nil {
		return err
	}
	s.readCheckpoints()
	if s.state, err = openState(s.fsys, checkpointHash(s.found.text[0])); err != nil {
		return fmt.Errorf("%s: %w", stateName, err)
	}
	return nil
}

// openTopics goes on to the record of topics.
func (s *Store) openTopics() error {
	maxMaps := s.opts.MaxMaps
	if maxMaps == 0 {
		maxMaps = vfs.MaxMaps()
	}
	s.maxMaps = maxMaps
	s.env = log.NewEnv(log.EnvOptions{FS: s.fsys, Logger: s.logger, MaxMaps: maxMaps, Writer: log.Writer(s.opts.Writer),
		Observer: s.opts.Observer.forLog()})
	folders, err := s.scan()
	if err != nil {
		return err
	}
	if s.disk != nil {
		if err := s.disk.count(folders); err != nil {
			return err
		}
	}
	if err := s.openCatalog(folders); err != nil {
		return err
	}
	s.armRetention()
	s.armCleaner(cleanInterval)
	if s.disk != nil {
		s.disk.ready.Store(true)
		if s.disk.used.Load() > s.disk.high() {
			s.pressed()
		}
	}
	return nil
}

// abandon undoes what open did before it failed. Nothing is written.
func (s *Store) abandon() {
	s.end() // what was appended to __metadata has armed a checkpoint
	if s.meta != nil {
		s.meta.Abandon()
	}
	if s.env != nil {
		s.env.Close()
	}
	if s.state != nil {
		_ = s.state.closeFiles() // the cause is what counts
	}
	if s.lock != nil {
		_ = s.lock.Close()
	}
}

// lock takes the store for this process, asking again with growing pauses for as
// long as wait says.
func lock(fsys vfs.FS, wait time.Duration) (io.Closer, error) {
	deadline := time.Now().Add(wait)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		l, err := fsys.Lock(lockName)
		var held *vfs.LockedError
		if !errors.As(err, &held) {
			return l, err
		}
		left := time.Until(deadline)
		if left <= 0 {
			return nil, fmt.Errorf("%w: %w", ErrLocked, err)
		}
		<-time.After(min(pause, left))
	}
}

// scan lists the partition folders by topic. Deletions that a Kafka broker left
// unfinished are finished; what is not of a store is left alone and named in the
// log.
func (s *Store) scan() (map[string][]int32, error) {
	list, err := s.fsys.ReadDir(".")
	if err != nil {
		return nil, err
	}
	known := map[string]bool{
		lockName: true, propertiesName: true, cleanName: true, stateName: true,
		recoveryName: true, startName: true, watermarkName: true, cleanerName: true, unfinishedName: true,
	}
	folders := map[string][]int32{}
	for _, e := range list {
		topic, id, ok := parseFolder(e.Name)
		switch {
		case e.IsDir() && ok:
			folders[topic] = append(folders[topic], id)
		case e.IsDir() && isDeletedFolder(e.Name):
			if err := log.RemoveFolder(s.env, e.Name); err != nil {
				s.logger.Warn("folder not deleted", "path", s.fsys.Path(e.Name), "err", err)
			}
		case !known[strings.TrimSuffix(e.Name, ".tmp")] || e.IsDir():
			s.logger.Info("left alone: not of a store", "path", s.fsys.Path(e.Name))
		}
	}
	return folders, nil
}
