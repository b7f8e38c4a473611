package log

import (
	"errors"
	"time"

	"github.com/leatlog/leat/segment"
)

// suspect is what looked like damage in a log whose writer's words come late.
type suspect struct{ since, seen time.Time }

// maxSuspects bounds how many places are remembered.
const maxSuspects = 16

// doubts tells whether err is damage that may be none: where the writer's words
// are not mapped, nothing tells at once that it has taken back what is read, or
// that the folder is another topic's by now. And nothing ever tells, while a writer
// recovers, that files are gone because the topic is.
func (f *follower) doubts(err error) bool {
	var damage *segment.CorruptError
	if !errors.As(err, &damage) || !f.told().Late && (!isMissing(err) || f.tick == nil || f.tick(true)) {
		return false
	}
	at := place{damage.Path, damage.Position, damage.Offset}
	now := time.Now()
	f.turn <- struct{}{}
	if f.suspects == nil || len(f.suspects) >= maxSuspects {
		f.suspects = map[place]suspect{}
	}
	s := f.suspects[at]
	if now.Sub(s.seen) > stuckAfter {
		s.since = now
	}
	s.seen = now
	f.suspects[at] = s
	lasted := now.Sub(s.since)
	<-f.turn
	if lasted >= stuckAfter {
		return false
	}
	time.Sleep(min(max(lasted/4, followPause), followPauseMax))
	if f.tick != nil {
		f.tick(true)
	}
	f.poll()
	return true
}
