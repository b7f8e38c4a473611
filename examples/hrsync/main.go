// Hrsync synchronises changes of an organisation from a topic into a database that
// is not Leat's, each exactly once, and plays a failure to show it.
//
//	go -C examples/hrsync run . [-dir DIR] [-seek ID]
//
// The HR system has numbered its changes, and their numbers are the offsets in
// topic "organisation". Those up to 10094 have been applied before; 10095 to 10099
// are new. A worker process applies them to hr.db, a SQLite database with the
// units as the OA system and the CRM want them, and stores with each, in the same
// transaction, the position: the next change to apply (sync.go, database.go). In
// the midst of 10098 the process dies. Another is started, finds position 10098 in
// the database, and goes on there, so that each is applied once.
//
// The database stays in DIR, with the table audit, which has a row for each
// application of a change, and position:
//
//	sqlite3 DIR/hr.db 'SELECT id, count(*) FROM audit GROUP BY id'
//	sqlite3 DIR/hr.db 'SELECT * FROM position'
//
// A further run with the same DIR goes on from the position, and so applies nothing
// again. To have it begin elsewhere, move the position while nothing runs: with
// -seek ID, or
//
//	sqlite3 DIR/hr.db 'UPDATE position SET next = 10097'
//
// The database notes that, in the table seeks: what is applied again on purpose, or
// left out, is not taken for a breach. Without -dir everything is in a temporary
// directory, which is removed.
//
// The exit status is 0 when each change has been applied exactly once since the
// position was last moved, 1 otherwise, and 2 after wrong usage.
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
	"syscall"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == workerArg {
		os.Exit(workerMain(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once; its worker ends with it
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// command is main without the process: it returns the exit status.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("hrsync", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: hrsync [-dir DIR] [-seek ID]")
		flags.PrintDefaults()
	}
	p := play{last: last, failAt: 10098, seek: noSeek, out: stdout}
	flags.StringVar(&p.dir, "dir", "", "keep the store and hr.db in `DIR`; without it, they are in a temporary directory, which is removed")
	flags.Func("seek", "move the position: begin with change `ID`", func(s string) (err error) {
		if p.seek, err = strconv.ParseInt(s, 10, 64); err == nil && p.seek < 0 {
			err = errors.New("it must not be negative")
		}
		return err
	})
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		flags.Usage()
		return 2
	}
	err := p.inDir(ctx)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		err = errors.New("stopped before the end")
	}
	fmt.Fprintln(stderr, "hrsync:", err)
	return 1
}
