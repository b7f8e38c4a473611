package log

import (
	"log/slog"
	"sync"

	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/segment"
)

// Writer chooses how segments are appended to.
type Writer uint8

const (
	WriterAuto   Writer = iota // mapped where that is safe
	WriterMapped               // through a shared map
	WriterPwrite               // with pwrite
)

// EnvOptions configures an Env.
type EnvOptions struct {
	FS      vfs.FS
	Logger  *slog.Logger // nil: silent
	MaxMaps int          // of memory maps in use at once; 0: none, all is read with pread
	Writer  Writer
	// MaxAwake is how many logs may be open for appending at once; 0: a quarter of
	// the descriptors that the process may have.
	MaxAwake int
	// Observer is told what the logs do; nil: nobody.
	Observer *Observer
}

// Env is what a store lends its logs: files, coders, the budget of maps, and
// the goroutines that work behind their backs. Everything that a log leaves
// running belongs to it and has ended when Close returns.
type Env struct {
	fsys   vfs.FS
	logger *slog.Logger
	coders *compress.Coders
	maps   *segment.Maps
	mapped bool

	work    sync.WaitGroup
	buffers sync.Pool // of *[]byte, for compressed batches
	// Of all logs, so that one that is idle keeps none.
	requests sync.Pool // of *request
	raws     sync.Pool // of *rawCall
	waiters  sync.Pool // of *syncWaiter
	road     road
	awake    awake

	observed *observed
	// unobserved is for the store's own topics: nobody is told what they do, but for
	// what is wrong with them.
	unobserved *observed
}

// NewEnv returns the environment of one store.
func NewEnv(o EnvOptions) *Env {
	e := &Env{
		fsys:   o.FS,
		logger: o.Logger,
		coders: compress.New(),
		maps:   segment.NewMaps(o.MaxMaps),

		observed: newObserved(o.Observer), unobserved: newObserved(nil),
	}
	if e.logger == nil {
		e.logger = slog.New(slog.DiscardHandler)
	}
	switch o.Writer {
	case WriterMapped:
		e.mapped = true
	case WriterAuto:
		e.mapped = o.FS.Mapped()
	}
	e.road.init(e)
	e.awake.init(o.MaxAwake)
	return e
}

// Close waits for every goroutine. All logs must be closed before.
func (e *Env) Close() {
	e.road.close()
	e.work.Wait()
	e.coders.Close()
}

// FS is the store's directory.
func (e *Env) FS() vfs.FS { return e.fsys }

// Coders are the store's.
func (e *Env) Coders() *compress.Coders { return e.coders }

// Logger is never nil.
func (e *Env) Logger() *slog.Logger { return e.logger }

// Maps is the store's budget of memory maps.
func (e *Env) Maps() *segment.Maps { return e.maps }

// Go runs f on a goroutine that Close waits for. The caller makes sure that
// Close has not been called: a log that is not closed yet does.
func (e *Env) Go(f func()) { e.work.Go(f) }

// buffer lends a byte slice of length 0.
func (e *Env) buffer() *[]byte {
	if b, ok := e.buffers.Get().(*[]byte); ok {
		*b = (*b)[:0]
		return b
	}
	return new([]byte)
}

// release takes it back, unless it became so large that keeping it would cost
// more than making it again.
func (e *Env) release(b *[]byte) {
	if cap(*b) <= 4<<20 {
		e.buffers.Put(b)
	}
}
