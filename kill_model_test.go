//go:build unix

package leat

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// killModel is what must be in a store: what was seen in it when it was last
// open here, and what was acknowledged since.
type killModel struct {
	dir     string
	topics  map[string]*killTopic
	ids     map[string]bool // of all calls whose records were seen
	records int
}

type killTopic struct {
	partitions []killLog
	deleting   bool // it may be gone
	deleted    bool // it is
}

type killLog struct {
	seen  []string         // what was read, by offset: "id k n"
	acked map[int64]string // what was acknowledged since
}

func newKillModel(dir string) *killModel {
	return &killModel{dir: dir, topics: map[string]*killTopic{}, ids: map[string]bool{}}
}

// take takes a line of the child's.
func (m *killModel) take(t *testing.T, line string) {
	f := strings.Fields(line)
	switch f[0] {
	case "open":
	case "create":
		if m.topics[f[1]] == nil {
			m.topics[f[1]] = &killTopic{partitions: make([]killLog, killInt(t, f[2]))}
		}
	case "append":
		l := &m.topics[f[1]].partitions[killInt(t, f[2])]
		base, n := killInt(t, f[3]), killInt(t, f[5])
		if l.acked == nil {
			l.acked = map[int64]string{}
		}
		for k := range n {
			if _, ok := l.acked[base+k]; ok || base < int64(len(l.seen)) {
				t.Fatalf("%q: offset %d was given before", line, base+k)
			}
			l.acked[base+k] = fmt.Sprintf("%s %d %d", f[4], k, n)
		}
	case "deleting":
		m.topics[f[1]].deleting = true
	case "deleted":
		m.topics[f[1]].deleted = true
	default:
		t.Fatalf("the child says %q", line)
	}
}

func killInt(t *testing.T, s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	require.NoError(t, err)
	return n
}

// end is the offset behind the last record that must be there.
func (l *killLog) end() int64 {
	end := int64(len(l.seen))
	for offset := range l.acked {
		end = max(end, offset+1)
	}
	return end
}

// verify opens the store, compares all of it with the model, and takes what is
// there as what must be there from now on. The store is closed in order, or as
// if this process had been killed as well.
func (m *killModel) verify(t *testing.T, closed bool) (torn int) {
	report := &killReport{}
	st, err := Open(m.dir, &Options{Logger: slog.New(report)})
	require.NoError(t, err)
	ends := map[string]int64{}
	for name, kt := range m.topics {
		tp, err := st.Topic(name)
		if err != nil && kt.deleting || kt.deleted {
			require.ErrorIs(t, err, ErrUnknownTopic)
			folders, err := filepath.Glob(filepath.Join(m.dir, name+"-*"))
			require.NoError(t, err)
			require.Empty(t, folders, "of a topic that is deleted")
			delete(m.topics, name)
			continue
		}
		require.NoError(t, err, "topic %s was acknowledged", name)
		require.Equal(t, int32(len(kt.partitions)), tp.Config().Partitions)
	}
	m.records = 0
	for tp := range st.Topics() {
		kt := m.topics[tp.Name()]
		if kt == nil { // created, and killed before it said so
			kt = &killTopic{partitions: make([]killLog, tp.Config().Partitions)}
			m.topics[tp.Name()] = kt
		}
		for id := range kt.partitions {
			p, err := tp.Partition(int32(id))
			require.NoError(t, err)
			ends[p.String()] = kt.partitions[id].end()
			m.read(t, p, &kt.partitions[id])
		}
	}
	torn = report.check(t, m.dir, ends)
	if closed {
		require.NoError(t, st.Close())
	} else {
		st.abandonAll()
	}
	return torn
}

