package leat

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/golden"
)

// diskStore opens a store in a directory, which the test closes.
func diskStore(t testing.TB, dir string, o *Options) *Store {
	t.Helper()
	st, err := Open(dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}

// shared are the files among them that are in both, and one and the same.
func shared(t testing.TB, a, b string) (list []string) {
	t.Helper()
	for name := range tree(t, a) {
		x, err1 := os.Stat(filepath.Join(a, name))
		y, err2 := os.Stat(filepath.Join(b, name))
		if err1 == nil && err2 == nil && os.SameFile(x, y) {
			list = append(list, name)
		}
	}
	return list
}

func same(t testing.TB, want, got map[string]string) {
	t.Helper()
	for name, b := range want {
		require.True(t, b == got[name], "%s: %d bytes, and %d", name, len(b), len(got[name]))
	}
	for name := range got {
		require.Contains(t, want, name)
	}
}

// writers are the two ways to write, where there are two.
var writers = []Writer{WriterMapped, WriterPwrite}

// TestBackup: the copy has what the store had, opens without a scan, shares what
// is sealed, and goes on by itself.
func TestBackup(t *testing.T) {
	for _, w := range writers {
		for _, how := range []string{"link", "copy"} {
			t.Run(fmt.Sprint(w, "/", how), func(t *testing.T) {
				dir, to := t.TempDir(), filepath.Join(t.TempDir(), "a", "b")
				st, err := Open(dir, &Options{Writer: w})
				require.NoError(t, err)
				fill(t, part(t, st, "orders", TopicConfig{SegmentBytes: 2 << 10, Partitions: 2}), 90)
				fill(t, part(t, st, "written", TopicConfig{SegmentBytes: 2 << 10, Durability: Written}), 90)
				require.NoError(t, st.Close()) // all that was rolled is sealed
				st = diskStore(t, dir, &Options{Writer: w})
				p, q := reopened(t, st, "orders"), reopened(t, st, "written")
				fill(t, p, 10)
				fill(t, q, 10)
				require.NoError(t, p.DeleteRecords(ctx, 30))
				var last BackupProgress
				r, err := st.Backup(ctx, to, BackupOptions{Copy: how == "copy", Progress: func(p BackupProgress) {
					require.GreaterOrEqual(t, p.Done, last.Done)
					last = p
				}})
				require.NoError(t, err)
				require.Equal(t, 2, r.Topics)
				require.Equal(t, 3, r.Partitions)
				require.Equal(t, last.Total, last.Done)
				if how == "copy" {
					require.Zero(t, r.Linked)
					require.Empty(t, shared(t, dir, to))
				} else {
					require.Greater(t, r.Linked, r.Copied)
					require.Greater(t, len(shared(t, dir, to)), 5)
				}
				require.FileExists(t, filepath.Join(to, cleanName))
				require.NoFileExists(t, filepath.Join(to, unfinishedName))
				want, values := offsetsOf(t, p, ReaderOptions{UntilEnd: true}), valuesOf(t, p)

				f, err := OpenReadOnly(to, nil)
				require.NoError(t, err)
				require.Equal(t, want, offsetsOf(t, reopened(t, f, "orders"), ReaderOptions{UntilEnd: true}))
				require.Equal(t, int64(100), reopened(t, f, "written").LogEndOffset())
				require.NoError(t, f.Close())

				recovered := 0
				c, err := Open(to, &Options{Writer: w, Observer: &Observer{Recover: func(Event) { recovered++ }}})
				require.NoError(t, err)
				cp := reopened(t, c, "orders")
				require.Equal(t, values, valuesOf(t, cp))
				require.Equal(t, int64(30), cp.LogStartOffset())
				require.Zero(t, recovered, "the copy was closed in order")
				fill(t, cp, 50)
				fill(t, p, 10)
				require.NoError(t, c.Close())
				require.Equal(t, int64(110), p.LogEndOffset())
			})
		}
	}
}

// TestBackupShared: whatever is done to a store or its copy, the other one keeps
// every byte.
func TestBackupShared(t *testing.T) {
	changes := map[string]func(t testing.TB, dir string, w Writer){
		"append": func(t testing.TB, dir string, w Writer) { edit(t, dir, w, func(p *Partition) { fill(t, p, 50) }) },
		"truncate": func(t testing.TB, dir string, w Writer) {
			edit(t, dir, w, func(p *Partition) {
				require.NoError(t, p.TruncateTo(57))
				fill(t, p, 60)
			})
		},
		"truncate to the end of a segment": func(t testing.TB, dir string, w Writer) {
			edit(t, dir, w, func(p *Partition) {
				base := bases(t, filepath.Join(dir, "orders-0"))
				require.NoError(t, p.TruncateTo(base[len(base)-2]))
				require.NoError(t, p.TruncateTo(base[len(base)-2]-1))
				fill(t, p, 60)
			})
		},
		"reset": func(t testing.TB, dir string, w Writer) {
			edit(t, dir, w, func(p *Partition) { require.NoError(t, p.ResetTo(7)) })
		},
		"delete": func(t testing.TB, dir string, w Writer) {
			edit(t, dir, w, func(p *Partition) { require.NoError(t, p.DeleteRecords(ctx, 80)) })
		},
		"delete the topic": func(t testing.TB, dir string, w Writer) {
			edit(t, dir, w, func(p *Partition) { require.NoError(t, p.Topic().store.DeleteTopic(ctx, "orders")) })
		},
		"compact": func(t testing.TB, dir string, w Writer) {
			edit(t, dir, w, func(p *Partition) {
				c := p.Topic().Config()
				c.Cleanup = CleanupCompact
				require.NoError(t, p.Topic().SetConfig(ctx, c))
				_, err := p.Append(ctx, Record{Key: []byte("k3"), Value: []byte("another")})
				require.NoError(t, err)
				first := fmt.Sprintf("%020d.log", bases(t, filepath.Join(dir, "orders-0"))[0])
				was := tree(t, filepath.Join(dir, "orders-0"))[first]
				require.NoError(t, p.Topic().Compact(ctx, nil))
				require.NotEqual(t, was, tree(t, filepath.Join(dir, "orders-0"))[first])
				fill(t, p, 30)
			})
		},
		"repair what is torn": func(t testing.TB, dir string, w Writer) {
			require.NotEmpty(t, repaired(t, dir, true))
			edit(t, dir, w, func(p *Partition) { fill(t, p, 30) })
		},
		"recover a torn tail in what was sealed": func(t testing.TB, dir string, w Writer) {
			// Without anything that says how far it was durable.
			for _, name := range []string{stateName, recoveryName, cleanName, "orders-0/segments.sum"} {
				require.NoError(t, os.Remove(filepath.Join(dir, name)))
			}
			edit(t, dir, w, func(p *Partition) { fill(t, p, 30) })
		},
		"recover, with nothing behind a segment": func(t testing.TB, dir string, w Writer) {
			for _, name := range []string{stateName, recoveryName, cleanName, "orders-0/segments.sum"} {
				require.NoError(t, os.Remove(filepath.Join(dir, name)))
			}
			base := bases(t, filepath.Join(dir, "orders-0"))
			for _, b := range base[3:] {
				require.NoError(t, os.Remove(filepath.Join(dir, fmt.Sprintf("orders-0/%020d.log", b))))
			}
			edit(t, dir, w, func(p *Partition) {
				c := p.Topic().Config()
				c.SegmentBytes = 1 << 20 // so that it is appended to where it ends
				require.NoError(t, p.Topic().SetConfig(ctx, c))
				fill(t, p, 30)
			})
		},
	}
	for name, change := range changes {
		for _, w := range writers {
			t.Run(fmt.Sprint(name, "/", w), func(t *testing.T) {
				for _, copied := range []bool{false, true} {
					if copied == (w == WriterPwrite) && os.Getenv("LEAT_LONG") == "" {
						continue // the other writer does it
					}
					dir, to := t.TempDir(), filepath.Join(t.TempDir(), "b")
					edit(t, dir, w, nil)
					func() {
						st, err := Open(dir, &Options{Writer: w})
						require.NoError(t, err)
						defer st.Close()
						_, err = st.Backup(ctx, to, BackupOptions{})
						require.NoError(t, err)
					}()
					require.Greater(t, len(shared(t, dir, to)), 5)
					one, other := dir, to
					if copied {
						one, other = to, dir
					}
					if strings.Contains(name, "torn") { // in both, since it is one file
						tear(t, filepath.Join(one, fmt.Sprintf("orders-0/%020d.log", bases(t, filepath.Join(one, "orders-0"))[2])))
					}
					before := tree(t, other)
					change(t, one, w)
					same(t, before, tree(t, other))
				}
			})
		}
	}
}

// edit opens the store in a directory, making the topic if need be, and closes it.
func edit(t testing.TB, dir string, w Writer, do func(p *Partition)) {
	t.Helper()
	st, err := Open(dir, &Options{Writer: w})
	require.NoError(t, err)
	if do == nil {
		fill(t, part(t, st, "orders", TopicConfig{SegmentBytes: 2 << 10}), 100)
	} else {
		do(reopened(t, st, "orders"))
	}
	require.NoError(t, st.Close())
}

// bases are the base offsets of a folder's segments.
func bases(t testing.TB, folder string) (list []int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.log"))
	require.NoError(t, err)
	for _, f := range files {
		var base int64
		_, err := fmt.Sscanf(filepath.Base(f), "%d.log", &base)
		require.NoError(t, err)
		list = append(list, base)
	}
	return list
}

// tear puts something that is no batch into the middle of a file.
func tear(t testing.TB, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	info, err := f.Stat()
	require.NoError(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, 40), info.Size()/2)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// TestBackupOfFollower: what a follower copies is what its writer had made
// durable.
func TestBackupOfFollower(t *testing.T) {
	dir := t.TempDir()
	edit(t, dir, WriterAuto, nil)
	p := reopened(t, diskStore(t, dir, nil), "orders")
	f, err := OpenReadOnly(dir, nil)
	require.NoError(t, err)
	defer f.Close()
	to := filepath.Join(t.TempDir(), "b")
	before := tree(t, dir)
	r, err := f.Backup(ctx, to, BackupOptions{})
	require.NoError(t, err)
	if bits.UintSize == 64 { // else nothing tells of a truncation at once, and all is copied
		require.Greater(t, r.Linked, r.Copied)
	}
	same(t, before, tree(t, dir))
	fill(t, p, 50)
	c := diskStore(t, to, nil)
	require.Equal(t, valuesOf(t, p)[:100], valuesOf(t, reopened(t, c, "orders")))
}

// TestBackupOfMemory: a store in memory is copied to a directory.
func TestBackupOfMemory(t *testing.T) {
	st := memStore(t)
	p := part(t, st, "orders", TopicConfig{SegmentBytes: 2 << 10})
	fill(t, p, 100)
	to := filepath.Join(t.TempDir(), "b")
	r, err := st.Backup(ctx, to, BackupOptions{})
	require.NoError(t, err)
	require.Zero(t, r.Linked)
	require.Equal(t, valuesOf(t, p), valuesOf(t, reopened(t, diskStore(t, to, nil), "orders")))
}

// TestBackupRefuses: where a copy would do harm, or could be mistaken.
func TestBackupRefuses(t *testing.T) {
	dir := t.TempDir()
	st := diskStore(t, dir, nil)
	fill(t, part(t, st, "orders", TopicConfig{}), 3)
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(dir, link))
	for _, to := range []string{dir, filepath.Join(dir, "x"), filepath.Join(dir, "x", "..", "y", "z"), link, filepath.Join(link, "x")} {
		_, err := st.Backup(ctx, to, BackupOptions{})
		require.ErrorIs(t, err, ErrInvalidConfig, to)
	}
	require.NoDirExists(t, filepath.Join(dir, "x"))

	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "mine"), []byte("x"), 0o600))
	_, err := st.Backup(ctx, full, BackupOptions{})
	require.ErrorIs(t, err, fs.ErrExist)
	require.Len(t, tree(t, full), 1)

	stopped, cancel := context.WithCancel(ctx)
	to := t.TempDir()
	_, err = st.Backup(stopped, to, BackupOptions{Progress: func(BackupProgress) { cancel() }})
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, tree(t, to), "it can be tried again")
	_, err = st.Backup(ctx, to, BackupOptions{})
	require.NoError(t, err)

	// What a kill leaves.
	half := t.TempDir()
	require.NoError(t, os.CopyFS(half, os.DirFS(to)))
	require.NoError(t, os.WriteFile(filepath.Join(half, unfinishedName), nil, 0o600))
	_, err = Open(half, nil)
	require.ErrorIs(t, err, ErrUnfinished)
	_, err = OpenReadOnly(half, nil)
	require.ErrorIs(t, err, ErrUnfinished)
	_, err = st.Backup(ctx, half, BackupOptions{})
	require.ErrorIs(t, err, ErrUnfinished)
	require.ErrorIs(t, err, fs.ErrExist)
}

