package leat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
	"github.com/leatlog/leat/segment"
)

// Finding is one thing that Check has found: how bad, where, what, and what can be
// done about it.
type Finding = log.Finding

// Severity of a finding: SeverityDamage or SeverityNotice.
type Severity = log.Severity

const (
	// SeverityNotice is worth knowing and no damage: what a crash leaves and the
	// next open settles by itself, files that are missing and made anew, files of
	// others.
	SeverityNotice = log.Notice
	// SeverityDamage is a file that says what is not true, or lacks what was
	// durable.
	SeverityDamage = log.Damage
)

// FindingKind says what a finding is about, for programs: the text of a finding
// may change from version to version, its kind does not.
type FindingKind = log.FindingKind

// CheckOptions configures Check. The zero value, and nil, are fine.
type CheckOptions struct {
	// Progress is told how many of the bytes of all log files have been looked at,
	// on the goroutine that ranges over the findings; nil: nobody is.
	Progress func(done, total int64)
}

// Check looks at everything in a directory and yields what it finds, partition by
// partition. The directory is a store, or the folder of one partition, of Leat or
// of a stopped Kafka broker. Nothing is changed, not even a lock file made.
//
// Every batch is read: its CRC, its records, its offsets and leader epoch. Sealed
// files are compared with segments.sum, indexes, transaction indexes and producer
// snapshots with the batches, checkpoints and leat.state with the log, and folders
// with what __metadata says. A store is sound if no finding is of SeverityDamage.
//
// An error, with an empty Finding, says what could not be looked at: the rest is,
// unless the error is that of ctx, or ErrLocked. A store that is open for writing,
// in any process, is ErrLocked, also if it is opened while the check runs: what
// is found in files that are being written proves nothing. A directory that is
// none, or holds nothing of a store, matches fs.ErrNotExist.
func Check(ctx context.Context, dir string, opts *CheckOptions) iter.Seq2[Finding, error] {
	return func(yield func(Finding, error) bool) {
		fsys, folder, err := openToCheck(dir)
		if err != nil {
			yield(Finding{}, err)
			return
		}
		defer fsys.Close()
		checkFS(ctx, fsys, folder, opts, yield)
	}
}

// openToCheck opens a directory that is a store, or that which the folder of a
// partition is in, and tells the folder's name; "" for a store. What lies around a
// folder says how far its log was durable.
func openToCheck(dir string) (_ vfs.FS, folder string, err error) {
	fsys, err := vfs.OS(dir, vfs.Options{})
	if err != nil {
		return nil, "", err
	}
	list, err := fsys.ReadDir(".")
	if err != nil || !slices.ContainsFunc(list, isOfPartition) {
		return fsys, "", err
	}
	full, err := filepath.Abs(dir)
	if err == nil {
		full, err = filepath.EvalSymlinks(full)
	}
	if err != nil {
		return nil, "", errors.Join(err, fsys.Close())
	}
	name := filepath.Base(full)
	if _, _, ok := parseFolder(name); !ok {
		return fsys, ".", nil
	}
	around, err := vfs.OS(filepath.Dir(full), vfs.Options{})
	if err != nil {
		return fsys, ".", nil // it may be another's, and closed to us
	}
	return around, name, fsys.Close()
}

// isOfPartition tells that a folder is that of a partition, even one without any
// segment: none has been made yet, or all are gone.
func isOfPartition(e vfs.Info) bool {
	return isLogFile(e) || e.Name == partitionMetadata || e.Name == sumsName
}

func isLogFile(e vfs.Info) bool {
	_, suffix, ok := segment.ParseName(e.Name)
	return ok && suffix == segment.LogSuffix
}

// checkFS checks a store, or one folder in it.
func checkFS(ctx context.Context, fsys vfs.FS, folder string, opts *CheckOptions, yield func(Finding, error) bool) {
	c := &checker{fsys: vfs.NewDraft(fsys), folder: folder, yield: yield}
	if opts != nil {
		c.progress = opts.Progress
	}
	var stop context.CancelFunc
	c.ctx, stop = context.WithCancel(ctx)
	defer stop()
	c.env = log.NewEnv(log.EnvOptions{FS: c.fsys, MaxMaps: vfs.MaxMaps(), Writer: log.WriterPwrite})
	defer c.env.Close()
	if err := c.run(); err != nil && err != errEnough {
		c.yield(Finding{}, err)
	}
}

// checker is one check of a store.
type checker struct {
	ctx      context.Context
	fsys     vfs.FS // a draft
	env      *log.Env
	folder   string // of the one partition, "" for all
	progress func(done, total int64)
	yield    func(Finding, error) bool
	opened   vfs.Info // the lock file as it was
	locked   bool     // by who asks for the check

	root   rootFiles
	topics checkedTopics

	done, total int64
}

// errEnough ends a check whose caller wants no more.
var errEnough = errors.New("enough")

