package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"

	"github.com/leatlog/leat"
)

// lockTry is how long one attempt to get the store may take, and so about how
// long it takes to notice Ctrl-C meanwhile.
const lockTry = 250 * time.Millisecond

// awaitNews waits until there is something to be read behind the positions, or
// a partition that is not among them. Meanwhile the store is anybody's.
func awaitNews(ctx context.Context, o *consumeOptions, at []leat.Position) (err error) {
	st, err := openReading(o.dir)
	if err != nil {
		return err
	}
	defer closing(st, &err)
	pattern := regexp.MustCompile("^(?:" + o.group.pattern + ")$")
	wanted := func(topic string) bool {
		if o.group.pattern != "" {
			return !isInternal(topic) && pattern.MatchString(topic)
		}
		return slices.Contains(o.topics, topic)
	}
	for {
		n := 0
		for t := range st.Topics() {
			if wanted(t.Name()) {
				n += len(t.Describe().Partitions)
			}
		}
		if n != len(at) {
			return nil
		}
		waiting, stop := context.WithTimeout(ctx, newsEvery)
		if len(at) == 0 {
			<-waiting.Done() // there is no topic yet
		}
		err := st.Wait(waiting, at, 1, o.isolation)
		stop()
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
}

// reopen opens the store for writing as soon as no other process has it.
func reopen(ctx context.Context, dir string, stderr io.Writer) (*leat.Store, error) {
	for told := false; ; {
		st, err := openExisting(dir, &leat.Options{LockWait: lockTry})
		if !errors.Is(err, leat.ErrLocked) {
			return st, err
		}
		if !told {
			told = true
			fmt.Fprintf(stderr, "leat: there is more to print; waiting for the store: %s\n", words(err))
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}
