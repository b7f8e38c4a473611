package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/leatlog/leat"
)

// How a worker ends, beside by being killed.
const (
	exitFailed = 3
	exitOrphan = 4
)

// workerArg makes this program a worker: "delivery worker DIR FORM", and -break
// behind that.
const workerArg = "worker"

// work is the worker process. It ends with nil when there is nothing left to
// consume.
func work(args []string, stdin io.Reader, stdout io.Writer) (err error) {
	signal.Ignore(os.Interrupt) // Ctrl-C is for the parent, who kills
	if len(args) < 2 {
		return errors.New("a worker is started by the program itself")
	}
	f, err := parseForm(args[1])
	if err != nil {
		return err
	}
	w := &worker{form: f, dir: args[0], broken: len(args) > 2, gate: newGate(stdin, stdout)}
	// Not every system lets go of a lock at the moment in which its holder is dead.
	st, err := leat.Open(f.store(w.dir), &leat.Options{LockWait: 10 * time.Second})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	topic, err := st.Topic(topicName)
	if err != nil {
		return err
	}
	w.ends = map[int32]int64{}
	for p := range topic.Partitions() {
		w.ends[p.ID()] = p.HighWatermark() // where it stays: nobody else has the store
	}
	if err := w.run(context.Background(), st); err != io.EOF {
		return err
	}
	return nil
}

type worker struct {
	form   form
	dir    string
	broken bool
	gate   *gate
	ends   map[int32]int64 // of the partitions
}

// run runs the form. To break a form is to swap its two steps. At most once, with
// processing first, is at least once, and the other way round: it is run as the
// other, and held to its own promise.
func (w *worker) run(ctx context.Context, st *leat.Store) error {
	cfg := leat.ConsumerConfig{
		Group:    string(w.form),
		Topics:   []string{topicName},
		MaxBytes: 1, // one batch a Poll: many commits, and many places to be killed at
	}
	if w.form == exactOnce {
		db, err := openLedger(w.form.ledger(w.dir))
		if err != nil {
			return err
		}
		defer db.close()
		return exactlyOnce(ctx, st, cfg, &gatedDatabase{db, w})
	}

	c, err := st.Consumer(cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	lines, err := openLines(w.form.out(w.dir))
	if err != nil {
		return err
	}
	defer lines.close()
	if (w.form == mostOnce) != w.broken {
		return atMostOnce(ctx, &gatedConsumer{c, w}, func(rec *leat.Record) error {
			return w.apply(lines, rec)
		})
	}
	rows, err := os.OpenFile(w.form.table(w.dir), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer rows.Close()
	return atLeastOnce(ctx, &gatedConsumer{c, w}, &upserts{w, lines, table{rows}})
}

// apply counts what has been applied, and only that.
func (w *worker) apply(to *lineFile, rec *leat.Record) error {
	if err := to.add(line(rec)); err != nil {
		return err
	}
	w.gate.applied++
	return w.gate.stand(amid)
}

// upserts is atLeastOnce's sink: each application is a line, for it to be counted,
// and a row of the table.
type upserts struct {
	w     *worker
	lines *lineFile
	table table
}

func (u *upserts) process(rec *leat.Record) error {
	id, err := strconv.Atoi(string(rec.Key))
	if err != nil {
		return err
	}
	amount, err := strconv.Atoi(string(rec.Value))
	if err != nil {
		return err
	}
	if err := u.table.upsert(id, amount); err != nil {
		return err
	}
	return u.w.apply(u.lines, rec)
}

func (u *upserts) sync() error { return errors.Join(u.lines.sync(), u.table.file.Sync()) }

// gatedConsumer stands before and behind each commit, and ends with the last record
// that there is.
type gatedConsumer struct {
	*leat.Consumer
	w *worker
}

func (c *gatedConsumer) Poll(ctx context.Context) ([]*leat.Batch, error) {
	left := len(c.w.ends)
	for _, at := range c.Assignment() {
		if at.Offset >= c.w.ends[at.Partition] {
			left--
		}
	}
	if left == 0 {
		return nil, io.EOF
	}
	return c.Consumer.Poll(ctx)
}

func (c *gatedConsumer) Commit(ctx context.Context, at ...leat.Position) error {
	if err := c.w.gate.stand(before); err != nil {
		return err
	}
	if err := c.Consumer.Commit(ctx, at...); err != nil {
		return err
	}
	return c.w.gate.stand(behind)
}

// gatedDatabase stands before and behind each store, and ends with the last. When
// the form is to be broken it makes two steps of one: the position, then the lines.
type gatedDatabase struct {
	*ledger
	w *worker
}

func (db *gatedDatabase) store(partition int32, from, next int64, lines []string) error {
	g := db.w.gate
	if err := g.stand(before); err != nil {
		return err
	}
	if db.w.broken {
		if err := db.ledger.store(partition, from, next, nil); err != nil {
			return err
		}
		if err := g.stand(within); err != nil {
			return err
		}
		from = next
	}
	if err := db.ledger.store(partition, from, next, lines); err != nil {
		return err
	}
	g.applied += len(lines)
	if err := g.stand(behind); err != nil {
		return err
	}
	for id, end := range db.w.ends {
		if db.position(id) < end {
			return nil
		}
	}
	return io.EOF
}

// workerMain is main, for a worker.
func workerMain(args []string) int {
	if err := work(args, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		return exitFailed
	}
	return 0
}
