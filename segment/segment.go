package segment

import (
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/leatlog/leat/internal/vfs"
)

// Config is what a segment needs to know of its topic.
type Config struct {
	Bytes         int64 // segment.bytes: the size a segment is not appended beyond
	IndexBytes    int   // segment.index.bytes: bounds the entries of each index
	IndexInterval int   // index.interval.bytes between entries
	Mapped        bool  // append through a shared map; else with pwrite
	// Synced: a sync follows every few batches, so a page fault should make one
	// page dirty and not a large stretch (see vfs.Map.Random).
	Synced bool
	// ReadOnly: somebody else writes the folder. Nothing is, not even an index.
	ReadOnly bool
}

// Segment is one base offset of a partition. Its readers pin it: what they
// were handed stays mapped until the last pin is gone, whatever happens to the
// segment meanwhile. All methods but those of the writer (Reserve, Commit,
// Inactivate, Seal) may be called from many goroutines.
type Segment struct {
	fsys vfs.FS
	dir  string
	base int64
	cfg  Config
	maps *Maps

	// size is the end of the last whole batch. The writer stores it after the
	// bytes below it, readers load it before they touch them.
	size atomic.Int64

	// maxTime is the largest timestamp of the batches below size, unknown until
	// it is asked for on a sealed segment.
	maxTime atomic.Int64

	// damaged is what a scan around damage found, or a scan that follows somebody
	// else's appends, which serves instead of the index files.
	damaged atomic.Pointer[Scan]

	// building is held by whoever rebuilds a wrong index, so that it happens
	// once. It comes before mu, and that before what the writer and the Maps lock.
	building sync.Mutex
	// mending is held while a reader writes index files, and comes before mu.
	mending sync.Mutex

	parked parked // guarded by the lock of maps

	id *vfs.FileID // of the only log file that will do, nil if any; see Expect

	mu struct {
		sync.Mutex
		pins   int
		view   *view    // what pinned readers look through
		writer *writer  // of the active segment
		closed bool     // no new pins
		rest   *resting // of the active segment, when it has no writer
		// replaced: the log file is not the one that was scanned (see own).
		replaced bool
	}
}

const unknownTime = int64(-1) << 63

// Open describes a sealed segment of the given size without touching its files.
func Open(fsys vfs.FS, maps *Maps, dir string, base, size int64, c Config) *Segment {
	s := &Segment{fsys: fsys, dir: dir, base: base, cfg: c, maps: maps}
	s.size.Store(size)
	s.maxTime.Store(unknownTime)
	return s
}

// Base is the offset that names the segment.
func (s *Segment) Base() int64 { return s.base }

// Size is the position behind the last whole batch, in bytes.
func (s *Segment) Size() int64 { return s.size.Load() }

// Path is the full path of the .log file, for error texts.
func (s *Segment) Path() string { return s.fsys.Path(s.name(LogSuffix)) }

// PinnedPath is Path of a pinned segment, made once a pin.
func (s *Segment) PinnedPath() string { return s.mu.view.path }

func (s *Segment) name(suffix string) string { return Join(s.dir, FileName(s.base, suffix)) }

// corrupt makes the error for damage at pos, where offset cannot be read.
func (s *Segment) corrupt(pos, offset int64, err error) *CorruptError {
	return &CorruptError{Path: s.Path(), Position: pos, Offset: offset, Err: err}
}

// Pin keeps the segment readable until Unpin: its map stays, also when the
// files are removed or the log is closed meanwhile. It fails with ErrClosed when
// that has already happened.
func (s *Segment) Pin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return ErrClosed
	}
	if v := s.mu.view; v == nil {
		v, err := s.openView()
		if err != nil {
			return err
		}
		s.mu.view = v
	} else if w := s.mu.writer; w != nil && s.mu.pins == 0 {
		s.mapActive(v, w) // if it was opened before the first append made the map
	}
	s.mu.pins++
	return nil
}

// Repin adds a pin to a segment that the caller has pinned: it cannot fail.
func (s *Segment) Repin() {
	s.mu.Lock()
	s.mu.pins++
	s.mu.Unlock()
}

// Unpin undoes one Pin.
func (s *Segment) Unpin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.pins--
	if s.mu.pins < 0 {
		panic("segment: more unpins than pins")
	}
	s.releaseView()
}

// releaseView gives up what readers looked through, when none is left. The view
// of a live sealed segment goes to the idle list, from which it is taken again
// or dropped; s.mu is held.
func (s *Segment) releaseView() {
	v := s.mu.view
	if v == nil || s.mu.pins > 0 {
		return
	}
	if w := s.mu.writer; w != nil && !s.mu.closed && (v.m != nil || v.shared) {
		return // the active segment keeps its view
	}
	s.mu.view = nil
	if s.mu.closed || s.mu.writer != nil {
		s.maps.drop(v)
		return
	}
	s.maps.park(s, v)
}

// Close refuses new pins and frees everything once the last one is gone. An
// active segment's writer is given up as it stands.
func (s *Segment) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed {
		return nil
	}
	s.mu.closed, s.mu.rest = true, nil
	if s.mu.view == nil {
		s.mu.view = s.maps.take(s)
	}
	var err error
	if w := s.mu.writer; w != nil {
		s.mu.writer = nil
		if s.mu.view != nil && s.mu.pins > 0 {
			w.handOver(s.mu.view)
		}
		err = w.close()
	}
	s.releaseView()
	return err
}

// Remove unlinks the segment's files and closes it: pinned readers go on with
// what they hold. The caller syncs the folder.
func (s *Segment) Remove() error {
	err := s.Close()
	// The log goes first: index files without a log are an unfinished removal,
	// a log without index files would be a segment to recover.
	if err2 := s.dropFile(LogSuffix); err2 != nil {
		return errors.Join(err, err2)
	}
	return errors.Join(err, s.dropFile(IndexSuffix), s.dropFile(TimeSuffix), s.dropFile(TxnSuffix))
}

// dropFile removes one of the segment's files if it is there.
func (s *Segment) dropFile(suffix string) error {
	if err := s.fsys.Remove(s.name(suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
