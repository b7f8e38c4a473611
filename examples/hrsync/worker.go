package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"time"

	"github.com/leatlog/leat"
)

// How a worker ends, beside well.
const (
	exitFailed = 3
	exitOrphan = 4
	exitPlayed = 5 // where it was to fail
)

// workerArg makes this program a worker: "hrsync worker DIR ID", which dies in the
// midst of change ID, or never, of -1.
const workerArg = "worker"

func workerMain(args []string) int {
	signal.Ignore(os.Interrupt) // Ctrl-C is for the parent, who kills
	go func() {                 // and a worker does not outlive it
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(exitOrphan)
	}()
	if err := work(context.Background(), args); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		return exitFailed
	}
	return 0
}

func work(ctx context.Context, args []string) (err error) {
	if len(args) != 2 {
		return errors.New("a worker is started by the program itself")
	}
	failAt, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return err
	}
	st, err := openStore(args[0])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	db, err := openDatabase(ctx, args[0])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	next, err := db.position(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("worker %d begins with %d\n", os.Getpid(), next)
	db.crash = func(id int64) {
		if id == failAt {
			fmt.Printf("worker %d dies in the midst of %d\n", os.Getpid(), id)
			os.Exit(exitPlayed) // nothing is closed, rolled back or said good-bye to
		}
	}
	return synchronise(ctx, st, db)
}

// openStore opens the store in DIR. Not every system lets go of a lock at the moment
// in which its holder is dead.
func openStore(dir string) (*leat.Store, error) {
	return leat.Open(filepath.Join(dir, "store"), &leat.Options{LockWait: 10 * time.Second})
}