// TestBackupOfDamage: a damaged store is not copied as if it were sound.
func TestBackupOfDamage(t *testing.T) {
	for name, harm := range map[string]func(t testing.TB, folder string, base []int64){
		"batch":             func(t testing.TB, folder string, base []int64) { flipBit(t, folder, base[1], 100) },
		"leader epoch":      func(t testing.TB, folder string, base []int64) { flipBit(t, folder, base[1], 15) },
		"base offset":       func(t testing.TB, folder string, base []int64) { flipBit(t, folder, base[1], 7) },
		"last leader epoch": func(t testing.TB, folder string, base []int64) { flipBit(t, folder, base[len(base)-1], 15) },
		"leader epochs": func(t testing.TB, folder string, base []int64) {
			require.NoError(t, os.WriteFile(filepath.Join(folder, "leader-epoch-checkpoint"), []byte("0\n2\n3 0\n4 50\n"), 0o600))
		},
		"missing": func(t testing.TB, folder string, base []int64) {
			require.NoError(t, os.Remove(filepath.Join(folder, fmt.Sprintf("%020d.log", base[2]))))
		},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "last leader epoch" && bits.UintSize == 32 {
				t.Skip("nothing tells that the checkpoint has the latest epoch")
			}
			dir := t.TempDir()
			edit(t, dir, WriterAuto, nil)
			folder := filepath.Join(dir, "orders-0")
			harm(t, folder, bases(t, folder))
			f, err := OpenReadOnly(dir, nil)
			require.NoError(t, err)
			defer f.Close()
			to := t.TempDir()
			_, err = f.Backup(ctx, to, BackupOptions{})
			require.ErrorIs(t, err, ErrCorrupt)
			require.True(t, strings.Contains(err.Error(), folder), "%v", err)
			require.Empty(t, tree(t, to))
		})
	}
}

