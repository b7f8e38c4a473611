package leat

import (
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTopicNames(t *testing.T) {
	taken := map[string]*Topic{"a.b": nil, "orders": nil}
	for _, c := range []struct {
		name       string
		partitions int32
		says       string // in the error; empty: allowed
	}{
		{"orders2", 1, ""},
		{"A-Za.z_0-9", 1, ""},
		{"...", 1, ""},
		{strings.Repeat("x", 249), 100_000, ""},
		{"", 1, "empty"},
		{".", 1, `"."`},
		{"..", 1, `".."`},
		{"../x", 1, "'/' at byte 2"},
		{"/etc", 1, "'/' at byte 0"},
		{"a\x00", 1, `'\x00' at byte 1`},
		{"a b", 1, "' ' at byte 1"},
		{"über", 1, "at byte 0"},
		{`a\b`, 1, "at byte 1"},
		{strings.Repeat("x", 250), 1, "250 bytes, 249 are allowed"},
		{"__consumer_offsets", 1, "internal"},
		{"__x", 1, "internal"},
		{"a_b", 1, `collides with "a.b"`},
		{"a.b", 1, ""}, // itself: that it exists is found elsewhere
	} {
		err := checkNewTopicName(c.name, c.partitions, maps.Keys(taken))
		if c.says == "" {
			require.NoError(t, err, "%q", c.name)
			continue
		}
		require.ErrorIs(t, err, ErrInvalidTopic, "%q", c.name)
		require.ErrorContains(t, err, c.says, "%q", c.name)
	}
}

func TestFolderNames(t *testing.T) {
	for _, c := range []struct {
		folder    string
		topic     string
		partition int32
		ok        bool
	}{
		{"orders-0", "orders", 0, true},
		{"a-1-20", "a-1", 20, true},
		{"__metadata-0", "__metadata", 0, true},
		{"orders-2147483646", "orders", 2147483646, true},
		{folder: "orders-2147483647"}, // one more partition cannot be counted
		{folder: "orders-03"},         // of the broker's, not of ours
		{folder: "orders-+3"},
		{folder: "orders--3", topic: "orders-", partition: 3, ok: true},
		{folder: "orders-"},
		{folder: "-0"},
		{folder: "orders"},
		{folder: "lost+found-0"},
		{folder: "orders-x"},
		{folder: "..-0"},
	} {
		topic, partition, ok := parseFolder(c.folder)
		require.Equal(t, c.ok, ok, "%q", c.folder)
		if ok {
			require.Equal(t, c.topic, topic, "%q", c.folder)
			require.Equal(t, c.partition, partition, "%q", c.folder)
			require.Equal(t, c.folder, folderName(topic, partition))
		}
	}
	require.True(t, isDeletedFolder("orders-0.0123456789abcdef0123456789abcdef-delete"))
	for _, other := range []string{"orders-0", "my-delete", "orders-0.xyz-delete", "orders.0123456789abcdef0123456789abcdef-delete",
		"orders-0.0123456789abcdef0123456789abcdef-stray", "orders-0.0123456789abcdef0123456789abcde-delete"} {
		require.False(t, isDeletedFolder(other), other)
	}
}

// TestPartitionMetadata uses the text of Kafka's own file.
func TestPartitionMetadata(t *testing.T) {
	const text = "version: 0\ntopic_id: AAAAAAAAACoAAAAAAAAABw"
	id, err := parsePartitionMetadata([]byte(text))
	require.NoError(t, err)
	require.Equal(t, TopicID{7: 42, 15: 7}, id)
	require.Equal(t, text, string(formatPartitionMetadata(id)))
	_, err = parsePartitionMetadata([]byte(text + "\n"))
	require.NoError(t, err)

	for _, bad := range []string{"", "version: 1\ntopic_id: AAAAAAAAACoAAAAAAAAABw", "version: 0", "version: 0\ntopic_id: AAAA",
		"version: 0\nid: AAAAAAAAACoAAAAAAAAABw", text + "\nmore", strings.Replace(text, "AAAA", "????", 1)} {
		_, err := parsePartitionMetadata([]byte(bad))
		require.Error(t, err, "%q", bad)
	}
}

func TestNewTopicID(t *testing.T) {
	seen := map[TopicID]bool{}
	for range 1000 {
		id := newTopicID()
		require.False(t, seen[id])
		seen[id] = true
		require.Len(t, id.String(), 22)
		require.NotEqual(t, byte('-'), id.String()[0])
		require.Equal(t, byte(0x40), id[6]&0xf0, "version 4")
		again, err := parseTopicID(id.String())
		require.NoError(t, err)
		require.Equal(t, id, again)
	}
}

func TestSpans(t *testing.T) {
	s := makeSpans([]int32{12, 0, 2, 1, 5})
	require.Equal(t, "0-2,5,12", s.String())
	for id := range int32(15) {
		require.Equal(t, id <= 2 || id == 5 || id == 12, s.has(id), "%d", id)
	}
	again, err := parseSpans(s.String())
	require.NoError(t, err)
	require.Equal(t, s, again)
	var ids []int32
	for id := range s.all() {
		ids = append(ids, id)
	}
	require.Equal(t, []int32{0, 1, 2, 5, 12}, ids)
	for _, bad := range []string{"", "x", "3-1", "1,1", "5,2", "-1", "1-", "0-2147483647", "1,,2"} {
		_, err := parseSpans(bad)
		require.Error(t, err, "%q", bad)
	}
}
