package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

// TestLedger: a transaction is there whole, with lines and position, or not at all,
// wherever it is torn.
func TestLedger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l, err := openLedger(path)
	require.NoError(t, err)
	require.NoError(t, l.store(0, 0, 2, []string{"1 10", "2 10"}))
	first := l.end
	require.NoError(t, l.store(1, 0, 1, []string{"3 10"}))
	second := l.end
	require.NoError(t, l.store(0, 2, 3, []string{"4 10"}))
	require.EqualValues(t, 3, l.position(0))
	require.EqualValues(t, 1, l.position(1))
	require.EqualValues(t, 0, l.position(2))
	require.ErrorContains(t, l.store(0, 2, 4, []string{"5 10"}), "partition 0 is at 3")
	require.Error(t, l.store(0, 4, 5, nil))
	require.Error(t, l.store(0, 3, 2, nil))
	require.NoError(t, l.close())
	whole := read(t, path)

	for size := range len(whole) + 1 {
		require.NoError(t, os.WriteFile(path, []byte(whole[:size]), 0o600))
		l, err := openLedger(path)
		require.NoError(t, err)
		require.Len(t, read(t, path), int(l.end))
		lines, at0, at1 := 0, int64(0), int64(0)
		switch {
		case size == len(whole):
			lines, at0, at1 = 4, 3, 1
		case size >= int(second):
			lines, at0, at1 = 3, 2, 1
		case size >= int(first):
			lines, at0 = 2, 2
		}
		require.Len(t, l.lines, lines)
		require.Equal(t, at0, l.position(0))
		require.Equal(t, at1, l.position(1))
		require.NoError(t, l.store(7, 0, 1, []string{"9 9"}))
		require.NoError(t, l.close())
		l, err = openLedger(path)
		require.NoError(t, err)
		require.Len(t, l.lines, lines+1)
		require.NoError(t, l.close())
	}

	damaged := []byte(whole)
	damaged[first-10] ^= 1
	require.NoError(t, os.WriteFile(path, damaged, 0o600))
	_, err = openLedger(path)
	require.ErrorContains(t, err, "checksum", "damage is not a torn tail")
	require.NoError(t, os.WriteFile(path, []byte(whole+whole[:first]), 0o600))
	_, err = openLedger(path)
	require.ErrorContains(t, err, "it cannot go from 0 to 2", "applied twice")
}

// TestLedgerFails: what could not be written has not happened, and nothing is
// written after it.
func TestLedgerFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l, err := openLedger(path)
	require.NoError(t, err)
	require.NoError(t, l.store(0, 0, 1, []string{"1 10"}))
	writable := l.file
	defer writable.Close()
	l.file, err = os.Open(path)
	require.NoError(t, err)
	defer l.file.Close()
	require.Error(t, l.store(0, 1, 2, []string{"2 10"}))
	require.EqualValues(t, 1, l.position(0))
	require.Len(t, l.lines, 1)
	l.file = writable
	require.Error(t, l.store(0, 1, 2, []string{"2 10"}))
}

// TestLines: a line is there whole or not at all.
func TestLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lines")
	for _, torn := range []string{"", "1", "12345678 12345678"} {
		require.NoError(t, os.WriteFile(path, []byte("1 10\n2 10\n"+torn), 0o600))
		l, err := openLines(path)
		require.NoError(t, err)
		require.NoError(t, l.add("3 10"))
		require.NoError(t, l.close())
		require.Equal(t, "1 10\n2 10\n3 10\n", read(t, path))
	}

	// A line that could not be written was not applied.
	l, err := openLines(path)
	require.NoError(t, err)
	writable := l.file
	defer writable.Close()
	l.file, err = os.Open(path)
	require.NoError(t, err)
	defer l.file.Close()
	w := &worker{gate: freeGate()}
	rec := &leat.Record{Key: []byte("4"), Value: []byte("1")}
	require.Error(t, w.apply(l, rec))
	require.Zero(t, w.gate.applied)
	u := &upserts{w, l, table{l.file}}
	require.Error(t, u.process(rec))
	require.Error(t, (&upserts{w, l, table{writable}}).process(rec))
	require.Zero(t, w.gate.applied)
	l.file = writable
	require.NoError(t, w.apply(l, rec))
	require.Equal(t, 1, w.gate.applied)
}

// TestUpserted: the table says the same however often a row was put there, and
// tells when one is missing or another.
func TestUpserted(t *testing.T) {
	test := &trial{form: leastOnce, dir: t.TempDir()}
	path := test.form.table(test.dir)
	file, err := os.Create(path)
	require.NoError(t, err)
	defer file.Close()
	rows := table{file}
	for _, id := range []int{1, 2, 3, 2, 3, 4, 1} {
		require.NoError(t, rows.upsert(id, amount(id)))
	}
	n, err := test.upserted(4)
	require.NoError(t, err)
	require.Equal(t, 4, n)
	_, err = test.upserted(5)
	require.ErrorContains(t, err, "the table has 4 rows: produced were 5")
	_, err = test.upserted(3)
	require.ErrorContains(t, err, "row 4")
	require.NoError(t, rows.upsert(6, amount(6)))
	_, err = test.upserted(6)
	require.ErrorContains(t, err, "row 5")
	require.NoError(t, rows.upsert(2, amount(2)+1))
	_, err = test.upserted(6)
	require.ErrorContains(t, err, "row 2")
}

func TestCount(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	write := func(path, text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	write(in, "1 5\n2 5\n3 5\n4 5\n")
	write(out, "1 6\n2 6\n2 7\n2 8\n9 8\n4 8\n")
	n, err := count(in, out)
	require.NoError(t, err)
	require.Equal(t, tally{produced: 4, applied: 6, lost: 1, repeated: 2, strange: 1, pids: 3}, n)
	for _, line := range []string{"x 6\n", "1\n", "1 6 7\n", "\n", "1 \n"} {
		write(out, "1 6\n"+line)
		_, err = count(in, out)
		require.ErrorContains(t, err, "line 2 is")
	}
	write(in, "1 5\n1 5\n")
	_, err = count(in, out)
	require.ErrorContains(t, err, "produced twice")
	_, err = count(filepath.Join(dir, "none"), out)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// freeGate lets everyone pass.
func freeGate() *gate {
	goOn := make(chan struct{})
	close(goOn)
	return &gate{out: io.Discard, goOn: goOn}
}
