package leat

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/leatlog/leat/internal/coordination"
)

// Fence names who commits, for groups whose protocol is run by somebody else: a
// server that answers Kafka's clients, or a coordinator outside.
type Fence struct {
	Group  string
	Member string // named in errors; whether there is such a member is for the protocol to know
	// Generation is that of the member. A lower one than the last seen is refused.
	// Negative: the commit is of no generation, which is never refused for it, as of a
	// simple consumer of Kafka's, or of an operator.
	Generation int32
}

// Commit commits positions under the name of a group that has no members in this
// store: all of them, in one record batch, or none. When it returns nil they are on
// stable storage, and so are the records below them.
//
// ErrRebalanced: a commit of a later generation was seen, before a restart even, or
// the group has members in this process, who alone commit for it [ILLEGAL_GENERATION,
// UNKNOWN_MEMBER_ID]. Once a generation has been seen, no commit of an earlier one
// comes after it, even if it was under way.
//
// A position may lie below the log start offset: what was done was done. Negative,
// or beyond the high watermark, is an *OffsetError. The others to expect are
// ErrUnknownTopic, ErrUnknownPartition, ErrMetadataTooLarge (above 4096 bytes),
// ErrNoGroup (without a name), ErrNoSpace, ErrReadOnly and ErrClosed. Nothing has
// changed then; after ctx has ended, or with ErrFailed, it may have [OffsetCommit].
func (g *Groups) Commit(ctx context.Context, f Fence, at ...Position) error {
	release, err := g.hold(ctx, f.Group)
	if errors.Is(err, ErrGroupNotEmpty) {
		return fmt.Errorf("%w: %w", ErrRebalanced, err)
	}
	if err != nil {
		return err
	}
	defer release()
	leave, err := g.enter(ctx, &f)
	if err != nil {
		return err
	}
	defer leave()
	return g.store.commitOffsets(ctx, f.Group, at, nil)
}

// generations are the commits that are under way for groups with a protocol of their
// own: those of one group are of one generation, or of none.
type generations struct {
	mu      sync.Mutex
	byGroup map[string]*generation
}

// generation is guarded by generations.mu.
type generation struct {
	users   int // who look at it; without any it is forgotten, and what was saved counts
	now     int32
	running int           // commits under way
	raising bool          // the generation is being saved
	changed chan struct{} // closed when running has become 0, or raising is over
}

// enter admits a commit of a generation that is not below the last one seen, and
// notes it down if it is above. The note is on its way to the log before the commit,
// in the same partition, so that it is durable when that is.
func (g *Groups) enter(ctx context.Context, f *Fence) (leave func(), err error) {
	all := &g.store.generations
	x := all.use(f.Group)
	for {
		// What is saved is read while x is in use, or it could be of before a commit
		// that has come and gone.
		saved, err := g.saved(ctx, f.Group)
		all.mu.Lock()
		x.now = max(x.now, saved.Generation)
		if err == nil && f.Generation >= 0 && f.Generation < x.now {
			err = fmt.Errorf("%w: %q of group %.300q is of generation %d, and %d has been seen",
				ErrRebalanced, f.Member, f.Group, f.Generation, x.now)
		}
		higher := f.Generation > x.now
		switch {
		case err != nil:
		case x.raising || higher && x.running > 0:
			wait := x.changed
			all.mu.Unlock()
			select {
			case <-wait:
				continue
			case <-ctx.Done():
			}
			all.mu.Lock()
			err = ctx.Err()
		case higher:
			x.raising = true
			all.mu.Unlock()
			saved.Generation = f.Generation
			err = g.store.saveGroup(ctx, f.Group, saved)
			all.mu.Lock()
			if x.raising = false; err == nil {
				x.now = f.Generation
				g.store.raiseGeneration(f.Group, f.Generation)
			}
			x.wake()
		}
		if err != nil {
			all.drop(f.Group, x)
			all.mu.Unlock()
			return nil, err
		}
		x.running++
		all.mu.Unlock()
		return func() {
			all.mu.Lock()
			defer all.mu.Unlock()
			if x.running--; x.running == 0 {
				x.wake()
			}
			all.drop(f.Group, x)
		}, nil
	}
}

func (a *generations) use(group string) *generation {
	a.mu.Lock()
	defer a.mu.Unlock()
	x := a.byGroup[group]
	if x == nil {
		if a.byGroup == nil {
			a.byGroup = map[string]*generation{}
		}
		x = &generation{changed: make(chan struct{})}
		a.byGroup[group] = x
	}
	x.users++
	return x
}

// drop ends what use began. mu is held.
func (a *generations) drop(group string, x *generation) {
	if x.users--; x.users == 0 {
		delete(a.byGroup, group)
	}
}

// wake has those who wait look again. generations.mu is held.
func (x *generation) wake() {
	close(x.changed)
	x.changed = make(chan struct{})
}

// saved is what was written down of a group last, as it is to be written next: its
// members, if there were any, are those of an earlier generation. A group that has
// committed only is of generation 0.
func (g *Groups) saved(ctx context.Context, group string) (coordination.GroupValue, error) {
	o, err := g.store.committedOffsets(ctx)
	if err != nil {
		return coordination.GroupValue{}, err
	}
	next := coordination.GroupValue{Version: 3, ProtocolType: "consumer", CurrentStateTimestamp: time.Now().UnixMilli()}
	v, ok, err := o.saved(ctx, group)
	if ok {
		next.ProtocolType, next.Generation = v.ProtocolType, max(v.Generation, 0)
	}
	return next, err
}
