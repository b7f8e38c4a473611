package log

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// A backup is a copy of the folder as it was at one moment, cut at an offset, to
// be opened by the same code. Sealed segments get a second name in the copy where
// the filesystem can do that; what the last one has, up to the offset, is copied.
//
// Nothing is locked and nobody waits: the log may be this process's or one that
// is followed. What makes the copy that of one moment:
//
//  1. the end and the generation are fixed. Up to a durable end nothing changes
//     any more, as long as the generation does not
//  2. all files are linked, or copied, the newest first. A cleaning takes records
//     out because of others behind them, which are durable by then: so of a log
//     that is cleaned the end is fixed again behind that, until no further segment
//     comes before it
//  3. the folder is listed again. A file that was taken and is still the one of
//     that name has been there all the time in between: so all of those together
//     have been the log at one moment. What retention removed meanwhile was the
//     oldest, and is left out. If anything else is missing, or the generation has
//     changed, or a cleaning is about to put a segment in place, it is done again
//  4. what was taken is read, batch by batch, and compared with its checksums
//
// A file that is shared is never changed: who would, makes a copy of it first
// (segment.Shared). A writer raises the generation before it looks whether a file
// is shared, and this looks at the generation after it has made it so: one of the
// two sees the other. Without words that tell of the generation at each moment
// files are copied.

// BackupOptions say how a log is copied.
type BackupOptions struct {
	// Links: files of sealed segments may be shared with the copy.
	Links bool
	// Adopted: others have written the folder.
	Adopted bool
	// Progress is told of bytes that have been checked; nil: nobody.
	Progress func(n int64)
}

// Backup is what a copy of a log has, and what has to be known to open it.
type Backup struct {
	Segments       int
	Linked, Copied int64 // bytes of log files
	Start, End     int64
	// RecoveryPoint is the offset from which on the copy is to be recovered.
	RecoveryPoint int64
}

// errMeanwhile says that the folder changed while it was copied.
var errMeanwhile = errors.New("the folder was changed while it was copied")

// errHalfway says that a cleaning is about to put a segment in place, or died then.
var errHalfway = errors.New("a cleaning is about to replace segments; if no process has the store open, leat recover finishes that")

// backupTries bounds the attempts at one log, with pauses that grow between them.
const backupTries = 20

// Backup copies the log to a folder of another tree, which is there and empty.
// Segments that lie below the log start as a whole are left out. Damage is a
// *segment.CorruptError. What an error leaves in the folder is of no use.
func (l *Log) Backup(ctx context.Context, to vfs.FS, dir string, o BackupOptions) (Backup, error) {
	b := &backup{l: l, from: l.env.fsys, to: to, dir: dir, o: o, have: map[int64]taken{}, generation: -1}
	if l.follow == nil {
		if err := l.Sync(ctx); err != nil {
			return Backup{}, err
		}
	}
	pause := time.Millisecond
	for try := 1; ; try++ {
		r, err := b.once(ctx)
		if err != nil && l.closed.Load() {
			return r, errors.Join(ErrClosed, err)
		}
		again := errors.Is(err, errMeanwhile) || errors.Is(err, errHalfway) || isMissing(err)
		if !again || try == backupTries {
			return r, err
		}
		if _, err := b.from.Stat(l.dir); err != nil {
			return r, err // the partition is gone
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, 100*time.Millisecond)
		case <-ctx.Done():
			return r, ctx.Err()
		}
	}
}

// backup is one under way.
type backup struct {
	l        *Log
	from, to vfs.FS
	dir      string // in to
	o        BackupOptions

	generation int64
	start, end int64
	known      bool // words tell of it at each moment
	sums       Sums
	epochs     *Epochs         // nil: not known
	have       map[int64]taken // by base offset; never the last segment
	tail       vfs.FileID      // of the last segment's log file
	// behind: the end was fixed when all segments had been taken.
	behind bool
}

// taken is a log file that is in the copy.
type taken struct {
	id      vfs.FileID // the original's
	size    int64
	linked  bool
	checked bool
	sound   checked
}

// stand fixes what is copied. known tells whether the generation can be relied on.
func (b *backup) stand() (known bool, err error) {
	l := b.l
	if f := l.follow; f != nil {
		l.Poll()
		if err := f.trouble(); err != nil {
			return false, err
		}
		t := f.told()
		b.start, b.end = l.start.Load(), l.external.Load()
		if t.Live {
			b.start, b.end = t.Start, t.Durable
		}
		return t.Live, b.fix(t.Generation)
	}
	if err := l.refusing(); err != nil {
		return false, err
	}
	generation := l.generation.Load()
	b.start, b.end = l.start.Load(), l.durable.Load()
	if l.generation.Load() != generation {
		return true, errMeanwhile
	}
	return true, b.fix(generation)
}

