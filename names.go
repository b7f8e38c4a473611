package leat

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// metadataTopic is the internal topic that says which topics there are. Names
// with its prefix are for internal topics, Kafka's and Leat's.
const (
	metadataTopic  = "__metadata"
	internalPrefix = "__"
)

// TopicID identifies a topic for good: one that is deleted and created again
// under the same name has another. It is a UUID, written as Kafka does.
type TopicID [16]byte

// String is the base64 form that Kafka prints and stores, 22 characters.
func (id TopicID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// newTopicID is a random UUID, version 4. As Kafka does, it avoids those whose
// text begins with a dash, which command lines would take for an option.
func newTopicID() TopicID {
	for {
		var id TopicID
		rand.Read(id[:]) // never fails
		id[6] = id[6]&0x0f | 0x40
		id[8] = id[8]&0x3f | 0x80
		if id.String()[0] != '-' {
			return id
		}
	}
}

func parseTopicID(s string) (id TopicID, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("topic id %.40q is not 22 characters of base64", s)
	}
	copy(id[:], b)
	return id, nil
}

// checkTopicName is Kafka's rule, which also keeps a topic's folders inside the
// store.
func checkTopicName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrInvalidTopic)
	case name == "." || name == "..":
		return fmt.Errorf("%w: %q", ErrInvalidTopic, name)
	case len(name) > 249:
		return fmt.Errorf("%w: %.40q... has %d bytes, 249 are allowed", ErrInvalidTopic, name, len(name))
	}
	for i := range len(name) {
		if !topicByte(name[i]) {
			return fmt.Errorf("%w: %q has %q at byte %d; allowed are letters, digits, '.', '_' and '-'", ErrInvalidTopic, name, name[i], i)
		}
	}
	return nil
}

func topicByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}

// checkNewTopicName adds what holds for topics that users create: no internal
// names, a folder name that filesystems take, and no name that differs from
// another only in '.' and '_', which metric names do not tell apart (KIP-3).
func checkNewTopicName(name string, partitions int32, taken func(func(string) bool)) error {
	if err := checkTopicName(name); err != nil {
		return err
	}
	if strings.HasPrefix(name, internalPrefix) {
		return fmt.Errorf("%w: %q: names that begin with %q are for internal topics", ErrInvalidTopic, name, internalPrefix)
	}
	if err := checkFolderName(name, partitions); err != nil {
		return err
	}
	if !strings.ContainsAny(name, "._") {
		return nil
	}
	key := strings.ReplaceAll(name, ".", "_")
	for other := range taken {
		if other != name && strings.ReplaceAll(other, ".", "_") == key {
			return fmt.Errorf("%w: %q collides with %q: '.' and '_' count as the same", ErrInvalidTopic, name, other)
		}
	}
	return nil
}

// checkFolderName refuses a count of partitions whose last has a folder name that
// filesystems do not take.
func checkFolderName(name string, partitions int32) error {
	if n := len(folderName(name, partitions-1)); n > 255 {
		return fmt.Errorf("%w: %.40q...: the folder of partition %d needs a name of %d bytes, 255 are allowed", ErrInvalidTopic, name, partitions-1, n)
	}
	return nil
}

// folderName is the folder of a partition.
func folderName(topic string, partition int32) string {
	return topic + "-" + strconv.Itoa(int(partition))
}

// parseFolder takes the name of a partition folder apart; ok is false for a name
// that folderName would not make of a topic that is allowed.
func parseFolder(name string) (topic string, partition int32, ok bool) {
	dash := strings.LastIndexByte(name, '-')
	if dash < 1 || checkTopicName(name[:dash]) != nil {
		return "", 0, false
	}
	n, err := strconv.ParseInt(name[dash+1:], 10, 32)
	// The largest number would make a count of partitions that does not fit.
	if err != nil || n < 0 || n == math.MaxInt32 || folderName(name[:dash], int32(n)) != name {
		return "", 0, false
	}
	return name[:dash], int32(n), true
}

// isDeletedFolder recognises <topic>-<partition>.<32 hex digits>-delete, which
// Kafka leaves when it is stopped while it deletes a partition.
func isDeletedFolder(name string) bool {
	rest, ok := strings.CutSuffix(name, "-delete")
	dot := strings.LastIndexByte(rest, '.')
	if !ok || dot < 0 || len(rest)-dot-1 != 32 || strings.Trim(rest[dot+1:], "0123456789abcdef") != "" {
		return false
	}
	_, _, ok = parseFolder(rest[:dot])
	return ok
}

const partitionMetadata = "partition.metadata"

// formatPartitionMetadata is the content of partition.metadata. Kafka's has no
// final newline either.
func formatPartitionMetadata(id TopicID) []byte {
	return []byte("version: 0\ntopic_id: " + id.String())
}

func parsePartitionMetadata(b []byte) (TopicID, error) {
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if len(lines) != 2 || lines[0] != "version: 0" {
		return TopicID{}, errors.New("not a version 0 partition.metadata")
	}
	id, ok := strings.CutPrefix(lines[1], "topic_id: ")
	if !ok {
		return TopicID{}, errors.New("partition.metadata without a topic_id")
	}
	return parseTopicID(id)
}
