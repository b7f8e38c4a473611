package leat

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
)

// repaired runs a repair to its end.
func repaired(t testing.TB, dir string, apply bool) (steps []RepairStep) {
	t.Helper()
	for s, err := range Repair(ctx, dir, &RepairOptions{Apply: apply}) {
		require.NoError(t, err)
		require.NoError(t, s.Err)
		require.Equal(t, apply, s.Done, "%v", s)
		steps = append(steps, s)
	}
	return steps
}

// batchesOf are the batches of a sound log file, by position.
func soundBatches(t testing.TB, text string) map[int]codec.Batch {
	t.Helper()
	found := map[int]codec.Batch{}
	for pos := 0; pos < len(text); {
		b, err := codec.Next([]byte(text[pos:]))
		require.NoError(t, err)
		found[pos] = b
		pos += len(b)
	}
	return found
}

// damaged is a store in a directory, of one partition and some segments, that was
// closed in order, and what its records say by their offsets.
func damaged(t testing.TB, r *rand.Rand) (dir string, values map[int64]string) {
	t.Helper()
	dir = t.TempDir()
	st, err := Open(dir, nil)
	require.NoError(t, err)
	p := part(t, st, "orders", TopicConfig{SegmentBytes: 2 << 10, IndexInterval: 128})
	values = map[int64]string{}
	for range 60 {
		var records []Record
		for range 1 + r.IntN(4) {
			v := fmt.Sprintf("%d-%s", p.LogEndOffset()+int64(len(records)), strings.Repeat("x", r.IntN(60)))
			values[p.LogEndOffset()+int64(len(records))] = v
			records = append(records, Record{Value: []byte(v)})
		}
		_, err := p.Append(ctx, records...)
		require.NoError(t, err)
	}
	require.NoError(t, st.Close())
	return dir, values
}

// harm does one kind of damage to a folder.
func harm(t testing.TB, r *rand.Rand, folder string) string {
	t.Helper()
	list := bases(t, folder)
	pick := list[r.IntN(len(list))]
	name := filepath.Join(folder, fmt.Sprintf("%020d.log", pick))
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	if len(b) == 0 {
		return "nothing"
	}
	kind := r.IntN(6)
	at := r.IntN(len(b))
	switch kind {
	case 0:
		b[at] ^= 1 << r.IntN(8)
	case 1: // a page that was never written
		clear(b[at:min(at+1+r.IntN(600), len(b))])
	case 2:
		b = b[:at]
	case 3:
		require.NoError(t, os.Remove(name))
		return fmt.Sprintf("%s is gone", name)
	case 4:
		x := filepath.Join(folder, fmt.Sprintf("%020d%s", pick, []string{".index", ".timeindex"}[r.IntN(2)]))
		_ = os.WriteFile(x, []byte("rubbish"), 0o600)
		return x + " is rubbish"
	case 5:
		for i := range b[at:min(at+1+r.IntN(300), len(b))] {
			b[at+i] = byte(r.Uint32())
		}
	}
	require.NoError(t, os.WriteFile(name, b, 0o600))
	return fmt.Sprintf("%s: %d at %d of %d", name, kind, at, len(b))
}

// TestRepair: whatever is damaged, afterwards every record that was whole can be
// read where it was, nothing else can, and what was taken out is kept.
func TestRepair(t *testing.T) {
	rounds := 6
	if os.Getenv("LEAT_LONG") != "" {
		rounds = 300
	}
	for seed := range rounds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(seed), 7))
			dir, values := damaged(t, r)
			folder := filepath.Join(dir, "orders-0")
			sound := tree(t, folder)
			var done []string
			for range 1 + r.IntN(3) {
				if len(bases(t, folder)) > 0 {
					done = append(done, harm(t, r, folder))
				}
			}
			before := tree(t, dir)
			found := unsound(t, dir)
			wanted := repaired(t, dir, false)
			require.Equal(t, before, tree(t, dir), "a dry run changes nothing")
			require.Equal(t, len(found) > 0, len(wanted) > 0, "%v\n%v\n%v", done, found, wanted)
			steps := repaired(t, dir, true)
			require.Equal(t, len(wanted), len(steps), "%v\n%v", wanted, steps)
			require.Empty(t, repaired(t, dir, false), "%v\n%v", done, steps)
			requireMended(t, dir, sound, before, values, done, steps)
		})
	}
}

func requireMended(t *testing.T, dir string, sound, before map[string]string, values map[int64]string, done []string, steps []RepairStep) {
	t.Helper()
	folder := filepath.Join(dir, "orders-0")
	require.Empty(t, unsound(t, dir), "%v\n%v", done, steps)
	after := tree(t, folder)
	kept := map[string]string{}
	for name, text := range after {
		if strings.HasSuffix(name, ".quarantine") {
			kept[name] = text
		}
	}
	st, err := Open(dir, nil)
	require.NoError(t, err)
	p := reopened(t, st, "orders")
	got := map[int64]string{}
	rd, err := p.Reader(ReaderOptions{UntilEnd: true})
	require.NoError(t, err)
	for rec, err := range rd.Records(ctx) {
		require.NoError(t, err)
		got[rec.Offset] = string(rec.Value)
		require.Equal(t, values[rec.Offset], string(rec.Value), "offset %d\n%v\n%v", rec.Offset, done, steps)
	}
	require.NoError(t, rd.Close())
	for name, text := range sound {
		if !strings.HasSuffix(name, ".log") {
			continue
		}
		now, there := before["orders-0/"+name]
		var covered []bool
		if there {
			covered = make([]bool, len(strings.TrimRight(now, "\x00")))
		}
		cover := func(from, to int) {
			for i := from; i < min(to, len(covered)); i++ {
				covered[i] = true
			}
		}
		for pos, b := range soundBatches(t, text) {
			end := pos + len(b)
			whole := there && end <= len(now) && now[pos:end] == text[pos:end]
			first := values[b.BaseOffset()]
			require.True(t, !whole || got[b.BaseOffset()] == first, "%s at %d, offset %d is lost\n%v\n%v", name, pos, b.BaseOffset(), done, steps)
			if _, ok := got[b.BaseOffset()]; ok && there {
				cover(pos, end)
			}
		}
		for q, bytes := range kept {
			var base, pos int
			if n, _ := fmt.Sscanf(q, "%d.%d", &base, &pos); n == 2 && strings.HasPrefix(name, fmt.Sprintf("%020d", base)) {
				require.True(t, strings.HasPrefix(now[pos:], bytes), q)
				cover(pos, pos+len(bytes))
			}
		}
		for i, c := range covered {
			require.True(t, c || now[i] == 0, "%s: byte %d of %d is in neither\n%v\n%v\n%v", name, i, len(covered), done, steps, kept)
		}
	}
	end := p.LogEndOffset()
	offset, err := p.Append(ctx, Record{Value: []byte("more")})
	require.NoError(t, err)
	require.Equal(t, end, offset)
	require.NoError(t, st.Close())
	st, err = Open(dir, nil)
	require.NoError(t, err)
	require.Equal(t, end+1, reopened(t, st, "orders").LogEndOffset())
	require.NoError(t, st.Close())
}

// unsound is the damage that a check finds.
func unsound(t testing.TB, dir string) (list []Finding) {
	t.Helper()
	for f, err := range Check(ctx, dir, nil) {
		require.NoError(t, err)
		if f.Severity == SeverityDamage {
			list = append(list, f)
		}
	}
	return list
}
