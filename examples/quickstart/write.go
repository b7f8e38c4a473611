package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/leatlog/leat"
)

// batchBytes makes batches larger than they are by default: these compress better,
// and take fewer syncs.
var batchBytes = 256 << 10

const lineBytes = 256 << 10 // no line is longer

// write gives the lines to a producer, and returns when all of them are on stable
// storage. When ctx ends, those that were read until then are.
func write(ctx context.Context, dir string, lines io.Reader, out io.Writer) (err error) {
	st, err := leat.Open(dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	access, err := topic(ctx, st, "access", leat.TopicConfig{Partitions: 4, Compression: leat.Zstd})
	if err != nil {
		return err
	}
	there := int64(0)
	for p := range access.Partitions() {
		there += p.LogEndOffset() - p.LogStartOffset()
	}
	if there > 0 {
		fmt.Fprintf(out, "topic    access is there with %d records: what follows is appended\n", there)
	}
	p, err := st.Producer(leat.ProducerConfig{BatchBytes: batchBytes, Linger: 10 * time.Millisecond})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }() // which sends what it still has

	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	done := func(_ *leat.Record, err error) { // for each record, when it is stored
		if err != nil {
			fail(err)
		}
	}
	var t tally
	t.start()
	in := bufio.NewScanner(lines)
	in.Buffer(nil, lineBytes)
	for ctx.Err() == nil && in.Scan() {
		line := bytes.Clone(in.Bytes())
		address, _, _ := bytes.Cut(line, []byte(" "))
		rec := &leat.Record{Topic: "access", Key: address, Value: line}
		t.add(rec)
		p.ProduceAsync(ctx, rec, done) // waits only while too much waits for the disk
	}
	if err := p.Flush(ctx); err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	if err := context.Cause(ctx); err != nil { // a record's, all of which are done now
		return err
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("after %d lines: %w", t.records, err)
	}
	fmt.Fprintf(out, "write    %s, synced\n", t.rate())
	return nil
}
