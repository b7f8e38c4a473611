package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// The exit statuses, which the help texts promise.
const (
	exitOK          = 0
	exitFailed      = 1   // damage, a format that is not read, or an error of the system
	exitUsage       = 2   // the command line is wrong
	exitInterrupted = 130 // 128 + SIGINT, as a shell would say it
)

const exitHelp = `Exit status:
  0    all was read and is sound
  1    something is damaged, of a format that is not read, or cannot be read or
       written; each finding is a line on standard error
  2    the command line is wrong
  130  interrupted`

// failure is an error of the work itself. Whatever else a command returns came
// from cobra, and means that the command line is wrong.
type failure struct {
	err error // nil: what was found has been reported
	// status is the exit status; 0: exitFailed.
	status int
}

func (f *failure) Error() string {
	if f.err == nil {
		return "failed"
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// failed is a failure, unless there is none, or the work was interrupted.
func failed(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return &failure{err: err}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "leat",
		Short: "Look at logs that Leat or Apache Kafka has written",
		Long: `leat looks at directories in which Leat, or Apache Kafka, keeps logs.

` + exitHelp,
		SilenceErrors: true, // run prints them
		SilenceUsage:  true,
	}
	root.AddCommand(
		newDump(),
		newBackup(), newRecover(), newRepair(),
		newCheck(),
	)
	return root
}

// run is the tool less its process: it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	var failed *failure
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "leat: interrupted")
		return exitInterrupted
	case errors.As(err, &failed):
		if failed.err != nil {
			fmt.Fprintf(stderr, "leat: %v\n", err)
			if hint := advice(err); hint != "" {
				fmt.Fprintf(stderr, "leat: %s\n", hint)
			}
		}
		if failed.status != 0 {
			return failed.status
		}
		return exitFailed
	}
	fmt.Fprintf(stderr, "leat: %v\n\nUsage:\n  %s\n\nSee '%s --help'.\n", err, cmd.UseLine(), cmd.CommandPath())
	return exitUsage
}
