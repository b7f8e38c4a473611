package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"

	"github.com/leatlog/leat"
)

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
		n := 0
		for t := range st.Topics() {
			if wanted(t.Name()) {
				n += len(t.Describe().Partitions)
			}
		}
		if n != len(at) {
			return nil
		}
	}
}

// reopen opens the store for writing as soon as no other process has it.
func reopen(ctx context.Context, dir string, stderr io.Writer) (*leat.Store, error) {
	for told := false; ; {
		st, err := openExisting(dir, nil)
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
