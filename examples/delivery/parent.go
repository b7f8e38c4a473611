package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/leatlog/leat"
)

const (
	topicName  = "work"
	partitions = 3
	batch      = 12 // records that are produced at once

	// maxRounds is how often a worker that is to be killed may poll: there is
	// always something left for the last one.
	maxRounds = 4
	// spare is how many workers more there may be, should a system give the number
	// of a process that is gone to a new one: their lines would be one process's.
	spare = 2
	// patience is for a worker that gives no sign of life.
	patience = 2 * time.Minute
)

// trial is one form on trial.
type trial struct {
	form   form
	dir    string
	kills  int
	broken bool
}

// run produces, consumes with workers that are killed, and counts.
func (t *trial) run(ctx context.Context) (tally, error) {
	for _, path := range t.form.left(t.dir) {
		if err := os.RemoveAll(path); err != nil {
			return tally{}, err
		}
	}
	if err := t.produce(ctx, (t.kills+spare+1)*maxRounds); err != nil {
		return tally{}, err
	}
	pids := map[int]bool{}
	for tries := 0; len(pids) < t.kills; tries++ {
		if tries == t.kills+spare {
			return tally{}, errors.New("process numbers are used again too soon")
		}
		// The first is killed between the two steps, where it hurts; the others
		// anywhere.
		a := &aim{at: t.between()}
		if tries > 0 {
			a = t.anyAim()
		}
		pid, err := t.worker(ctx, a)
		if err != nil {
			return tally{}, err
		}
		pids[pid] = true
	}
	if _, err := t.worker(ctx, nil); err != nil {
		return tally{}, err
	}
	if t.form == exactOnce {
		if err := t.derive(); err != nil {
			return tally{}, err
		}
	}
	return count(t.form.in(t.dir), t.form.out(t.dir))
}

// between is where a worker stands between its two steps.
func (t *trial) between() string {
	switch {
	case t.form == exactOnce && t.broken:
		return within
	case t.form == exactOnce:
		return before // there is no such place
	case (t.form == mostOnce) != t.broken:
		return behind // its commit comes first
	}
	return before
}

