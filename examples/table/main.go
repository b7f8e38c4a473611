// Table is a key-value table kept in a compacted topic: table.go.
//
//	go run ./examples/table [-dir DIR] [-updates 1000000] [-keys 1000]
//
// The program changes a thousand keys a million times, a hundred changes at once,
// and tells how large the log is: it stays flat, while all that was ever appended
// grows. Then it opens the store again, rebuilds the table from the topic, and
// compares it with what must be in it. What that is follows from the number of
// changes alone, which the table itself keeps under a key of its own, in the same
// appends. So a run that was killed can be started again: it first verifies what it
// finds, and goes on from there.
//
// Without -dir the store is in a temporary directory, which is removed. The exit
// status is 1 if anything is not as it must be.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/leatlog/leat"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// command is main without the process: it returns the exit status.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("table", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var w work
	dir := flags.String("dir", "", "keep the store in `DIR`; without it, it is in a temporary directory")
	flags.IntVar(&w.updates, "updates", 1_000_000, "changes in all, those of earlier runs in DIR included")
	flags.IntVar(&w.keys, "keys", 1000, "keys that they are made to")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0 || w.updates < 0 || w.keys < 1:
		flags.Usage()
		return 2
	}
	if err := run(ctx, *dir, &w, stdout); err != nil {
		fmt.Fprintln(stderr, "table:", err)
		return 1
	}
	return 0
}

func run(ctx context.Context, dir string, w *work, out io.Writer) (err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "leat-table-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	err = open(ctx, dir, func(t *Table) error {
		if err := w.verify(t, out); err != nil {
			return err
		}
		return w.change(ctx, t, out)
	})
	if err != nil {
		return err
	}
	// Closed, and now opened again: what is verified comes from the files.
	return open(ctx, dir, func(t *Table) error { return w.verify(t, out) })
}

func open(ctx context.Context, dir string, do func(*Table) error) (err error) {
	st, err := leat.Open(dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	t, err := OpenTable(ctx, st, "table")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	return do(t)
}

const (
	counter = "changes" // a key: how many changes have been made, and to how many keys
	batch   = 100       // changes at once
)

// work is what is done to the table. The nth change, counted from 1, is always the
// same.
type work struct{ updates, keys int }

func (w *work) nth(n int) Change {
	mixed := uint64(n) * 0x9E3779B97F4A7C15 // spreads the numbers over the keys
	mixed ^= mixed >> 29
	key := fmt.Sprintf("key-%06d", mixed%uint64(w.keys))
	if n%7 == 0 {
		return Change{Key: key, Delete: true}
	}
	return Change{Key: key, Value: fmt.Sprintf("%s has been changed by number %d %s", key, n, strings.Repeat("~", n%60))}
}

// made is how many changes the table has seen.
func (w *work) made(t *Table) (int, error) {
	text, ok := t.Get(counter)
	if !ok {
		return 0, nil
	}
	n, keys, _ := strings.Cut(text, " of ")
	if keys != strconv.Itoa(w.keys) {
		return 0, fmt.Errorf("the table has %s keys: -keys must be that, not %d", keys, w.keys)
	}
	return strconv.Atoi(n)
}

func (w *work) change(ctx context.Context, t *Table, out io.Writer) error {
	made, err := w.made(t)
	if err != nil {
		return err
	}
	appended, peak := int64(0), int64(0)
	step := max((w.updates-made)/10, 1)
	for said := made; made < w.updates; {
		var changes []Change
		for len(changes) < batch && made < w.updates {
			made++
			c := w.nth(made)
			appended += int64(len(c.Key) + len(c.Value))
			changes = append(changes, c)
		}
		changes = append(changes, Change{Key: counter, Value: fmt.Sprintf("%d of %d", made, w.keys)})
		if err := t.Update(ctx, changes...); err != nil {
			return fmt.Errorf("after %d changes: %w", made-len(changes)+1, err)
		}
		size := t.Size()
		peak = max(peak, size)
		if made-said >= step || made == w.updates {
			said = made
			fmt.Fprintf(out, "changes %9d  keys %6d  log %7.2f MB  after %8.2f MB were appended\n",
				made, t.Len()-1, float64(size)/1e6, float64(appended)/1e6)
		}
	}
	// Nothing that is compacted lies below this, whatever was appended.
	if flat := int64(waitFactor*growth)*int64(w.keys+1)*256 + 2*waitFactor*minLog; peak > flat {
		return fmt.Errorf("the log has had %d bytes: %d would have been many for %d keys", peak, flat, w.keys)
	}
	return nil
}

// verify compares the table with what must be in it.
func (w *work) verify(t *Table, out io.Writer) error {
	made, err := w.made(t)
	if err != nil {
		return err
	}
	want := map[string]string{}
	for n := range made {
		if c := w.nth(n + 1); c.Delete {
			delete(want, c.Key)
		} else {
			want[c.Key] = c.Value
		}
	}
	rows := 0
	for key, value := range t.Range() {
		if key == counter {
			continue
		}
		switch expected, ok := want[key]; {
		case !ok:
			return fmt.Errorf("after %d changes %q is there, which was deleted", made, key)
		case expected != value:
			return fmt.Errorf("after %d changes %q is %q: it must be %q", made, key, value, expected)
		}
		rows++
	}
	if rows != len(want) {
		return fmt.Errorf("after %d changes there are %d keys: there must be %d", made, rows, len(want))
	}
	fmt.Fprintf(out, "opened   %9d  keys %6d  log %7.2f MB  all as they must be\n", made, rows, float64(t.Size())/1e6)
	return nil
}
