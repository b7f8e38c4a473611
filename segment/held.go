package segment

// Held holds what readers without a map have read and their user still looks
// at. It is for one goroutine, as are the buffers that share it.
type Held struct{ used, free [][]byte }

// Release ends the life of what was kept: its memory is used again.
func (h *Held) Release() {
	h.free = append(h.free, h.used...)
	clear(h.used)
	h.used = h.used[:0]
	if n := len(h.free); n > maxFree {
		clear(h.free[maxFree:])
		h.free = h.free[:maxFree]
	}
}

// maxFree is of how many buffers the memory is held: enough for a MiB at a time.
const maxFree = 17

// swap keeps b, and gives memory for n bytes in its place, nil if there is none.
func (h *Held) swap(b []byte, n int) []byte {
	h.used = append(h.used, b)
	last := len(h.free) - 1
	if last < 0 {
		return nil
	}
	b = h.free[last]
	h.free[last] = nil
	h.free = h.free[:last]
	if cap(b) < n {
		return nil // so that those of small batches go in time
	}
	return b[:0]
}

// Keep lets what was read with the buffer live until h is released.
func (b *Buffer) Keep(h *Held) { b.kept = h }
