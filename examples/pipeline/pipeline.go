package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/leatlog/leat"
)

// pipeline opens the store, lets producer and members run beside each other, and
// checks what has come of it.
func pipeline(ctx context.Context, s *settings, out io.Writer) (err error) {
	dir, place := s.dir, "kept"
	if dir == "" {
		place = "removed at the end"
		if dir, err = os.MkdirTemp("", "leat-pipeline-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	st, err := leat.Open(dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	topic, err := st.Topic("jobs")
	if errors.Is(err, leat.ErrUnknownTopic) {
		topic, err = st.CreateTopic(ctx, "jobs", leat.TopicConfig{Partitions: int32(s.partitions)})
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "store    %s, which is %s\n", dir, place)
	books, err := newLedger(st, topic)
	if err != nil {
		return err
	}
	left, err := books.backlog()
	if err != nil {
		return err
	}
	if left.Records > 0 {
		fmt.Fprintf(out, "resume   an earlier run has left %d records, %s: the group goes on with them\n", left.Records, mb(left.Bytes))
	}

	// Who fails ends the run for all.
	run, stop := context.WithCancel(ctx)
	defer stop()
	p, err := newProducer(st, topic, s, stop)
	if err != nil {
		return err
	}
	var members sync.WaitGroup
	errs := make([]error, s.members)
	for i := range errs {
		members.Go(func() {
			defer stop()
			work := pace{each: time.Duration(float64(s.members) / s.rate * float64(time.Second)), over: run.Done()}
			errs[i] = member(run, st, topic.Name(), func(r *leat.Record) error {
				work.wait()
				return books.enter(r)
			})
		})
	}
	w := startWatch(s.watch, books, p, out)

	err = p.bursts(run, s, out)
	for err == nil && !books.done() && sleep(run, 10*time.Millisecond) {
	}
	stop() // members finish, and commit, what they have begun
	members.Wait()
	err = errors.Join(append(errs, err, p.Close(), w.stop())...)
	if err != nil {
		return err
	}
	return verify(ctx, s, books, p, w, out)
}

// verify checks that all that was produced is stored, and was processed or is left
// for the next run, and that the memory did not grow with what waited.
func verify(ctx context.Context, s *settings, books *ledger, p *producer, w *watch, out io.Writer) error {
	if n := books.added(); n != p.stored.Load() {
		return fmt.Errorf("%d records were acknowledged, and %d are stored", p.stored.Load(), n)
	}
	if err := books.committed(); err != nil {
		return err
	}
	left, err := books.backlog()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "produced %d records, all on stable storage\n", p.stored.Load())
	fmt.Fprintf(out, "processed %d records in order, %d of them a second time\n", books.processed.Load(), books.again.Load())
	if ctx.Err() != nil {
		next := "which goes with the store"
		if s.dir != "" {
			next = "for the next run with -dir " + s.dir
		}
		fmt.Fprintf(out, "stopped  %d records, %s, are left, %s\n", left.Records, mb(left.Bytes), next)
		return nil
	}
	if left.Records > 0 {
		return fmt.Errorf("%d records were not processed", left.Records)
	}
	return w.verify(s, out)
}

// sleep returns false when ctx ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