// flipBit turns a bit of a segment.
func flipBit(t testing.TB, folder string, base, pos int64) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(folder, fmt.Sprintf("%020d.log", base)), os.O_RDWR, 0)
	require.NoError(t, err)
	var b [1]byte
	_, err = f.ReadAt(b[:], pos)
	require.NoError(t, err)
	b[0] ^= 1
	_, err = f.WriteAt(b[:], pos)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// TestBackupMeanwhile: what happens to a partition while it is copied.
func TestBackupMeanwhile(t *testing.T) {
	for name, test := range map[string]struct {
		do   func(p *Partition)
		want func(was, now map[int64]string) map[int64]string
	}{
		"truncation": {func(p *Partition) {
			require.NoError(t, p.TruncateTo(20))
			_, err := p.Append(ctx, Record{Value: []byte("other")})
			require.NoError(t, err)
			fill(t, p, 100)
		}, func(_, now map[int64]string) map[int64]string { return now }},
		"reset": {func(p *Partition) {
			require.NoError(t, p.ResetTo(500))
			fill(t, p, 10)
		}, func(_, now map[int64]string) map[int64]string { return now }},
		"appends": {func(p *Partition) { fill(t, p, 100) },
			func(was, _ map[int64]string) map[int64]string { return was }},
		"deletion of records": {func(p *Partition) { require.NoError(t, p.DeleteRecords(ctx, 70)) },
			func(was, _ map[int64]string) map[int64]string { return was }},
		"deletion of the topic": {func(p *Partition) { require.NoError(t, p.topic.store.DeleteTopic(ctx, "orders")) },
			func(_, _ map[int64]string) map[int64]string { return nil }},
		"another topic of the name": {func(p *Partition) {
			st := p.topic.store
			require.NoError(t, st.DeleteTopic(ctx, "orders"))
			fill(t, part(t, st, "orders", TopicConfig{}), 7)
		}, func(_, _ map[int64]string) map[int64]string { return nil }},
	} {
		for _, follow := range []bool{false, true} {
			t.Run(fmt.Sprint(name, "/follow=", follow), func(t *testing.T) {
				dir, to := t.TempDir(), filepath.Join(t.TempDir(), "b")
				st := diskStore(t, dir, nil)
				p := part(t, st, "orders", TopicConfig{SegmentBytes: 2 << 10, IndexInterval: 128})
				fill(t, part(t, st, "zebra", TopicConfig{}), 3)
				fill(t, p, 100)
				values := func(p *Partition) map[int64]string {
					m := map[int64]string{}
					r, err := p.Reader(ReaderOptions{UntilEnd: true})
					require.NoError(t, err)
					for rec, err := range r.Records(ctx) {
						require.NoError(t, err)
						m[rec.Offset] = string(rec.Value)
					}
					require.NoError(t, r.Close())
					return m
				}
				was, done := values(p), false
				from := st
				if follow {
					f, err := OpenReadOnly(dir, nil)
					require.NoError(t, err)
					defer f.Close()
					from = f
				}
				seen := 0
				_, err := from.Backup(ctx, to, BackupOptions{Progress: func(BackupProgress) {
					// The first is of __metadata, the second of a segment of orders, when all
					// of them have been linked.
					if seen++; seen == 2 {
						test.do(p)
						done = true
					}
				}})
				require.NoError(t, err)
				require.True(t, done)
				require.Empty(t, unsound(t, to))
				var now map[int64]string
				if !strings.Contains(name, "topic") {
					now = values(p)
				}
				c := diskStore(t, to, nil)
				require.Equal(t, int64(3), reopened(t, c, "zebra").LogEndOffset())
				want := test.want(was, now)
				tp, err := c.Topic("orders")
				if want == nil && err != nil {
					require.ErrorIs(t, err, ErrUnknownTopic)
					require.NoDirExists(t, filepath.Join(to, "orders-0"))
					return
				}
				require.NoError(t, err)
				q, err := tp.Partition(0)
				require.NoError(t, err)
				if want == nil {
					want = was // as it was
				}
				got := values(q)
				switch {
				case len(got) != len(now):
				case follow && bits.UintSize == 32:
					want = now // what is not known to be the same is copied again
				case name == "deletion of records":
					want = now // the deletion may be over before the start is noted
				}
				require.Equal(t, want, got)
			})
		}
	}
}

