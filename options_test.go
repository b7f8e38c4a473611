package leat

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// optionCase is one option of a topic: set, written with, closed, opened again
// and looked at.
type optionCase struct {
	c TopicConfig
	// effect writes to the topic's first partition, which was opened again, and
	// sees what the option does. nil: it is for retention or compaction, whose
	// tests do.
	effect func(t *testing.T, fsys vfs.FS, p *Partition)
}

var written = AppendOptions{Durability: Written}

// optionCases have a line for each field of TopicConfig.
var optionCases = map[string]optionCase{
	"Partitions": {TopicConfig{Partitions: 3}, func(t *testing.T, _ vfs.FS, p *Partition) {
		_, err := p.Topic().Partition(2)
		require.NoError(t, err)
	}},
	"Durability": {TopicConfig{Durability: Written}, func(t *testing.T, _ vfs.FS, p *Partition) {
		fill(t, p, 1)
		require.Less(t, p.Describe().DurableEnd, p.HighWatermark())
	}},
	"FlushInterval": {TopicConfig{Durability: Written, FlushInterval: 250 * time.Millisecond}, func(t *testing.T, _ vfs.FS, p *Partition) {
		fill(t, p, 1)
		time.Sleep(249 * time.Millisecond) // of the bubble
		synctest.Wait()
		require.Less(t, p.Describe().DurableEnd, p.LogEndOffset())
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, p.LogEndOffset(), p.Describe().DurableEnd)
	}},
	"FlushBytes": {TopicConfig{Durability: Written, FlushBytes: 1 << 10}, func(t *testing.T, _ vfs.FS, p *Partition) {
		for range 5 {
			_, err := p.Append(ctx, Record{Value: make([]byte, 900)})
			require.NoError(t, err)
		}
		synctest.Wait()
		require.GreaterOrEqual(t, p.Describe().DurableEnd, p.LogEndOffset()-1)
	}},
	"External": {TopicConfig{External: ExternalWatermark}, func(t *testing.T, _ vfs.FS, p *Partition) {
		was := p.HighWatermark()
		fill(t, p, 3)
		require.Equal(t, was, p.HighWatermark())
	}},
	"Compression": {TopicConfig{Compression: LZ4}, func(t *testing.T, _ vfs.FS, p *Partition) {
		b, err := reader(t, p, ReaderOptions{}).Next(ctx)
		require.NoError(t, err)
		require.Equal(t, LZ4, b.Compression())
	}},
	"Cleanup": {TopicConfig{Cleanup: CleanupCompact}, func(t *testing.T, _ vfs.FS, p *Partition) {
		_, err := p.Append(ctx, Record{Value: []byte("no key")})
		require.ErrorIs(t, err, ErrInvalidRecord)
	}},
	"SegmentBytes": {TopicConfig{SegmentBytes: 2 << 10}, func(t *testing.T, _ vfs.FS, p *Partition) {
		was := p.Describe().Segments
		for range 4 {
			_, err := p.Append(ctx, Record{Value: make([]byte, 1500)})
			require.NoError(t, err)
		}
		require.Greater(t, p.Describe().Segments, was+2)
	}},
	"SegmentAge": {TopicConfig{SegmentAge: time.Hour}, func(t *testing.T, _ vfs.FS, p *Partition) {
		was := p.Describe().Segments
		_, err := p.Append(ctx, Record{Value: []byte("x"), Timestamp: time.Now().Add(59 * time.Minute)})
		require.NoError(t, err)
		require.Equal(t, was, p.Describe().Segments)
		time.Sleep(30 * time.Minute) // of the bubble
		_, err = p.Append(ctx, Record{Value: []byte("x"), Timestamp: time.Now().Add(59 * time.Minute)})
		require.NoError(t, err)
		require.Equal(t, was+1, p.Describe().Segments)
	}},
	"Retention.Age":              {TopicConfig{Retention: Retention{Age: time.Hour}}, nil},
	"Retention.Bytes":            {TopicConfig{Retention: Retention{Bytes: 1 << 30}}, nil},
	"Retention.Groups":           {TopicConfig{Retention: Retention{Groups: []string{"a", "b"}}}, nil},
	"Retention.GroupsBytes":      {TopicConfig{Retention: Retention{GroupsBytes: 1 << 30}}, nil},
	"Compaction.MinDirtyRatio":   {TopicConfig{Compaction: Compaction{MinDirtyRatio: 0.25}}, nil},
	"Compaction.MinLag":          {TopicConfig{Compaction: Compaction{MinLag: time.Minute}}, nil},
	"Compaction.MaxLag":          {TopicConfig{Compaction: Compaction{MaxLag: time.Hour}}, nil},
	"Compaction.TombstoneRetain": {TopicConfig{Compaction: Compaction{TombstoneRetain: time.Hour}}, nil},
	"MaxBatchBytes": {TopicConfig{MaxBatchBytes: 500}, func(t *testing.T, _ vfs.FS, p *Partition) {
		_, err := p.Append(ctx, Record{Value: make([]byte, 400)})
		require.NoError(t, err)
		_, err = p.Append(ctx, Record{Value: make([]byte, 500)})
		require.ErrorIs(t, err, ErrRecordTooLarge)
	}},
	"Timestamps": {TopicConfig{Timestamps: LogAppendTime}, func(t *testing.T, _ vfs.FS, p *Partition) {
		_, err := p.Append(ctx, Record{Value: []byte("x"), Timestamp: time.UnixMilli(5)})
		require.NoError(t, err)
		for rec, err := range reader(t, p, ReaderOptions{UntilEnd: true}).Records(ctx) {
			require.NoError(t, err)
			require.NotEqual(t, int64(5), rec.Timestamp.UnixMilli())
		}
	}},
	"TimestampBefore": {TopicConfig{TimestampBefore: time.Hour}, func(t *testing.T, _ vfs.FS, p *Partition) {
		_, err := p.Append(ctx, Record{Timestamp: time.Now().Add(-2 * time.Hour)})
		require.ErrorIs(t, err, ErrInvalidTimestamp)
	}},
	"TimestampAfter": {TopicConfig{TimestampAfter: time.Minute}, func(t *testing.T, _ vfs.FS, p *Partition) {
		_, err := p.Append(ctx, Record{Timestamp: time.Now().Add(2 * time.Minute)})
		require.ErrorIs(t, err, ErrInvalidTimestamp)
	}},
	"IndexBytes": {TopicConfig{IndexBytes: 24, IndexInterval: 1}, func(t *testing.T, _ vfs.FS, p *Partition) {
		fill(t, p, 10)
		require.Greater(t, p.Describe().Segments, 3, "indexes of three entries")
	}},
	"IndexInterval": {TopicConfig{IndexInterval: 1}, func(t *testing.T, fsys vfs.FS, p *Partition) {
		fill(t, p, 5)
		require.NoError(t, p.Topic().store.Close())
		info, err := fsys.Stat(p.String() + "/00000000000000000000.index")
		require.NoError(t, err)
		require.GreaterOrEqual(t, info.Size, int64(8*4), "an entry for every batch but the first since it was opened")
	}},
}

