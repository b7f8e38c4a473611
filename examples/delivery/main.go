// Delivery shows the three forms of delivery, and puts them to the test by killing
// processes.
//
//	go run ./examples/delivery [-dir DIR] [-kills N] [-break FORM]
//
//	at-most-once   atmostonce.go   commit, then process               repeats none
//	at-least-once  atleastonce.go  process, then commit               loses none
//	exactly-once   exactlyonce.go  store the position with the output neither
//
// The three files are models to copy; everything else here is the test. For each
// form records with ids are produced, and a worker process, this same program,
// consumes them in a group. It is killed (SIGKILL) N times, 20 by default, each time
// somewhere else, and started again; the last one is left to finish.
//
// In DIR the run leaves, for each form, FORM.in, with a line "id pid" for each record
// produced, and FORM.out, with a line "id pid" for each application of one, by the
// process that did it. The table that is printed is counted from those two files,
// and others can count them, too. Beside them are the stores, FORM.store; the table
// that at-least-once upserts into by key, in which repeats leave no trace; and the
// database of exactly-once, FORM.ledger, from which its FORM.out is written in the
// end. A further run with the same DIR removes these files, those alone, and begins
// anew. Without -dir they are in a temporary directory, which is removed.
//
// The exit status is 0 when each form has kept its promise, 1 when one has not, and
// 2 after wrong usage. -break swaps the two steps of a form, which has to make it
// break its promise: commit and process; or, of exactly-once, whose two are one,
// the position is stored by itself, before the lines.
//
// To be killed between two steps is rare where each takes some microseconds. So the
// worker tells its parent through a pipe where it stands (before its commit, behind
// it, amid a batch), and waits there for leave to go on, which the parent gives or
// does not: the first kill is between the two steps, the others are at random places,
// and at random times on the way (gate.go, parent.go).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == workerArg {
		os.Exit(workerMain(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once; its worker ends with it
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

const maxKills = 10_000

// command is main without the process: it returns the exit status.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("delivery", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: delivery [-dir DIR] [-kills N] [-break FORM]")
		flags.PrintDefaults()
	}
	dir := flags.String("dir", "", "leave everything in `DIR`; without it, it is in a temporary directory, which is removed")
	kills := flags.Int("kills", 20, fmt.Sprintf("kill the worker of each form `N` times, up to %d", maxKills))
	var broken form
	flags.Func("break", "swap the two steps of `FORM` (at-most-once, at-least-once or exactly-once)", func(s string) (err error) {
		broken, err = parseForm(s)
		return err
	})
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0 || *kills < 0 || *kills > maxKills:
		flags.Usage()
		return 2
	case *kills == 0 && broken != "":
		fmt.Fprintln(stderr, "delivery: -break shows nothing when nothing is killed")
		return 2
	}
	err := delivery(ctx, *dir, *kills, broken, stdout)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		err = errors.New("stopped before the end")
	}
	fmt.Fprintln(stderr, "delivery:", err)
	return 1
}

func delivery(ctx context.Context, dir string, kills int, broken form, out io.Writer) (err error) {
	where := dir + ": begun anew, without what an earlier run left there"
	if dir == "" {
		where = "a temporary directory"
		if dir, err = os.MkdirTemp("", "leat-delivery-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d kills a form, in %s\n\n", kills, where)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "form\tproduced\tapplied\tlost\trepeated\tkills\tpids\tpromise\t")
	var breaches []error
	for _, f := range forms {
		t := trial{f, dir, kills, f == broken}
		n, err := t.run(ctx)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", f, err), table.Flush())
		}
		promise, err := t.judge(n)
		if err != nil {
			breaches = append(breaches, err)
			promise += ": BROKEN"
		} else {
			promise += ": kept"
		}
		if t.broken {
			promise += " (-break)"
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t\n",
			f, n.produced, n.applied, n.lost, n.repeated, kills, n.pids, promise)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return errors.Join(breaches...)
}

// judge says what is promised, and what was not kept of it.
func (t *trial) judge(n tally) (promise string, err error) {
	promise, kept := t.form.promise(n)
	switch {
	case !kept:
		return promise, fmt.Errorf("%s promises %s: lost were %d, repeated %d of %d", t.form, promise, n.lost, n.repeated, n.produced)
	case n.strange > 0:
		return promise, fmt.Errorf("%s: %d applications are of records that were not produced", t.form, n.strange)
	case n.pids <= t.kills:
		return promise, fmt.Errorf("%s: %d processes have applied something: killed were %d, and one more has finished", t.form, n.pids, t.kills)
	case t.form == leastOnce && !t.broken:
		rows, err := t.upserted(n.produced)
		if err != nil {
			return promise, fmt.Errorf("%s: %w", t.form, err)
		}
		return fmt.Sprintf("%s, and %d rows by key", promise, rows), nil
	}
	return promise, nil
}
