package leat

import (
	"errors"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
	"github.com/leatlog/leat/segment"
)

// Recovery and a check must not differ about what is damage. What a power cut
// leaves is none, before the next open and after it; and what recovery takes for
// damage is found by a check.

// busyStore appends to two topics, with rolls, transactions and a deletion of
// records, and calls at with each moment that is worth a power cut.
func busyStore(t testing.TB, at func(m *vfs.Mem)) {
	m := vfs.NewCrashMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	a := part(t, st, "synced", TopicConfig{SegmentBytes: 4 << 10, IndexInterval: 512})
	b := part(t, st, "written", TopicConfig{SegmentBytes: 4 << 10, IndexInterval: 512, Durability: Written, FlushInterval: Unlimited})
	la, lb := a.log.Load(), b.log.Load()
	for i := range int32(14) {
		txn := func(l *log.Log, d log.Durability) {
			raw := rawBatch(t, 2, func(h *codec.Header) {
				h.ProducerID, h.ProducerEpoch, h.BaseSequence = 5, 0, i*2
				h.Attributes |= codec.TransactionalBit
			})
			_, err := l.AppendRaw(raw, log.RawOptions{Transactional: true, Durability: d})
			require.NoError(t, err)
			if i%3 == 1 {
				_, err := l.AppendMarker(log.Marker{ProducerID: 5, CoordinatorEpoch: 1, Commit: i%2 == 0, Time: time.UnixMilli(1_700_000_000_000)}, d)
				require.NoError(t, err)
			}
		}
		for _, l := range []*log.Log{la, lb} {
			d := log.Synced
			if l == lb {
				d = log.Written
			}
			_, err := l.Append(ctx, []log.Record{{Value: make([]byte, 700+100*(i%4))}}, d)
			require.NoError(t, err)
			txn(l, d)
		}
		if i == 6 {
			require.NoError(t, b.Sync(ctx))
		}
		if i == 9 {
			require.NoError(t, a.DeleteRecords(ctx, 12))
		}
		at(m)
	}
	require.NoError(t, st.Close())
	at(m)
}

func TestCheckAfterPowerCuts(t *testing.T) {
	if testing.Short() {
		t.Skip("many states")
	}
	n, moments := 0, 0
	busyStore(t, func(m *vfs.Mem) {
		if moments++; !allBits && moments%3 != 2 {
			return
		}
		some := 0
		for choice, left := range m.Dirty().States(20, uint64(moments)) {
			if some++; !allBits && some%2 != 0 {
				continue
			}
			n++
			left.SetMapped(false)
			list, errs := checkAll(t, left, "")
			require.Empty(t, errs, choice)
			require.Empty(t, damageOf(list), choice)
			tail := 0
			for _, f := range list {
				if f.Kind == log.FindingTail {
					tail++
				}
			}
			st, err := openFS(left, nil)
			require.NoError(t, err)
			cuts := 0
			for tp := range st.Topics() {
				for p := range tp.Partitions() {
					l, err := p.use()
					require.NoError(t, err)
					require.Nil(t, l.Damage())
				}
			}
			for _, e := range mustList(t, left) {
				if e == log.FindingQuarantine {
					cuts++
				}
			}
			require.Equal(t, cuts > 0, tail > 0, "a tail is told if one is cut: %v %v", choice, list)
			require.NoError(t, st.Close())
			list, errs = checkAll(t, left, "")
			require.Empty(t, errs, choice)
			for _, f := range list {
				require.Contains(t, []FindingKind{log.FindingQuarantine, log.FindingSums}, f.Kind, "%v: %v", choice, f)
			}
		}
	})
	t.Logf("%d states", n)
}

// mustList is a quarantine kind for each quarantine file of the two topics.
func mustList(t testing.TB, m *vfs.Mem) (kinds []FindingKind) {
	for _, folder := range []string{"synced-0", "written-0"} {
		list, err := m.ReadDir(folder)
		require.NoError(t, err)
		for _, e := range list {
			if _, suffix, ok := segment.ParseName(e.Name); ok && len(suffix) > len(".quarantine") {
				kinds = append(kinds, log.FindingQuarantine)
			}
		}
	}
	return kinds
}

// TestCheckFindsWhatRecoveryDoes flips bits anywhere in the logs of a store that
// died: what an open takes for damage, a check finds.
func TestCheckFindsWhatRecoveryDoes(t *testing.T) {
	var last *vfs.Mem
	moment := 0
	busyStore(t, func(m *vfs.Mem) {
		if moment++; moment == 13 {
			last = m.Snapshot()
		}
	})
	rng := rand.New(rand.NewPCG(1, 2))
	damaged := 0
	for range long2(60, 2000) {
		m := last.Snapshot()
		m.SetMapped(false)
		folder := []string{"synced-0", "written-0"}[rng.IntN(2)]
		var files []string
		list, err := m.ReadDir(folder)
		require.NoError(t, err)
		for _, e := range list {
			if isLogFile(e) && e.Size > 0 {
				files = append(files, folder+"/"+e.Name)
			}
		}
		name := files[rng.IntN(len(files))]
		b, err := readSmall(m, name)
		require.NoError(t, err)
		bit := rng.IntN(8 * len(b))
		b[bit/8] ^= 1 << (bit % 8)
		putRoot(t, m, name, b)

		found, errs := checkAll(t, m, "")
		require.Empty(t, errs)
		st, err := openFS(m, nil)
		require.NoError(t, err)
		for tp := range st.Topics() {
			for p := range tp.Partitions() {
				l, err := p.use()
				if errors.Is(err, ErrUnsupported) {
					require.NotEmpty(t, damageOf(found), "bit %d of %s", bit, name)
					continue
				}
				require.NoError(t, err)
				if d := l.Damage(); d != nil {
					damaged++
					require.NotEmpty(t, damageOf(found), "bit %d of %s: %v", bit, name, d)
				}
			}
		}
		st.abandonAll()
	}
	require.NotZero(t, damaged)
}

func long2(n, long int) int {
	if allBits {
		return long
	}
	return n
}

// TestCheckTornTail: what was on its way when the process died is no damage, and
// what had been synced is.
func TestCheckTornTail(t *testing.T) {
	moment := 0
	busyStore(t, func(m *vfs.Mem) {
		if moment++; moment != 13 {
			return
		}
		synced, kind := SeverityDamage, log.FindingBatch
		if bits.UintSize == 32 { // leat.state is not mapped, and as old as the last checkpoint
			synced, kind = SeverityNotice, log.FindingTail
		}
		for _, test := range []struct {
			folder   string
			severity Severity
			kind     FindingKind
		}{{"synced-0", synced, kind}, {"written-0", SeverityNotice, log.FindingTail}} {
			left := m.Snapshot()
			left.SetMapped(false)
			list, err := left.ReadDir(test.folder)
			require.NoError(t, err)
			name := ""
			for _, e := range list {
				if isLogFile(e) {
					name = test.folder + "/" + e.Name // the last one
				}
			}
			b, err := readSmall(left, name)
			require.NoError(t, err)
			b[100] ^= 1
			putRoot(t, left, name, b)
			found, errs := checkAll(t, left, "")
			require.Empty(t, errs)
			found = slices.DeleteFunc(found, func(f Finding) bool { return f.Kind == log.FindingUnclean || f.Kind == log.FindingLeftover })
			require.NotEmpty(t, found)
			require.Equal(t, test.severity, found[0].Severity, "%v", found)
			require.Equal(t, test.kind, found[0].Kind)
			require.Zero(t, found[0].Position)
		}
	})
}