// fieldNames are the fields of a struct, and of those within it.
func fieldNames(v reflect.Value, prefix string) (names []string) {
	for i := range v.NumField() {
		name := prefix + v.Type().Field(i).Name
		if v.Field(i).Kind() == reflect.Struct && v.Type().Field(i).Type != reflect.TypeFor[TopicConfig]() {
			names = append(names, fieldNames(v.Field(i), name+".")...)
			continue
		}
		names = append(names, name)
	}
	return names
}

// TestEachTopicOption: none is forgotten, each is stored, and does what it says
// after the store was opened again, whether it was there from the beginning or
// set later.
func TestEachTopicOption(t *testing.T) {
	require.ElementsMatch(t, fieldNames(reflect.ValueOf(TopicConfig{}), ""), slices.Collect(maps.Keys(optionCases)))
	for name, o := range optionCases {
		for _, later := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/later=%v", name, later), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { requireOption(t, o, later && name != "Partitions") })
			})
		}
	}
}

func requireOption(t *testing.T, o optionCase, later bool) {
	fsys := vfs.NewMem()
	st, err := openFS(fsys, nil)
	require.NoError(t, err)
	base := TopicConfig{SegmentBytes: 64 << 10, FlushInterval: Unlimited}
	c := o.c
	if c.SegmentBytes == 0 {
		c.SegmentBytes = base.SegmentBytes
	}
	if c.FlushInterval == 0 {
		c.FlushInterval = Unlimited
	}
	var p *Partition
	if later {
		p = part(t, st, "orders", base)
		require.NoError(t, p.Topic().SetConfig(ctx, c))
	} else {
		p = part(t, st, "orders", c)
	}
	fill(t, p, 5)
	require.NoError(t, st.Close())

	st = openStore(t, fsys, nil)
	p = reopened(t, st, "orders")
	require.Equal(t, c.withDefaults(TopicConfig{}), p.Topic().Config())
	if c.External == 0 {
		require.Equal(t, count(0, 5), offsetsOf(t, p, ReaderOptions{}))
	}
	if o.effect != nil {
		o.effect(t, fsys, p)
	}
}