// produce produces records with the ids from 1 on, so many batches, and writes
// down those that are acknowledged.
func (t *trial) produce(ctx context.Context, batches int) (err error) {
	st, err := leat.Open(t.form.store(t.dir), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if _, err := st.CreateTopic(ctx, topicName, leat.TopicConfig{Partitions: partitions}); err != nil {
		return err
	}
	// One call is one batch in one partition, and so what one Poll of a worker gives.
	p, err := st.Producer(leat.ProducerConfig{Partitioner: leat.FixedPartition})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	in, err := openLines(t.form.in(t.dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	for n := range batches {
		records := make([]*leat.Record, batch)
		for i := range records {
			id := n*batch + i + 1
			records[i] = &leat.Record{
				Topic:     topicName,
				Partition: int32(n % partitions),
				Key:       strconv.AppendInt(nil, int64(id), 10),
				Value:     strconv.AppendInt(nil, int64(amount(id)), 10),
			}
		}
		if err := p.Produce(ctx, records...); err != nil {
			return err
		}
		for _, rec := range records {
			if err := in.add(line(rec)); err != nil {
				return err
			}
		}
	}
	return nil
}

// amount is what the record of an id says.
func amount(id int) int { return id * 7919 % 10_000 }

// worker starts a worker and lets it go on from where it stands, until it is where
// the aim is: there it is killed. Without an aim it is left to finish.
func (t *trial) worker(ctx context.Context, a *aim) (pid int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	args := []string{workerArg, t.dir, string(t.form)}
	if t.broken {
		args = append(args, "-break")
	}
	cmd := exec.CommandContext(ctx, self, args...) // kills it when ctx ends
	cmd.Stderr = os.Stderr
	goOn, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	stands, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	kill := func() { _ = cmd.Process.Kill() } // an error: it is gone already, and Wait tells how
	silent := time.AfterFunc(patience, kill)
	defer silent.Stop()
	for in := bufio.NewScanner(stands); in.Scan(); {
		silent.Reset(patience)
		var at string
		var applied int
		if _, err := fmt.Sscan(in.Text(), &at, &applied); err != nil {
			kill()
			return 0, errors.Join(fmt.Errorf("a worker said %q: %w", in.Text(), err), cmd.Wait())
		}
		if a != nil {
			now, after := a.seen(at, applied)
			if now {
				kill()
				continue // with what it has said by now; it stands
			}
			if after >= 0 {
				defer time.AfterFunc(after, kill).Stop()
			}
		}
		_, _ = goOn.Write([]byte{'\n'}) // an error: as that of kill
	}
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case a == nil && err != nil:
		return 0, fmt.Errorf("a worker that was to finish: %w", err)
	case a != nil && err == nil:
		return 0, errors.New("a worker has finished that was to be killed")
	case a != nil && (cmd.ProcessState.ExitCode() == exitFailed || !a.fired):
		return 0, fmt.Errorf("a worker that was to be killed: %w", err)
	}
	return cmd.Process.Pid, nil
}

// aim says where a worker is to be killed: where it stands, or on its way.
type aim struct {
	at     string  // the place
	passes int     // how often it may pass there, after it has applied something
	behind float64 // in rounds, how long after it has gone on from there; 0: while it stands

	rounds int       // that it has begun
	began  time.Time // the last one
	lap    time.Duration
	fired  bool
}

// anyAim is anywhere at all. In a round of a few hundred microseconds a time is
// hardly to be hit from outside: half of the aims are places, the others times.
func (t *trial) anyAim() *aim {
	if rand.N(2) == 0 {
		return &aim{at: before, passes: rand.N(2), behind: 2 * rand.Float64()}
	}
	places := []string{before, behind, amid}
	switch {
	case t.form == exactOnce && t.broken:
		places[2] = within
	case t.form == exactOnce:
		places = places[:2]
	}
	a := &aim{at: places[rand.N(len(places))], passes: rand.N(2)}
	if a.at == amid {
		a.passes = rand.N(2 * batch)
	}
	return a
}

// seen is told where the worker stands. The answer is that it is to be killed now,
// or that it may go on: to be killed so long after, unless that is negative.
func (a *aim) seen(at string, applied int) (now bool, after time.Duration) {
	if at == before {
		if a.rounds > 0 {
			a.lap = time.Since(a.began)
		}
		a.rounds, a.began = a.rounds+1, time.Now()
	}
	switch {
	case a.rounds > maxRounds:
		a.fired = true
		return true, -1
	case a.fired || at != a.at || applied == 0:
		return false, -1
	case a.passes > 0:
		a.passes--
		return false, -1
	}
	a.fired = true
	if a.behind == 0 {
		return true, -1
	}
	return false, time.Duration(a.behind * float64(a.lap))
}

// derive writes FORM.out from the ledger, in which the lines are.
func (t *trial) derive() error {
	l, err := openLedger(t.form.ledger(t.dir))
	if err != nil {
		return err
	}
	defer l.close()
	out, err := openLines(t.form.out(t.dir))
	if err != nil {
		return err
	}
	for _, line := range l.lines {
		if err := out.add(line); err != nil {
			return errors.Join(err, out.close())
		}
	}
	return out.close()
}

// upserted is how many rows atLeastOnce's table has, when each is what was
// produced, once, however often it was put there.
func (t *trial) upserted(produced int) (rows int, err error) {
	text, err := os.ReadFile(t.form.table(t.dir))
	if err != nil {
		return 0, err
	}
	for ; len(text) > 0; rows++ {
		if want := row(rows+1, amount(rows+1)); rows == produced || !bytes.HasPrefix(text, []byte(want)) {
			return 0, fmt.Errorf("row %d of the table is not as produced", rows+1)
		}
		text = text[rowBytes:]
	}
	if rows < produced {
		return 0, fmt.Errorf("the table has %d rows: produced were %d", rows, produced)
	}
	return rows, nil
}
