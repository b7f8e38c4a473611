package segment

// Resize changes segment.bytes of the active segment: a smaller one makes the
// next append roll, once there is as much in it. The map of a segment never
// moves, so one that has its map already cannot become larger than that; the next
// segment will be.
//
// The caller keeps the log's writer and its helper away.
func (s *Segment) Resize(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.mu.rest; r != nil {
		if v := s.maps.take(s); v != nil {
			s.maps.drop(v) // it was mapped up to the old limit
		}
		if s.mu.view != nil && s.mu.view.m != nil {
			bytes = min(bytes, r.limit)
		}
		s.cfg.Bytes = bytes
		r.limit = max(r.limit, bytes)
		return
	}
	w := s.mu.writer
	if w == nil {
		return
	}
	mapped := w.m != nil || s.mu.view != nil && s.mu.view.m != nil
	if mapped {
		bytes = min(bytes, w.limit)
	}
	s.cfg.Bytes = bytes
	w.limit = max(w.limit, bytes)
}
