package log

// maxBacklog is how many rolled segments of a log may wait to be sealed, each with
// a descriptor and a map or two. Segments so small that they fill faster than the
// disk can seal them would take all there are.
const maxBacklog = 64

// waitBacklog holds a roll back until there are fewer. Sealing that has stopped, for
// want of space, is not waited for. writing is held, which sealing does without.
func (s *sealer) waitBacklog() {
	for {
		s.Lock()
		if len(s.queue) < maxBacklog || !s.running {
			s.Unlock()
			return
		}
		if s.shorter == nil {
			s.shorter = make(chan struct{})
		}
		shorter := s.shorter
		s.Unlock()
		<-shorter
	}
}

// shorterLocked is called when the queue has become shorter, or is not worked off
// any more.
func (s *sealer) shorterLocked() {
	if s.shorter != nil {
		close(s.shorter)
		s.shorter = nil
	}
}
