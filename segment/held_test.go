package segment

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHeld: what is held is not given again before it is released, and then it is.
func TestHeld(t *testing.T) {
	var h Held
	first := []byte{1}
	require.Nil(t, h.swap(first, 1), "there is none")
	require.Nil(t, h.swap([]byte{2}, 1), "the first is looked at")
	h.Release()
	require.Equal(t, 1, cap(h.swap(nil, 1)[:1]))
	got := h.swap(nil, 1)[:1]
	require.Same(t, &first[0], &got[0])
	h.Release()
	require.Nil(t, h.swap(nil, 100), "they are too small")
	for range 3 * maxFree {
		h.swap(make([]byte, 10), 1)
	}
	h.Release()
	require.LessOrEqual(t, len(h.free), maxFree)
	require.Empty(t, h.used)
}
