package log

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/segment"
)

// TestBusyWriterIsNoTrouble: a writer that takes something back at each look is
// waited for, however long; an error that lasts is told.
func TestBusyWriterIsNoTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &follower{scan: &segment.Scan{}}
		for _, err := range []error{ErrRestarted, io.ErrUnexpectedEOF} {
			f.note(err)
			time.Sleep(2 * stuckAfter)
			f.note(err)
			if err == ErrRestarted {
				require.NoError(t, f.trouble())
			} else {
				require.ErrorIs(t, f.trouble(), err)
			}
		}
	})
}

// TestFetchOfAClosedFollower: it was beginning anew when it was closed, and there
// will never be anything to read.
func TestFetchOfAClosedFollower(t *testing.T) {
	g := newRig(t, WriterPwrite, true, smallSegments)
	g.fill(40)
	env := NewEnv(EnvOptions{FS: g.fs})
	defer env.Close()
	l, err := OpenFollower(env, g.dir, g.cfg, FollowState{Told: func() Told { return Told{} }, StartOffset: -1, Sound: true})
	require.NoError(t, err)
	f := new(Fetched)
	require.NoError(t, l.Fetch(FetchOptions{}, f))
	require.NotZero(t, f.Len())
	l.follow.run.Add(1)
	require.NoError(t, l.Close())
	require.ErrorIs(t, l.Fetch(FetchOptions{}, new(Fetched)), ErrClosed)
}