// fix takes a generation for the one to be copied. What was taken of another is
// dropped.
func (b *backup) fix(generation int64) error {
	if b.generation != generation && len(b.have) > 0 {
		if err := b.clear(); err != nil {
			return err
		}
	}
	b.generation = generation
	b.start = min(b.start, b.end)
	return nil
}

// changed tells whether what was fixed may not be true any more.
func (b *backup) changed() bool {
	if f := b.l.follow; f != nil {
		return f.told().Generation != b.generation
	}
	return b.l.generation.Load() != b.generation
}

func (b *backup) clear() error {
	list, err := b.to.ReadDir(b.dir)
	for _, e := range list {
		err = errors.Join(err, b.to.Remove(segment.Join(b.dir, e.Name)))
	}
	clear(b.have)
	return err
}

func (b *backup) once(ctx context.Context) (Backup, error) {
	var err error
	if b.known, err = b.stand(); err != nil {
		return Backup{}, err
	}
	b.o.Links = b.o.Links && b.known
	sealed, tail, err := b.gather(ctx)
	if err != nil {
		return Backup{}, err
	}
	if tail < 0 {
		return Backup{}, b.to.SyncDir(b.dir) // the partition was made, and never used
	}
	if b.epochs, err = b.readEpochs(); err != nil { // an epoch is there before its batches
		return Backup{}, err
	}
	size, err := b.copyTail(ctx, tail)
	if err != nil {
		return Backup{}, err
	}
	if sealed, err = b.still(sealed, tail); err != nil {
		return Backup{}, err
	}
	if b.sums, err = b.readSums(); err != nil { // after the files: gaps are noted before they are there
		return Backup{}, err
	}
	if !b.behind && b.cleaned(append(slices.Clip(sealed), tail)) {
		return Backup{}, errMeanwhile // for the first time
	}
	r, err := b.check(ctx, sealed, tail)
	if err != nil {
		return Backup{}, err
	}
	r.Copied += size
	b.progress(size)
	if err := b.sidecars(append(slices.Clip(sealed), tail)); err != nil {
		return Backup{}, err
	}
	if b.changed() {
		return Backup{}, errMeanwhile
	}
	return r, b.to.SyncDir(b.dir)
}

// gather takes the sealed segments, and fixes the end behind them if need be. tail
// is the base of the last segment; -1 when there is none.
func (b *backup) gather(ctx context.Context) (sealed []int64, tail int64, err error) {
	b.behind = false
	for range backupTries {
		bases, err := b.list()
		if err != nil {
			return nil, 0, err
		}
		if len(bases) == 0 {
			return nil, -1, nil
		}
		last := bases[len(bases)-1]
		sealed = bases[:len(bases)-1]
		if b.behind && last == tail {
			return sealed, tail, nil
		}
		tail = last
		if b.tail, _, err = b.identity(tail); err != nil {
			return nil, 0, err
		}
		if err := b.take(ctx, sealed); err != nil {
			return nil, 0, err
		}
		if b.sums, err = b.readSums(); err != nil {
			return nil, 0, err
		}
		if !b.cleaned(bases) {
			return sealed, tail, nil
		}
		generation := b.generation
		if _, err := b.stand(); err != nil {
			return nil, 0, err
		}
		if b.generation != generation {
			return nil, 0, errMeanwhile
		}
		b.behind = true
	}
	return nil, 0, errMeanwhile // it grows faster than it can be copied
}

// readEpochs gives the leader epochs; nil if nothing is known of them.
func (b *backup) readEpochs() (*Epochs, error) {
	text, err := readAll(b.from, segment.Join(b.l.dir, epochsName), maxSidecar)
	if err != nil && !isMissing(err) && !errors.Is(err, errTooLarge) {
		return nil, err
	}
	if err != nil || len(text) == 0 {
		return nil, nil
	}
	e, err := ParseEpochs(text)
	if err != nil {
		return nil, nil // the copy makes it anew from the batches
	}
	return e, nil
}

