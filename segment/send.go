package segment

import (
	"errors"
	"io"
	"io/fs"

	"github.com/leatlog/leat/internal/vfs"
)

// sendChunk is how much is read at once to be written to somebody, without a
// map.
const sendChunk = 256 << 10

// maxSends is how often another descriptor is asked for because the one in use
// was closed. That happens once, when the segment is sealed meanwhile.
const maxSends = 3

// Send writes n bytes from pos of a pinned segment to w: to a socket by
// sendfile where the system has it, else from the map or through a buffer. It
// returns how much was written.
//
// Bytes that cannot be had are a *CorruptError, other errors w's.
func (s *Segment) Send(w io.Writer, pos, n int64) (sent int64, err error) {
	for try := 0; try < maxSends && vfs.CanSend(w) && sent < n; try++ {
		f := s.sendable()
		if f == nil {
			break
		}
		m, err := vfs.SendFile(w, f, pos+sent, n-sent)
		sent += m
		switch {
		case err == nil:
		case errors.Is(err, vfs.ErrNotSupported):
			return s.write(w, pos, n, sent)
		case errors.Is(err, fs.ErrClosed):
			// The writer has ended and took its file with it: there is another.
		case errors.Is(err, io.ErrUnexpectedEOF):
			return sent, s.corrupt(pos+sent, -1, err)
		default:
			return sent, err
		}
	}
	return s.write(w, pos, n, sent)
}

// sendable is the descriptor of a pinned segment: the writer's, the readers', or
// one that is opened now and stays with the view. nil: there is none, and the
// map has what was pinned. The name leads to the file that is pinned as long as
// the segment is not closed: whoever removes or replaces it closes it before.
func (s *Segment) sendable() vfs.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.mu.view
	if v.file != nil || s.mu.closed {
		return v.file
	}
	f, err := s.maps.open(s.fsys, s.name(LogSuffix), vfs.ReadOnly)
	if err != nil {
		return nil // too many are open, say
	}
	v.file = f
	return f
}

// write is Send without sendfile, with the first sent bytes sent.
func (s *Segment) write(w io.Writer, pos, n, sent int64) (_ int64, err error) {
	v := s.mu.view
	if sent >= n {
		return sent, nil
	}
	if v.data != nil {
		m, err := writeMapped(w, v, pos+sent, n-sent)
		return sent + m, s.damagedAt(pos+sent+m, err)
	}
	buf := make([]byte, min(n-sent, sendChunk))
	for sent < n {
		b := buf[:min(int64(len(buf)), n-sent)]
		if err := s.ReadAt(b, pos+sent); err != nil {
			return sent, err
		}
		m, err := w.Write(b)
		sent += int64(m)
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// writeMapped hands the map to w. If touching it is a memory fault, what w wrote
// is not known, and counts for nothing.
func writeMapped(w io.Writer, v *view, pos, n int64) (sent int64, err error) {
	defer vfs.Recover(v.path, v.data, &err, vfs.SetFault())
	m, err := w.Write(v.data[pos : pos+n : pos+n])
	return int64(m), err
}

// ReadAt reads bytes of a pinned segment that lie below Size. Where they cannot
// be had it is a *CorruptError.
func (s *Segment) ReadAt(b []byte, pos int64) error {
	v := s.mu.view
	if v.data != nil {
		return s.damagedAt(pos, copyMapped(b, v, pos))
	}
	m, err := v.file.ReadAt(b, pos)
	if m == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return s.corrupt(pos+int64(m), -1, err)
}

func copyMapped(b []byte, v *view, pos int64) (err error) {
	defer vfs.Recover(v.path, v.data, &err, vfs.SetFault())
	copy(b, v.data[pos:])
	return nil
}

// damagedAt gives a memory fault its place.
func (s *Segment) damagedAt(pos int64, err error) error {
	var f *vfs.FaultError
	if errors.As(err, &f) {
		return s.corrupt(max(pos, f.Position), -1, err)
	}
	return err
}
