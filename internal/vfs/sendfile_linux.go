package vfs

import (
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSend is how much one call of sendfile is asked for: what a socket takes at
// once is less, and a call that could go on for long would hold the descriptor.
const maxSend = 4 << 20

// SendFile sends n bytes of f from off to w by sendfile(2), without copying
// them and without touching the file's offset. The standard library does so for
// an *os.File at its own offset only. It waits as a Write of the connection
// does, deadlines included, and returns how much was sent.
//
// ErrNotSupported: w is not a stream socket of package net, or f not a file of
// the system: write the rest. fs.ErrClosed: f was closed; w is as it was.
// io.ErrUnexpectedEOF: the file ends before. Other errors are w's.
func SendFile(w io.Writer, f File, off, n int64) (sent int64, err error) {
	to, ok := socket(w)
	if !ok {
		return 0, ErrNotSupported
	}
	from, ok := descriptor(f)
	if !ok {
		return 0, ErrNotSupported
	}
	werr := to.Write(func(out uintptr) (done bool) {
		cerr := from.Control(func(in uintptr) { sent, done, err = sendLoop(int(out), int(in), off, n, sent) })
		if cerr != nil {
			err, done = fs.ErrClosed, true // the only reason there is
		}
		return done
	})
	if err == nil {
		err = werr
	}
	return sent, err
}

// sendLoop sends until all is sent, the socket is full (not done) or an error.
func sendLoop(out, in int, off, n, sent int64) (_ int64, done bool, err error) {
	for sent < n {
		at := off + sent
		m, err := unix.Sendfile(out, in, &at, int(min(n-sent, maxSend)))
		if m > 0 {
			sent += int64(m)
		}
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return sent, false, nil
		case err == unix.EINVAL, err == unix.ENOSYS, err == unix.EOPNOTSUPP:
			return sent, true, ErrNotSupported // what is behind the descriptors cannot
		case err != nil:
			return sent, true, os.NewSyscallError("sendfile", err)
		case m == 0:
			return sent, true, io.ErrUnexpectedEOF
		}
	}
	return sent, true, nil
}

// socket is w's descriptor, if it is one that sendfile can write to.
func socket(w io.Writer) (syscall.RawConn, bool) {
	var c syscall.Conn
	switch w := w.(type) {
	case *net.TCPConn:
		c = w
	case *net.UnixConn:
		if a := w.LocalAddr(); a == nil || a.Network() != "unix" {
			return nil, false // datagrams would be cut somewhere
		}
		c = w
	default:
		return nil, false
	}
	rc, err := c.SyscallConn()
	return rc, err == nil
}

func descriptor(f File) (syscall.RawConn, bool) {
	if o, ok := f.(*osFile); ok {
		return o.rc, true
	}
	o := f.OS()
	if o == nil {
		return nil, false
	}
	rc, err := o.SyscallConn()
	return rc, err == nil
}

// CanSend tells whether SendFile may do something for w.
func CanSend(w io.Writer) bool {
	switch w.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	}
	return false
}
