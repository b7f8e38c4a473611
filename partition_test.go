package leat

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOffsetForTime(t *testing.T) {
	p := timed(t, TopicConfig{})
	for i := range int64(10) {
		got, err := p.OffsetForTime(at(i))
		require.NoError(t, err)
		require.Equal(t, i, got)
	}
	got, err := p.OffsetForTime(at(10))
	require.NoError(t, err)
	require.Equal(t, p.HighWatermark(), got, "none is that late")
	offset, when, err := p.OffsetForMaxTimestamp()
	require.NoError(t, err)
	require.Equal(t, int64(9), offset)
	require.True(t, at(9).Equal(when))
	offset, _, err = part(t, p.topic.store, "empty", TopicConfig{}).OffsetForMaxTimestamp()
	require.NoError(t, err)
	require.Equal(t, int64(-1), offset)
}

func TestEmptyAppend(t *testing.T) {
	p := timed(t, TopicConfig{})
	offset, err := p.Append(ctx)
	require.NoError(t, err)
	require.Equal(t, int64(10), offset)
	require.Equal(t, int64(10), p.LogEndOffset())
	_, err = p.AppendWith(ctx, AppendOptions{Durability: 7}, Record{})
	require.ErrorIs(t, err, ErrInvalidConfig)
}

func TestAppendRefuses(t *testing.T) {
	st := memStore(t)
	p := part(t, st, "small", TopicConfig{MaxBatchBytes: 1000})
	fill(t, p, 1)
	_, err := p.Append(ctx, Record{Value: make([]byte, 1000)})
	require.ErrorIs(t, err, ErrRecordTooLarge)
	_, err = p.Append(ctx, Record{Value: make([]byte, 500)}, Record{Value: make([]byte, 500)})
	require.ErrorIs(t, err, ErrRecordTooLarge, "a call is never split")
	_, err = p.Append(ctx, Record{Timestamp: time.Now().Add(2 * time.Hour)})
	require.ErrorIs(t, err, ErrInvalidTimestamp)
	_, err = p.Append(ctx, Record{Timestamp: time.Now().AddDate(9999, 0, 0)})
	require.ErrorIs(t, err, ErrInvalidTimestamp)
	compacted := part(t, st, "compacted", TopicConfig{Cleanup: CleanupCompact})
	_, err = compacted.Append(ctx, Record{Value: []byte("no key")})
	require.ErrorIs(t, err, ErrInvalidRecord)
	fill(t, p, 1)
	require.Equal(t, []string{"v0", "v1"}, valuesOf(t, p), "nothing else was lost, or written")
	require.False(t, errors.Is(p.Sync(ctx), ErrFailed))
}
