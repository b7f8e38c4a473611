package log

import (
	"github.com/leatlog/leat/codec"
)

// Restart makes a cursor go on after ErrRestarted, at its offset, in what the
// log is now. Whether what was read below that offset is still there is for the
// caller to find out: EndOffsetForEpoch tells.
func (c *Cursor) Restart() {
	c.drop()
	c.buf.Forget()
	c.run = c.l.followRun()
}

// Expire makes Next answer ErrRestarted, until Restart.
func (c *Cursor) Expire() { c.run = -1 }

// Restarted tells whether Next would answer ErrRestarted: then what was read
// since may be no more.
func (c *Cursor) Restarted() bool { return c.l.follow != nil && c.run != c.l.followRun() }

// Settled tells whether what was asked of the log since Restart is of one run, and
// that run can be read. It is always so of a log that is not followed.
func (c *Cursor) Settled() bool {
	return c.l.follow == nil || c.run&1 == 0 && c.run == c.l.followRun()
}

// followRun is the number of the follower's run; 0 for a log that is not
// followed.
func (l *Log) followRun() int64 {
	if l.follow == nil {
		return 0
	}
	return l.follow.run.Load()
}

// followTries is how often what looks like damage is read again. A writer that
// keeps to the order never shows any.
const followTries = 3

// guard is Next in a log that another process writes: what is read counts only
// if nobody had begun to change it, and damage only once it is beyond doubt.
func (c *Cursor) guard(limit int64) (codec.Batch, error) {
	f := c.l.follow
	c.guarded = true
	defer func() { c.guarded = false }()
	offset := c.offset
	for try := 0; ; try++ {
		if c.l.closed.Load() {
			return nil, ErrClosed
		}
		if c.run != f.run.Load() || c.run&1 == 1 {
			return nil, ErrRestarted
		}
		b, err := c.Next(min(limit, c.l.external.Load()))
		if (err == nil || err == ErrWait) && f.intact(c.run) {
			return b, err
		}
		if !f.again(c.run, err, try) {
			if err == nil || err == ErrWait {
				err = ErrRestarted
			}
			return nil, c.l.Corrupt(f.meant(err))
		}
		c.SeekTo(offset)
		c.buf.Forget()
	}
}

// again polls after a read of a run that may have met changes, and tells whether
// it is to be done again.
func (f *follower) again(run int64, err error, try int) bool {
	if f == nil || err == nil && f.intact(run) || f.l.closed.Load() {
		return false
	}
	if f.doubts(err) {
		return true
	}
	if err != nil {
		f.turn <- struct{}{}
		f.missing = f.missing || isMissing(err)
		<-f.turn
	}
	f.poll()
	return try < followTries || f.run.Load() != run
}

// meant is ErrClosed in place of an error that was met in a log that is closed by
// now: somebody has learnt meanwhile that its topic, and with it the files, are gone.
func (f *follower) meant(err error) error {
	if f != nil && err != nil && f.l.closed.Load() {
		return ErrClosed
	}
	return err
}

// Followed reports whether another process writes the log: who waits for more of
// it has to poll.
func (l *Log) Followed() bool { return l.follow != nil }
