package log

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock
		for range 100 {
			require.Equal(t, time.Now().UnixMilli(), c.milli())
			time.Sleep(37*time.Millisecond + 999*time.Microsecond + 999)
		}
		time.Sleep(time.Hour)
		require.Equal(t, time.Now().UnixMilli(), c.milli())
	})
}

func BenchmarkClock(b *testing.B) {
	b.Run("time.Now", func(b *testing.B) {
		for b.Loop() {
			_ = time.Now().UnixMilli()
		}
	})
	b.Run("clock", func(b *testing.B) {
		var c clock
		for b.Loop() {
			_ = c.milli()
		}
	})
}