// read reads a partition. Offsets are dense, what was acknowledged is there, what
// was there stays, no call's records are there twice, or only some of them.
func (m *killModel) read(t *testing.T, p *Partition, l *killLog) {
	rd, err := p.Reader(ReaderOptions{UntilEnd: true})
	require.NoError(t, err)
	defer rd.Close()
	seen := l.seen[:0:0]
	var id string
	k, n := 0, 0
	for rec, err := range rd.Records(context.Background()) {
		if err != nil {
			t.Fatalf("%v: %v", p, err)
		}
		offset := int64(len(seen))
		if rec.Offset != offset {
			t.Fatalf("%v: offset %d stands where %d is next", p, rec.Offset, offset)
		}
		head, _, _ := strings.Cut(string(rec.Value), "\n")
		seen = append(seen, head)
		if k == n { // a call begins
			name, count, ok := strings.Cut(head, " 0 ")
			if !ok {
				t.Fatalf("%v: offset %d: %q comes without what was before it", p, offset, head)
			}
			id, k, n = name, 0, int(killInt(t, count))
			if offset >= int64(len(l.seen)) {
				if m.ids[id] {
					t.Fatalf("%v: offset %d: %q is there twice", p, offset, head)
				}
				m.ids[id] = true
			}
		}
		if string(rec.Key) != id || !bytes.Equal(rec.Value, killValue(id, k, n)) {
			t.Fatalf("%v: offset %d: %q is not record %d of %q", p, offset, rec.Value, k, id)
		}
		k++
		if offset < int64(len(l.seen)) && l.seen[offset] != head {
			t.Fatalf("%v: offset %d was %q and is %q", p, offset, l.seen[offset], head)
		}
		if acked, ok := l.acked[offset]; ok && acked != head {
			t.Fatalf("%v: offset %d was acknowledged as %q and is %q", p, offset, acked, head)
		}
	}
	require.Equal(t, n, k, "%v: the last of %q are not there", p, id)
	end := int64(len(seen))
	require.GreaterOrEqual(t, end, l.end(), "%v: what was acknowledged is not there", p)
	require.Equal(t, end, p.LogEndOffset(), p)
	require.Equal(t, end, p.HighWatermark(), p)
	require.Zero(t, p.LogStartOffset(), p)
	l.seen, l.acked = seen, nil
	m.records += len(seen)
}

// killReport is the log of an open, which must say of no damage and of no cut but
// behind what was acknowledged.
type killReport struct {
	mu      sync.Mutex
	entries []killEntry
}

type killEntry struct {
	level   slog.Level
	message string
	attrs   map[string]slog.Value
}

func (e killEntry) String() string { return fmt.Sprintf("%v %s %v", e.level, e.message, e.attrs) }

func (r *killReport) Enabled(context.Context, slog.Level) bool { return true }
func (r *killReport) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *killReport) WithGroup(string) slog.Handler            { return r }

func (r *killReport) Handle(_ context.Context, rec slog.Record) error {
	e := killEntry{rec.Level, rec.Message, map[string]slog.Value{}}
	rec.Attrs(func(a slog.Attr) bool { e.attrs[a.Key] = a.Value; return true })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, e)
	return nil
}

func (r *killReport) check(t *testing.T, dir string, acked map[string]int64) (torn int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.entries {
		switch e.message {
		case "cut off":
			path := e.attrs["path"].String()
			partition := filepath.Base(filepath.Dir(path))
			require.GreaterOrEqual(t, e.attrs["offset"].Int64(), acked[partition], e)
			kept := e.attrs["kept in"].String()
			info, err := os.Stat(filepath.Join(dir, partition, kept))
			require.NoError(t, err)
			require.NotEmpty(t, kept)
			require.Equal(t, e.attrs["bytes"].Int64(), info.Size())
			torn++
		case "torn tail cut off": // the same, as package log says it
		case "left alone: folder of no topic": // killed in the middle of CreateTopic
			require.NotContains(t, acked, filepath.Base(e.attrs["path"].String()))
		case "file made again": // killed in the middle of the first Open
			require.Equal(t, filepath.Join(dir, metadataTopic+"-0", partitionMetadata), e.attrs["path"].String())
			require.Empty(t, acked)
		case "recovered":
			require.Zero(t, e.attrs["start"].Int64(), e)
			require.GreaterOrEqual(t, e.attrs["end"].Int64(), acked[e.attrs["partition"].String()], e)
		default:
			require.Less(t, e.level, slog.LevelWarn, "a killed process leaves nothing to warn of: %v", e)
		}
	}
	return torn
}
