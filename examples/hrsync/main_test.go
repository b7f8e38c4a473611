package main

import (
	"bytes"
	"context"
	"database/sql"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

var ctx = context.Background()

// mainEnv makes the test binary the program; a worker it is by its arguments.
const mainEnv = "HRSYNC_TEST_MAIN"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == workerArg || os.Getenv(mainEnv) != "" {
		main()
	}
	// Under -race, every process that ends would take a second to.
	os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0")
	os.Exit(m.Run())
}

func try(args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = command(ctx, args, &out, &errs)
	return status, out.String(), errs.String()
}

// outsider is someone who looks at the database, or changes it.
func outsider(t *testing.T, dir string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "hr.db"))
	require.NoError(t, err)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// applications counts them by change, from 10095 on, and says where the position is.
func applications(t *testing.T, db *sql.DB) (times []int, next int) {
	t.Helper()
	rows, err := db.Query("SELECT id, count(*) FROM audit GROUP BY id ORDER BY id")
	require.NoError(t, err)
	defer rows.Close()
	for id, n := first, 0; rows.Next(); id++ {
		var got int
		require.NoError(t, rows.Scan(&got, &n))
		require.Equal(t, id, got)
		times = append(times, n)
	}
	require.NoError(t, rows.Err())
	require.NoError(t, db.QueryRow("SELECT next FROM position").Scan(&next))
	return times, next
}

// TestPlay: each change once, by two processes; not again by a further run; again
// when, and from where, the position was moved to.
func TestPlay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kept")
	status, stdout, stderr := try("-dir", dir)
	require.Equal(t, 0, status, stderr)
	require.Regexp(t, `(?s)begins with 10095.*dies in the midst of 10098.*begins with 10098`, stdout)
	db := outsider(t, dir)
	times, next := applications(t, db)
	require.Equal(t, []int{1, 1, 1, 1, 1}, times)
	require.Equal(t, 10100, next)
	var pids int
	require.NoError(t, db.QueryRow("SELECT count(DISTINCT pid) FROM audit").Scan(&pids))
	require.Equal(t, 2, pids)
	var units string
	require.NoError(t, db.QueryRow("SELECT group_concat(label, ', ' ORDER BY unit) FROM crm_unit").Scan(&units))
	require.Equal(t, "D-210 Supply Chain, D-212 Fleet", units)

	status, stdout, stderr = try("-dir", dir)
	require.Equal(t, 0, status, stderr)
	require.Contains(t, stdout, "nothing is left to apply")
	require.NotContains(t, stdout, "dies")
	times, _ = applications(t, db)
	require.Equal(t, []int{1, 1, 1, 1, 1}, times)

	status, stdout, stderr = try("-dir", dir, "-seek", "10097")
	require.Equal(t, 0, status, stderr)
	require.Regexp(t, `(?s)begins with 10097.*dies in the midst of 10098.*begins with 10098`, stdout)
	times, next = applications(t, db)
	require.Equal(t, []int{1, 1, 2, 2, 2}, times)
	require.Equal(t, 10100, next)

	_, err := db.Exec("UPDATE position SET next = 10099") // without further ado
	require.NoError(t, err)
	status, stdout, stderr = try("-dir", dir)
	require.Equal(t, 0, status, stderr)
	require.NotContains(t, stdout, "dies")
	times, _ = applications(t, db)
	require.Equal(t, []int{1, 1, 2, 2, 3}, times)
}

// TestLeftOut: a change is left out on purpose, by the smallest of moves.
func TestLeftOut(t *testing.T) {
	p := &play{dir: t.TempDir(), last: last, failAt: 10098, seek: noSeek, out: io.Discard}
	require.NoError(t, feed(ctx, p.dir, last))
	require.NoError(t, p.worker(ctx, 10098))
	db := outsider(t, p.dir)
	_, err := db.Exec("UPDATE position SET next = next + 1")
	require.NoError(t, err)
	require.NoError(t, p.run(ctx))
	rows, err := db.Query("SELECT id FROM audit ORDER BY rowid")
	require.NoError(t, err)
	defer rows.Close()
	for _, id := range []int{10095, 10096, 10097, 10099} {
		var got int
		require.True(t, rows.Next())
		require.NoError(t, rows.Scan(&got))
		require.Equal(t, id, got)
	}
	require.False(t, rows.Next())
}

// TestBreach: whatever is not as it must be makes the program fail.
func TestBreach(t *testing.T) {
	for want, change := range map[string]string{
		"change 10097 was not applied":         "DELETE FROM audit WHERE id >= 10097",
		"change 10098 was applied where 10097": "DELETE FROM audit WHERE id = 10097",
		"change 10096 was applied too often":   "INSERT INTO audit SELECT * FROM audit WHERE id = 10096",
		"the units are":                        "UPDATE oa_unit SET name = 'x'",
		"they must be":                         "DELETE FROM crm_unit",
		// which the log does not have
		"the worker: exit":      "UPDATE position SET next = 10200",
		"the worker was to die": "UPDATE position SET next = 10094",
	} {
		t.Run(want, func(t *testing.T) {
			dir := t.TempDir()
			status, _, stderr := try("-dir", dir)
			require.Equal(t, 0, status, stderr)
			_, err := outsider(t, dir).Exec(change)
			require.NoError(t, err)
			status, _, stderr = try("-dir", dir)
			require.Equal(t, 1, status)
			require.Contains(t, stderr, want)
		})
	}
}

// TestMovedWhileChecked: within one run, a position that moves without an
// application is a breach.
func TestMovedWhileChecked(t *testing.T) {
	p := &play{dir: t.TempDir(), last: last, failAt: never, seek: noSeek, out: io.Discard}
	require.NoError(t, p.run(ctx))
	began, err := p.look(ctx, nil)
	require.NoError(t, err)
	_, err = outsider(t, p.dir).Exec("UPDATE position SET next = next")
	require.NoError(t, err)
	require.ErrorContains(t, p.check(ctx, began, last+1), "without an application")
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"-x"}, {"more"}, {"-seek", "x"}, {"-seek", "-1"}} {
		status, _, stderr := try(args...)
		require.Equal(t, 2, status)
		require.Contains(t, stderr, "-seek")
	}
	status, _, _ := try("-h")
	require.Equal(t, 0, status)
	status, _, stderr := try("-dir", t.TempDir(), "-seek", "10094")
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "10095 to 10099")

	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("TMP", os.Getenv("TMPDIR")) // Windows
	status, _, stderr = try()
	require.Equal(t, 0, status, stderr)
	left, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	require.Empty(t, left, "nothing stays in the temporary directory")
}
