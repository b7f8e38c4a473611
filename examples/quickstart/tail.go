package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/leatlog/leat"
)

// tail lets a reader wait at the end of a topic, and appends a record.
func tail(ctx context.Context, st *leat.Store, out io.Writer) error {
	live, err := topic(ctx, st, "live", leat.TopicConfig{Durability: leat.Written})
	if err != nil {
		return err
	}
	p, err := live.Partition(0)
	if err != nil {
		return err
	}
	rd, err := p.Reader(leat.ReaderOptions{From: leat.Latest})
	if err != nil {
		return err
	}
	type result struct {
		at  time.Time
		err error
	}
	woken := make(chan result, 1)
	go func() { // a reader is for one goroutine
		defer rd.Close()
		_, err := rd.Next(ctx) // blocks until there is a record
		woken <- result{time.Now(), err}
	}()
	const wait = 20 * time.Millisecond
	select {
	case r := <-woken:
		return cmp.Or(r.err, errors.New("the reader at the end did not wait"))
	case <-time.After(wait):
	}
	appended := time.Now()
	if _, err := p.Append(ctx, leat.Record{Value: []byte("wake up")}); err != nil {
		return err // closing the store ends the reader's wait
	}
	r := <-woken
	if r.err != nil {
		return r.err
	}
	fmt.Fprintf(out, "tail     a reader that had waited for %v was woken %v after the append began\n",
		wait, r.at.Sub(appended).Round(time.Microsecond))
	return nil
}
