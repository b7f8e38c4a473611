// Quickstart stores a web server's log and reads it back.
//
//	go run ./examples/quickstart [-dir DIR] [FILE]
//
// A producer makes each line of FILE a record of topic "access", under the address
// that the line begins with as its key, so that lines of one client keep their order
// (write.go). FILE may be compressed with gzip, or "-" for the standard input;
// without one, lines are made up. The store is then closed and opened again, and a
// consumer group reads the topic and counts by status code (count.go). In the end a
// reader waits for a record that is not there yet (tail.go).
//
// Without -dir the store is in a temporary directory, which is removed. With -dir
// it is kept: a second run appends to the topic that it finds, and the group goes
// on where it stopped, be that because of Ctrl-C or of kill -9. What was stored is
// counted, and counted once.
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

	"github.com/leatlog/leat"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	os.Exit(command(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// command is main without the process: it returns the exit status.
func command(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: quickstart [-dir DIR] [FILE]")
		flags.PrintDefaults()
	}
	dir := flags.String("dir", "", "keep the store in `DIR`; without it, it is in a temporary directory")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 1:
		flags.Usage()
		return 2
	}
	err := quickstart(ctx, *dir, flags.Arg(0), stdin, stdout)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		err = errors.New("stopped before the end")
	}
	fmt.Fprintln(stderr, "quickstart:", err)
	return 1
}

func quickstart(ctx context.Context, dir, file string, stdin io.Reader, out io.Writer) (err error) {
	lines, err := open(ctx, file, stdin)
	if err != nil {
		return err
	}
	defer lines.Close()
	kept := dir != ""
	if !kept {
		if dir, err = os.MkdirTemp("", "leat-quickstart-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	fmt.Fprintf(out, "store    %s, which is %s\n", dir, map[bool]string{true: "kept", false: "removed at the end"}[kept])

	if err := write(ctx, dir, lines, out); err != nil {
		return err
	}
	// Closed, and now opened again: what is read below comes from the files.
	st, err := leat.Open(dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := count(ctx, st, out); err != nil {
		return err
	}
	return tail(ctx, st, out)
}

// topic is the topic of that name, made when it is not there.
func topic(ctx context.Context, st *leat.Store, name string, c leat.TopicConfig) (*leat.Topic, error) {
	t, err := st.Topic(name)
	if errors.Is(err, leat.ErrUnknownTopic) {
		return st.CreateTopic(ctx, name, c)
	}
	return t, err
}
