package leat

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// FuzzState: whatever leat.state holds, it opens, and a partition gets a line.
func FuzzState(f *testing.F) {
	m := vfs.NewMem()
	s, err := openState(m, 1)
	require.NoError(f, err)
	_, _, err = s.claim(42)
	require.NoError(f, err)
	require.NoError(f, s.close())
	good, err := readSmall(m, stateName)
	require.NoError(f, err)
	f.Add(good[:256], false)
	f.Add(good[:64], true)
	f.Add([]byte(stateMagic), true)
	f.Add([]byte{}, false)
	f.Fuzz(func(t *testing.T, b []byte, mapped bool) {
		m := vfs.NewMem()
		m.SetMapped(mapped)
		file, err := m.Create(stateName)
		require.NoError(t, err)
		_, err = file.WriteAt(b, 0)
		require.NoError(t, err)
		require.NoError(t, file.Close())
		s, err := openState(m, 1)
		require.NoError(t, err)
		_, _, err = s.claim(42)
		require.NoError(t, err)
		require.NoError(t, s.close())

		s, err = openState(m, 1)
		require.NoError(t, err)
		_, believed, err := s.claim(42)
		require.NoError(t, err)
		require.True(t, believed)
		require.NoError(t, s.close())
	})
}

// FuzzTopicConfig: a property that is taken means what it says when it is
// written again.
func FuzzTopicConfig(f *testing.F) {
	for name, value := range everyOption.Properties() {
		f.Add(name, value)
	}
	for name, value := range (TopicConfig{}).Properties() {
		f.Add(name, value)
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		c, err := ParseTopicConfig(map[string]string{name: value})
		if err != nil {
			require.ErrorIs(t, err, ErrInvalidConfig)
			return
		}
		again, err := ParseTopicConfig(c.Properties())
		require.NoError(t, err)
		require.Equal(t, c.withDefaults(TopicConfig{}), again.withDefaults(TopicConfig{}))
	})
}

// FuzzNames: a folder name is a partition's only if it is the one that the
// partition would get, and no topic name leads out of the store.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"orders-0", "a-1-20", "../x-0", "orders-03", "0-3,12", "version: 0\ntopic_id: AAAAAAAAACoAAAAAAAAABw"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if topic, id, ok := parseFolder(s); ok {
			require.NoError(t, checkTopicName(topic))
			require.Equal(t, s, folderName(topic, id))
			require.NotContains(t, s, "/")
		}
		if list, err := parseSpans(s); err == nil {
			again, err := parseSpans(list.String())
			require.NoError(t, err)
			require.Equal(t, list, again)
		}
		if id, err := parsePartitionMetadata([]byte(s)); err == nil {
			again, err := parsePartitionMetadata(formatPartitionMetadata(id))
			require.NoError(t, err)
			require.Equal(t, id, again)
		}
		_ = isDeletedFolder(s)
	})
}
