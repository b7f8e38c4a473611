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
