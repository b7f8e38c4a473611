package log

import (
	"context"
	"fmt"
)

// sealBelow returns when the segments that begin below an offset are sealed, and
// so durable: under Written they wait for a timed flush otherwise. The caller
// keeps the log open.
func (l *Log) sealBelow(ctx context.Context, offset int64) error {
	s := &l.seals
	for tried := false; ; tried = true {
		s.Lock()
		if len(s.queue) == 0 || s.queue[0].seg.Base() >= offset { // it is in order
			s.Unlock()
			return nil
		}
		if !s.running && tried {
			path := s.queue[0].seg.Path()
			s.Unlock()
			if err := l.refusing(); err != nil {
				return err
			}
			return fmt.Errorf("%s is not sealed yet", path)
		}
		s.startLocked(l)
		if s.turned == nil {
			s.turned = make(chan struct{})
		}
		turned := s.turned
		s.Unlock()
		select {
		case <-turned:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
