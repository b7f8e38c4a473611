// Command leat looks at and looks after directories that Leat or Apache Kafka
// keeps logs in. "leat --help" lists what it can do.
package main

import (
	"context"
	"os"
	"os/signal"
)

func main() {
	ctx := context.Background()
	if !signal.Ignored(os.Interrupt) { // as it is for what a shell script runs in the background
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt)
		// The first Ctrl-C ends the work at a whole line; should that be stuck, in
		// a pipe that nobody reads for instance, the second one kills.
		context.AfterFunc(ctx, stop)
	}
	// A closed pipe needs no care: SIGPIPE ends the process, as it does others.
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