func (c *checker) run() error {
	if err := c.lock(); err != nil {
		return err
	}
	list, err := c.fsys.ReadDir(".")
	if err != nil {
		return err
	}
	c.root.read(c)
	folders := c.sort(list)
	if c.folder != "" {
		folders = []string{c.folder}
	}
	if err := c.measure(folders); err != nil {
		return err
	}
	if c.folder == "" {
		if err := c.names(list, folders); err != nil {
			return err
		}
	}
	if err := c.metadata(folders); err != nil {
		return err
	}
	folders = slices.DeleteFunc(folders, func(f string) bool { return f == c.topics.checked || c.topics.left[f] })
	if err := c.partitions(folders); err != nil {
		return err
	}
	if err := c.after(); err != nil {
		return err
	}
	return c.lock()
}

// lock is an error if somebody has the store open for writing, or has had since it
// was asked first.
func (c *checker) lock() error {
	if c.locked {
		return nil
	}
	held, err := vfs.Held(c.fsys, lockName)
	if err != nil {
		return err
	}
	if held != nil {
		return fmt.Errorf("%w: %w", ErrLocked, held)
	}
	now, err := c.fsys.Stat(lockName)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if c.opened == (vfs.Info{}) {
		c.opened = now
	}
	if now != c.opened {
		return fmt.Errorf("%w: it was opened while it was checked", ErrLocked)
	}
	return nil
}

// found yields a finding. Damage is believed only if nobody is writing.
func (c *checker) found(f Finding) error {
	if f.Severity == SeverityDamage {
		if err := c.lock(); err != nil {
			return err
		}
	}
	if !c.yield(f, nil) {
		return errEnough
	}
	return nil
}

// failed yields what could not be looked at.
func (c *checker) failed(err error) error {
	if c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	if !c.yield(Finding{}, err) {
		return errEnough
	}
	return nil
}

// measure adds up the log files.
func (c *checker) measure(folders []string) error {
	for _, f := range folders {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		list, err := c.fsys.ReadDir(f)
		if err != nil {
			continue // the check of it tells
		}
		for _, e := range list {
			if isLogFile(e) {
				c.total += e.Size
			}
		}
	}
	return c.advance(0)
}

func (c *checker) advance(n int64) error {
	c.done = min(c.done+n, c.total)
	if c.progress != nil {
		c.progress(c.done, c.total)
	}
	return c.ctx.Err()
}

// partitions checks folders, several at once: what a scan does in order keeps one
// core busy. What is found is yielded in the order of the folders.
func (c *checker) partitions(folders []string) error {
	workers := min(runtime.GOMAXPROCS(0), maxCheckers, len(folders))
	jobs := make([]checkJob, len(folders))
	for i, f := range folders {
		jobs[i] = checkJob{folder: f, events: make(chan checkEvent, checkAhead)}
	}
	var next = make(chan *checkJob, len(jobs))
	for i := range jobs {
		next <- &jobs[i]
	}
	close(next)
	advanced := make(chan int64)
	ctx, stop := context.WithCancel(c.ctx)
	ended := make(chan struct{}, workers)
	for range workers {
		go func() { // ends when the jobs do, or ctx; both waited for below
			for j := range next {
				c.work(ctx, j, advanced)
			}
			ended <- struct{}{}
		}()
	}
	defer func() {
		stop()
		for range workers {
			<-ended
		}
	}()
	for i := range jobs {
		for open := true; open; {
			var err error
			select {
			case e, ok := <-jobs[i].events:
				if open = ok; ok {
					err = c.event(e)
				}
			case n := <-advanced:
				err = c.advance(n)
			}
			if err != nil {
				return err
			}
		}
	}
	return c.ctx.Err()
}

const (
	maxCheckers = 4  // memory is the limit soon
	checkAhead  = 16 // findings of a partition that wait for those before it
)

// checkJob is one folder to be checked.
type checkJob struct {
	folder string
	events chan checkEvent
}

// checkEvent is what a worker has to say: one of the three.
type checkEvent struct {
	finding Finding
	failed  error
	checked *checkedFolder
}

func (c *checker) event(e checkEvent) error {
	switch {
	case e.checked != nil:
		return c.settle(e.checked)
	case e.failed != nil:
		return c.failed(e.failed)
	}
	return c.found(e.finding)
}

// work checks one folder, beside others.
func (c *checker) work(ctx context.Context, j *checkJob, advanced chan<- int64) {
	defer close(j.events)
	send := func(e checkEvent) error {
		select {
		case j.events <- e:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if ctx.Err() != nil {
		return
	}
	checked, err := c.partition(j.folder, log.CheckState{
		Found:  func(f Finding) error { return send(checkEvent{finding: f}) },
		Failed: func(err error) error { return send(checkEvent{failed: err}) },
		Advance: func(n int64) error {
			select {
			case advanced <- n:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	})
	if err == nil {
		_ = send(checkEvent{checked: checked}) // nobody listens any more if it fails
	}
}
