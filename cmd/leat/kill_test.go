package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// adminModel is a store whose topics are administered by processes that are
// killed, and the topics that it must have.
type adminModel struct {
	t      *testing.T
	r      *rand.Rand
	dir    string
	topics map[string]string // name: what is known of the topic
	serial int
	killed int
}

func newAdminModel(t *testing.T) *adminModel {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	m := &adminModel{t: t, r: rand.New(rand.NewPCG(seed, 1)), dir: filepath.Join(t.TempDir(), "store"), topics: map[string]string{}}
	require.Equal(t, exitOK, tool(t, "topics", "create", "first", "--dir", m.dir).status)
	m.topics["first"] = about(1, "604800000")
	return m
}

func about(partitions int32, retention string) string {
	return fmt.Sprintf("%d partitions, retention.ms=%s", partitions, retention)
}

// step runs one command, which run may kill, and finds the store as it was, or as
// the command leaves it, or, if the command does two things, between them.
func (m *adminModel) step(run func(args ...string) (done bool)) {
	t := m.t
	names := slices.Sorted(maps.Keys(m.topics))
	var args []string
	may := []map[string]string{maps.Clone(m.topics)}
	then := func(name, what string) {
		next := maps.Clone(may[len(may)-1])
		if what == "" {
			delete(next, name)
		} else {
			next[name] = what
		}
		may = append(may, next)
	}
	op := m.r.IntN(3)
	if len(names) > 4 {
		op = 2
	}
	if len(names) == 0 {
		op = 0
	}
	retention := fmt.Sprint(1000 + m.r.IntN(1000))
	switch op {
	case 0:
		m.serial++
		name, n := fmt.Sprintf("t%d", m.serial), 1+m.r.Int32N(5)
		args = []string{"topics", "create", name, "--partitions", fmt.Sprint(n), "--config", "retention.ms=" + retention}
		then(name, about(n, retention))
	case 1:
		name := names[m.r.IntN(len(names))]
		var was int32
		_, err := fmt.Sscanf(m.topics[name], "%d", &was)
		require.NoError(t, err)
		args = []string{"topics", "alter", name, "--partitions", fmt.Sprint(was + 2), "--config", "retention.ms=" + retention}
		then(name, about(was, retention))
		then(name, about(was+2, retention))
	case 2:
		name := names[m.r.IntN(len(names))]
		args = []string{"topics", "delete", name, "--yes"}
		then(name, "")
	}
	if run(append(args, "--dir", m.dir)...) {
		may = may[len(may)-1:]
	} else {
		m.killed++
	}

	// Who only looks sees one of them, and so does who opens the store; the latter
	// finishes what was begun, and leaves no folder of anything else.
	require.Contains(t, may, m.look(), "%s", args)
	st, err := leat.Open(m.dir, nil)
	require.NoError(t, err, "%s", args)
	got, folders := map[string]string{}, []string{"__metadata-0"}
	for tp := range st.Topics() {
		info := tp.Describe()
		got[info.Name] = about(info.Config.Partitions, info.Config.Properties()["retention.ms"])
		for p := range tp.Partitions() {
			_, err := tp.Partition(p.ID())
			require.NoError(t, err)
			folders = append(folders, p.String())
		}
	}
	require.NoError(t, st.Close())
	require.Contains(t, may, got, "%s", args)
	list, err := filepath.Glob(filepath.Join(m.dir, "*-*"))
	require.NoError(t, err)
	for i := range list {
		list[i] = filepath.Base(list[i])
	}
	list = slices.DeleteFunc(list, func(name string) bool { return strings.HasSuffix(name, "-checkpoint") })
	require.ElementsMatch(t, folders, list, "%s", args)
	m.topics = got
}

func (m *adminModel) look() map[string]string {
	got := map[string]string{}
	for _, o := range lines(m.t, tool(m.t, "topics", "describe", "--json", "--dir", m.dir).stdout) {
		got[o["topic"].(string)] = about(int32(number(m.t, o, "partitionCount")), o["config"].(object)["retention.ms"].(string))
	}
	return got
}

// TestKilledAdministration kills create, alter and delete at any moment.
func TestKilledAdministration(t *testing.T) {
	m := newAdminModel(t)
	rounds := 40
	if os.Getenv("LEAT_LONG") != "" {
		rounds = 3000
	}
	var whole time.Duration // of a command that nobody kills
	for i := range rounds {
		delay := time.Minute
		if i > 0 {
			delay = 1 + time.Duration(m.r.Float64()*2*float64(whole))
		}
		began := time.Now()
		m.step(func(args ...string) bool {
			ctx, cancel := context.WithTimeout(t.Context(), delay)
			defer cancel()
			out, err := exec.CommandContext(ctx, built, args...).CombinedOutput()
			if err != nil {
				require.Error(t, ctx.Err(), "%s", out)
			} else if whole == 0 {
				whole = time.Since(began)
			}
			return err == nil
		})
	}
	t.Logf("%d of %d killed", m.killed, rounds)
	require.Positive(t, m.killed)
}