// optionTests names the test of each field of Options.
var optionTests = map[string]string{
	"FileMode":  "TestFilesOfAStore",
	"LockWait":  "TestLockWait",
	"Topic":     "TestOptionsTopic",
	"Writer":    "TestWriterAndMaps",
	"MaxMaps":   "TestWriterAndMaps",
	"Logger":    "TestLoggerOption",
	"Observer":  "TestObserver",
	"DiskLimit": "TestDiskLimit",

	"OffsetsRetention": "TestOffsetsRetention",

	"Cleaner.Off":    "TestCompactOff",
	"Cleaner.Memory": "TestCompactMemory",
	"Cleaner.Rate":   "TestCompactRate",
}

func TestEachOptionHasATest(t *testing.T) {
	require.ElementsMatch(t, fieldNames(reflect.ValueOf(Options{}), ""), slices.Collect(maps.Keys(optionTests)))
	for field, name := range optionTests {
		found := false
		list, err := os.ReadDir(".")
		require.NoError(t, err)
		for _, e := range list {
			if b, err := os.ReadFile(e.Name()); err == nil && bytes.Contains(b, []byte("func "+name+"(t *testing.T)")) {
				found = true
			}
		}
		require.True(t, found, "%s: there is no %s", field, name)
	}
}

// TestWriterAndMaps: what one writer wrote, with however many maps, is the same
// to the others.
func TestWriterAndMaps(t *testing.T) {
	var files map[string]string
	for _, w := range []Writer{WriterAuto, WriterMapped, WriterPwrite} {
		for _, n := range []int{1, 3, 1000} {
			dir := t.TempDir()
			st, err := Open(dir, &Options{Writer: w, MaxMaps: n})
			require.NoError(t, err)
			p := part(t, st, "orders", TopicConfig{SegmentBytes: 4 << 10, FlushInterval: Unlimited})
			for range 40 {
				_, err := p.AppendWith(ctx, written, Record{Value: noise(300), Timestamp: time.Now().Truncate(24 * time.Hour)})
				require.NoError(t, err)
			}
			require.NoError(t, st.Close())
			logs := map[string]string{}
			for name, b := range tree(t, dir) {
				if len(name) > 9 && name[:9] == "orders-0/" && (name[len(name)-4:] == ".log" || name[len(name)-6:] == ".index") {
					logs[name] = b
				}
			}
			if files == nil {
				files = logs
			}
			require.Equal(t, files, logs, "%v, %d maps", w, n)
			st, err = Open(dir, &Options{Writer: (w + 1) % 3, MaxMaps: 2})
			require.NoError(t, err)
			require.Equal(t, count(0, 40), offsetsOf(t, reopened(t, st, "orders"), ReaderOptions{}))
			require.NoError(t, st.Close())
		}
	}
}

// TestLoggerOption: it is told of what is noteworthy; without one there is
// silence.
func TestLoggerOption(t *testing.T) {
	fsys := vfs.NewMem()
	require.NoError(t, fsys.Mkdir("old-0"))
	var said bytes.Buffer
	st, err := openFS(fsys, &Options{Logger: slog.New(slog.NewTextHandler(&said, nil))})
	require.NoError(t, err)
	require.Contains(t, said.String(), "topic adopted")
	require.NoError(t, st.Close())
}
