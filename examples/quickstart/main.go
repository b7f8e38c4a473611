// Quickstart stores a web server's log and reads it back.
//
//	go run ./examples/quickstart [-dir DIR] [FILE]
//
// Each line of FILE becomes a record of topic "access", under the address that
// the line begins with as its key, so that lines of one client keep their order.
// FILE may be compressed with gzip, or "-" for the standard input; without one,
// lines are made up. The store is then closed and opened again, everything is
// read, and counted by status code. In the end a reader waits for a record that
// is not there yet.
//
// Without -dir the store is in a temporary directory, which is removed. With
// -dir it is kept, and a second run appends to the topic that it finds; the
// figures are always those of the lines of this run.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

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

	began, err := write(ctx, dir, lines, out)
	if err != nil {
		return err
	}
	// Closed, and now opened again: what is read below comes from the files.
	st, err := leat.Open(dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := read(ctx, st, began, out); err != nil {
		return err
	}
	return tail(ctx, st, out)
}

const (
	// batchBytes is how much is gathered for a partition before it is appended, as
	// one batch: it compresses better, and shares one sync.
	batchBytes = 256 << 10
	overhead   = 64 // of a record beside its line, at most
)

// write appends the lines to the topic, and returns the offset of each partition
// at which it began.
func write(ctx context.Context, dir string, lines io.Reader, out io.Writer) (began []int64, err error) {
	st, err := leat.Open(dir, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	access, err := topic(ctx, st, "access", leat.TopicConfig{Partitions: 4, Compression: leat.Zstd})
	if err != nil {
		return nil, err
	}
	there := int64(0)
	for p := range access.Partitions() {
		began = append(began, p.LogEndOffset())
		there += p.LogEndOffset() - p.LogStartOffset()
	}
	if there > 0 {
		fmt.Fprintf(out, "topic    access is there with %d records: what follows is appended, and counted without them\n", there)
	}

	var t tally
	batches := make([]struct {
		records []leat.Record
		bytes   int
	}, len(began))
	flush := func(id int32) error {
		p, err := access.Partition(id)
		if err != nil {
			return err
		}
		b := &batches[id]
		_, err = p.Append(ctx, b.records...) // on stable storage when it returns nil
		b.records, b.bytes = b.records[:0], 0
		return err
	}
	t.start()
	in := bufio.NewScanner(lines)
	in.Buffer(nil, batchBytes) // no line is longer
	for in.Scan() {
		line := bytes.Clone(in.Bytes())
		address, _, _ := bytes.Cut(line, []byte(" "))
		id := access.PartitionFor(address)
		b := &batches[id]
		if len(b.records) > 0 && b.bytes+len(line) > batchBytes {
			if err := flush(id); err != nil {
				return nil, err
			}
		}
		rec := leat.Record{Key: address, Value: line}
		b.records, b.bytes = append(b.records, rec), b.bytes+len(line)+overhead
		t.add(&rec)
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("after %d lines: %w", t.records, err)
	}
	for id := range batches {
		if err := flush(int32(id)); err != nil {
			return nil, err
		}
	}
	fmt.Fprintf(out, "write    %s, synced\n", t.rate())
	return began, nil
}

// read reads each partition from where this run began, and counts.
func read(ctx context.Context, st *leat.Store, began []int64, out io.Writer) error {
	access, err := st.Topic("access")
	if err != nil {
		return err
	}
	var t tally
	stored, status := 0, map[string]int{}
	t.start()
	for p := range access.Partitions() {
		rd, err := p.Reader(leat.ReaderOptions{From: leat.At(began[p.ID()]), UntilEnd: true})
		if err != nil {
			return err
		}
		defer rd.Close()
		for {
			batch, err := rd.Next(ctx)
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			stored += len(batch.Bytes())
			// A record's slices point into the reader's buffer (where nothing is
			// compressed, into the file itself) and live for one turn.
			for rec, err := range batch.Records() {
				if err != nil {
					return err
				}
				t.add(rec)
				status[string(statusOf(rec.Value))]++
			}
		}
	}
	fmt.Fprintf(out, "read     %s, after opening again\n", t.rate())
	if stored > 0 {
		fmt.Fprintf(out, "stored   %.2f MB as zstd batches: compressed %.1f to 1\n", float64(stored)/1e6, float64(t.bytes)/float64(stored))
	}
	var counts []string
	for _, code := range slices.SortedFunc(maps.Keys(status), func(a, b string) int {
		return cmp.Or(cmp.Compare(status[b], status[a]), cmp.Compare(b, a))
	}) {
		counts = append(counts, fmt.Sprintf("%s: %d", code, status[code]))
	}
	fmt.Fprintf(out, "status   %s\n", strings.Join(counts, ", "))
	return nil
}

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

// topic is the topic of that name, made when it is not there.
func topic(ctx context.Context, st *leat.Store, name string, c leat.TopicConfig) (*leat.Topic, error) {
	t, err := st.Topic(name)
	if errors.Is(err, leat.ErrUnknownTopic) {
		return st.CreateTopic(ctx, name, c)
	}
	return t, err
}