// fits tells whether a batch has the leader epoch that held at its offset, which
// its CRC leaves out. Of a log that crashed the checkpoint may lack the latest.
func (b *backup) fits(x codec.Batch) error {
	held, ok := epochAt(b.epochs, x.BaseOffset())
	epoch := x.LeaderEpoch()
	if !ok || epoch == held || epoch == -1 {
		return nil
	}
	if latest, _ := b.epochs.Latest(); !b.known && epoch > latest.Epoch {
		return nil
	}
	return &segment.Reject{Err: fmt.Errorf("batch of leader epoch %d at offset %d, where %d held (%s): %w", epoch, x.BaseOffset(), held, epochsName, errEpoch)}
}

var errEpoch = errors.New("the leader epochs do not agree")

// cleaned tells whether one of the segments may be what a cleaning has left.
func (b *backup) cleaned(bases []int64) bool { return b.sums.Dense > bases[0] }

func (b *backup) readSums() (Sums, error) {
	text, err := readAll(b.from, segment.Join(b.l.dir, sumsName), maxSumsFile)
	if err != nil && !isMissing(err) {
		return Sums{}, err
	}
	return ParseSums(text), nil
}

// dense tells whether no offset may be missing where this one is.
func (b *backup) dense(offset int64) bool {
	return !b.o.Adopted && offset >= b.sums.Dense && offset < b.sums.gapsFrom()
}

func (b *backup) progress(n int64) {
	if b.o.Progress != nil {
		b.o.Progress(n)
	}
}

// list lists the segments that have a part in what is copied. The last of them
// holds the end, or begins there.
func (b *backup) list() ([]int64, error) {
	infos, err := b.from.ReadDir(b.l.dir)
	if err != nil {
		return nil, err
	}
	var bases []int64
	for _, info := range infos { // in order of their names, and so of their offsets
		base, suffix, ok := segment.ParseName(info.Name)
		switch {
		case !ok:
		case strings.HasPrefix(suffix, segment.LogSuffix+swapSuffix):
			return nil, fmt.Errorf("%s: %w", info.Name, errHalfway)
		case suffix == segment.LogSuffix && base <= b.end:
			bases = append(bases, base)
		}
	}
	for len(bases) > 1 && bases[1] <= b.start {
		bases = bases[1:]
	}
	if len(bases) == 0 && b.end > 0 {
		return nil, &segment.CorruptError{Path: b.from.Path(b.l.dir), Offset: b.start,
			Err: fmt.Errorf("no segment is there: %w", fs.ErrNotExist)}
	}
	return bases, nil
}

// still lists the folder again. It gives those of the segments that are in the
// copy, which are all that were there from some moment on.
func (b *backup) still(sealed []int64, tail int64) ([]int64, error) {
	if b.changed() {
		return nil, errMeanwhile
	}
	bases, err := b.list()
	if err != nil {
		return nil, err
	}
	if len(bases) == 0 || bases[0] > tail {
		return nil, errMeanwhile // retention has overtaken this
	}
	i := slices.Index(sealed, bases[0])
	if i < 0 {
		i = len(sealed) // nothing but the last is left
	}
	if !slices.Equal(append(slices.Clip(sealed[i:]), tail), bases) {
		return nil, errMeanwhile
	}
	for _, base := range sealed[i:] {
		id, size, err := b.identity(base)
		if err != nil {
			return nil, err
		}
		if t := b.have[base]; t.id != id || t.size != size {
			return nil, errMeanwhile
		}
	}
	if id, _, err := b.identity(tail); err != nil {
		return nil, err
	} else if id != b.tail {
		return nil, errMeanwhile
	}
	for base := range b.have {
		if !slices.Contains(sealed[i:], base) {
			if err := b.drop(base); err != nil {
				return nil, err
			}
		}
	}
	return sealed[i:], nil
}

// identity tells which file the original of a segment is now.
func (b *backup) identity(base int64) (id vfs.FileID, size int64, err error) {
	f, err := b.from.Open(b.source(base, segment.LogSuffix), vfs.ReadOnly)
	if err != nil {
		return id, 0, err
	}
	if id, err = f.ID(); err == nil {
		size, err = f.Size()
	}
	return id, size, errors.Join(err, f.Close())
}

func (b *backup) source(base int64, suffix string) string {
	return segment.Join(b.l.dir, segment.FileName(base, suffix))
}

func (b *backup) target(base int64, suffix string) string {
	return segment.Join(b.dir, segment.FileName(base, suffix))
}

// drop removes a segment from the copy.
func (b *backup) drop(base int64) error {
	delete(b.have, base)
	for _, suffix := range []string{segment.LogSuffix, segment.IndexSuffix, segment.TimeSuffix, segment.TxnSuffix} {
		if err := b.to.Remove(b.target(base, suffix)); err != nil && !isMissing(err) {
			return err
		}
	}
	return nil
}
