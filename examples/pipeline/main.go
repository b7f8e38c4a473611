// Pipeline puts a topic between a producer that comes in bursts and consumers
// that are slower than a burst: they are decoupled, the producer does not wait for
// them, and the peaks are shaved.
//
//	go run ./examples/pipeline [-dir DIR] [-members 4] [-bursts 3] [-burst 100000] [-every 4s] [-rate 28000]
//
// Each burst is handed over within a fraction of a second (produce.go). A consumer
// group of several members works it off (consume.go) until the next one comes. A line
// every half second (watch.go) tells what waits in the topic, on the disk, and the
// memory that the process has for itself, which stays what it is, however much
// waits. In the end the program checks that it did, and that each record was processed
// once, in the order of its partition (ledger.go): the exit status is 1 if not.
//
// Without -dir the store is in a temporary directory, which is removed. With it,
// Ctrl-C, or even kill -9, loses nothing: what is left is worked off by the next run.
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
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// settings are the flags.
type settings struct {
	dir                 string
	partitions, members int
	bursts, burst, size int
	every, watch        time.Duration
	rate                float64
	buffer              int64
}

// command is main without the process: it returns the exit status.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("pipeline", flag.ContinueOnError)
	flags.SetOutput(stderr)
	var s settings
	flags.StringVar(&s.dir, "dir", "", "keep the store in `DIR`; without it, it is in a temporary directory")
	flags.IntVar(&s.partitions, "partitions", 8, "of the topic, when it is made: at most so many members have work")
	flags.IntVar(&s.members, "members", 4, "of the consumer group")
	flags.IntVar(&s.bursts, "bursts", 3, "that are produced; with 0, what an earlier run has left is worked off")
	flags.IntVar(&s.burst, "burst", 100_000, "records of a burst")
	flags.IntVar(&s.size, "size", 1000, "bytes of a record's value")
	flags.DurationVar(&s.every, "every", 4*time.Second, "time from burst to burst")
	flags.Float64Var(&s.rate, "rate", 28_000, "records a second that all members together can process")
	flags.Int64Var(&s.buffer, "buffer", 8<<20, "bytes of records that the producer holds, at most")
	flags.DurationVar(&s.watch, "watch", time.Second/2, "time from line to line")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0 || s.partitions < 1 || s.partitions > 1000 || s.members < 1 || s.bursts < 0 || s.burst < 1 || s.size < minSize ||
		s.size > 1_000_000 || s.every <= 0 || s.rate <= 0 || s.buffer < 1 || s.watch <= 0:
		fmt.Fprintln(stderr, "pipeline: a value that makes no sense")
		flags.Usage()
		return 2
	}
	if err := pipeline(ctx, &s, stdout); err != nil {
		fmt.Fprintln(stderr, "pipeline:", err)
		return 1
	}
	return 0
}