// TestBackupOfKafka: a directory of a broker, adopted or not, with transactions.
func TestBackupOfKafka(t *testing.T) {
	for _, set := range goldenSets(t) {
		if !golden.Has("partition", set, "clean") {
			continue
		}
		t.Run(set, func(t *testing.T) {
			var want golden.Partition
			golden.JSON(t, &want, "partition", set, "expected.json")
			dir := golden.CopyDir(t, "partition", set, "clean")
			for _, adopted := range []bool{false, true} {
				if adopted {
					follower(t, diskStore(t, dir, nil), &want)
				}
				f, err := OpenReadOnly(dir, nil)
				require.NoError(t, err)
				to := filepath.Join(t.TempDir(), "b")
				r, err := f.Backup(ctx, to, BackupOptions{})
				require.NoError(t, err)
				require.NoError(t, f.Close())
				if adopted && len(want.State.SegmentBaseOffsets) > 1 && bits.UintSize == 64 {
					require.Positive(t, r.Linked)
				}
				require.Empty(t, unsound(t, to))
				c, err := OpenReadOnly(to, nil)
				require.NoError(t, err)
				requireGolden(t, follower(t, c, &want), &want)
				require.NoError(t, c.Close())
			}
		})
	}
}

// TestBackupOfUnused: a partition that was made and never opened has no segment.
func TestBackupOfUnused(t *testing.T) {
	dir, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	st := diskStore(t, dir, nil)
	fill(t, part(t, st, "orders", TopicConfig{Partitions: 3}), 5) // of partition 0
	f, err := OpenReadOnly(dir, nil)
	require.NoError(t, err)
	r, err := f.Backup(ctx, to, BackupOptions{})
	require.NoError(t, err)
	require.Equal(t, 3, r.Partitions)
	require.NoError(t, f.Close())
	for finding, err := range Check(ctx, to, nil) {
		require.NoError(t, err)
		t.Errorf("%+v", finding)
	}
	c := diskStore(t, to, nil)
	tp, err := c.Topic("orders")
	require.NoError(t, err)
	for p := range tp.Partitions() {
		fill(t, p, 1)
	}
}
