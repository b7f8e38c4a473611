package log

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"

	"github.com/leatlog/leat/internal/vfs"
)

// ErrCheckpoint marks a checkpoint file that does not follow its format, or
// that lists something impossible. The file is a hint: go on without it.
var ErrCheckpoint = errors.New("leat: malformed checkpoint")

// TopicPartition names a partition. It is a key of the offset checkpoints.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String is the name of the partition's folder.
func (t TopicPartition) String() string { return t.Topic + "-" + strconv.Itoa(int(t.Partition)) }

func (t TopicPartition) compare(o TopicPartition) int {
	return cmp.Or(cmp.Compare(t.Topic, o.Topic), cmp.Compare(t.Partition, o.Partition))
}

// ParseOffsetCheckpoint reads one of the four files that list an offset for
// each partition: recovery point, log start, high watermark (Kafka calls it
// replication offset) or cleaner. An empty file lists nothing. What Kafka
// refuses is refused, and beyond it negative numbers and a partition that is
// listed twice. The error matches ErrCheckpoint and names the line.
func ParseOffsetCheckpoint(b []byte) (map[TopicPartition]int64, error) {
	offsets := map[TopicPartition]int64{}
	err := parseCheckpoint(b, 3, func(fields [][]byte) error {
		partition, err := strconv.ParseInt(string(fields[1]), 10, 32)
		if err != nil || partition < 0 {
			return fmt.Errorf("partition %.20q", fields[1])
		}
		offset, err := strconv.ParseInt(string(fields[2]), 10, 64)
		if err != nil || offset < 0 {
			return fmt.Errorf("offset %.20q", fields[2])
		}
		tp := TopicPartition{string(fields[0]), int32(partition)}
		if _, twice := offsets[tp]; twice {
			return fmt.Errorf("%.300q is listed twice", tp)
		}
		offsets[tp] = offset
		return nil
	})
	if err != nil {
		return nil, err
	}
	return offsets, nil
}

// AppendOffsetCheckpoint appends the content of such a file, sorted by topic
// and partition.
//
//	0                          version
//	2                          number of lines to come
//	access 0 1041              topic, partition, offset
//	orders 3 570
func AppendOffsetCheckpoint(dst []byte, offsets map[TopicPartition]int64) []byte {
	dst = appendCheckpointHead(dst, len(offsets))
	for _, tp := range slices.SortedFunc(maps.Keys(offsets), TopicPartition.compare) {
		dst = append(append(dst, tp.Topic...), ' ')
		dst = append(strconv.AppendInt(dst, int64(tp.Partition), 10), ' ')
		dst = append(strconv.AppendInt(dst, offsets[tp], 10), '\n')
	}
	return dst
}

func appendCheckpointHead(dst []byte, count int) []byte {
	dst = append(dst, "0\n"...)
	return append(strconv.AppendInt(dst, int64(count), 10), '\n')
}

// parseCheckpoint reads the form that all of Kafka's checkpoints share: version
// 0, a count, and that many lines of so many fields. Nothing is allocated for a
// count that the lines do not bear out. The last line may end without a newline.
func parseCheckpoint(b []byte, fields int, entry func([][]byte) error) error {
	if len(b) == 0 {
		return nil // created and never written: Kafka reads it as empty, too
	}
	head, rest := checkpointLine(b)
	if version, err := strconv.ParseInt(string(bytes.TrimSpace(head)), 10, 32); err != nil || version != 0 {
		return fmt.Errorf("%w: line 1: version %.20q", ErrCheckpoint, head)
	}
	head, rest = checkpointLine(rest)
	count, err := strconv.ParseInt(string(bytes.TrimSpace(head)), 10, 32)
	if err != nil || count < 0 {
		return fmt.Errorf("%w: line 2: count %.20q", ErrCheckpoint, head)
	}
	found := int64(0)
	for len(rest) > 0 {
		var line []byte
		line, rest = checkpointLine(rest)
		if found++; found > count {
			return fmt.Errorf("%w: more than the %d lines announced", ErrCheckpoint, count)
		}
		split := bytes.Fields(line)
		if len(split) != fields {
			return fmt.Errorf("%w: line %d: %d fields, not %d", ErrCheckpoint, found+2, len(split), fields)
		}
		if err := entry(split); err != nil {
			return fmt.Errorf("%w: line %d: %w", ErrCheckpoint, found+2, err)
		}
	}
	if found < count {
		return fmt.Errorf("%w: %d lines, %d announced", ErrCheckpoint, found, count)
	}
	return nil
}

func checkpointLine(b []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(b, []byte{'\n'})
	return line, rest
}

// WriteFile replaces the file by one that holds data, so that whoever opens it,
// also after a power cut, finds either the old content or the new one. When it
// returns nil the new one is durable. It goes through name + ".tmp", as Kafka
// does; calls for one name must not overlap.
func WriteFile(fsys vfs.FS, name string, data []byte) error {
	if err := replaceFile(fsys, name, data); err != nil {
		return err
	}
	return fsys.SyncDir(path.Dir(name))
}

// temporarySuffix is that of a file that WriteFile has not put in place.
const temporarySuffix = ".tmp"

// replaceFile is WriteFile without the sync of the folder.
func replaceFile(fsys vfs.FS, name string, data []byte) error {
	tmp := name + temporarySuffix
	if err := writeTemporary(fsys, tmp, data); err != nil {
		_ = fsys.Remove(tmp) // the cause is what counts, and the next call takes the name anyway
		return err
	}
	if err := fsys.Rename(tmp, name); err != nil {
		_ = fsys.Remove(tmp)
		return err
	}
	return nil
}

func writeTemporary(fsys vfs.FS, name string, data []byte) error {
	f, err := fsys.Create(name)
	if errors.Is(err, fs.ErrExist) { // left by a process that died between the two steps
		if err := fsys.Remove(name); err != nil {
			return err
		}
		f, err = fsys.Create(name)
	}
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
