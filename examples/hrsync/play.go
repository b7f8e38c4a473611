package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
)

const (
	never  = -1
	noSeek = -1
)

// play is a run: workers, and what must have come of them.
type play struct {
	dir    string
	last   int64 // the last change
	failAt int64 // where the first worker dies
	seek   int64 // where the position is moved before
	out    io.Writer
}

func (p *play) inDir(ctx context.Context) (err error) {
	if p.dir == "" {
		if p.dir, err = os.MkdirTemp("", "leat-hrsync-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(p.dir)) }()
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	return p.run(ctx)
}

func (p *play) run(ctx context.Context) error {
	if err := feed(ctx, p.dir, p.last); err != nil {
		return err
	}
	began, err := p.look(ctx, func(db *database) error {
		if p.seek == noSeek {
			return nil
		}
		if p.seek < first || p.seek > p.last+1 {
			return fmt.Errorf("the topic has changes %d to %d: the position cannot be %d", first, p.last, p.seek)
		}
		fmt.Fprintf(p.out, "the position is moved to %d\n", p.seek)
		return db.move(ctx, p.seek)
	})
	if err != nil {
		return err
	}
	if began.next > p.last {
		fmt.Fprintf(p.out, "the position is %d: nothing is left to apply\n", began.next)
	}
	if began.next <= p.failAt && p.failAt <= p.last {
		if err := p.worker(ctx, p.failAt); err != nil {
			return err
		}
		if err := p.check(ctx, began, p.failAt); err != nil {
			return err
		}
	}
	if err := p.worker(ctx, never); err != nil {
		return err
	}
	if err := p.check(ctx, began, p.last+1); err != nil {
		return err
	}
	return p.print(ctx)
}

// worker runs a worker, which has to die where it is told to.
func (p *play) worker(ctx context.Context, failAt int64) error {
	cmd, err := p.start(ctx, failAt)
	if err != nil {
		return err
	}
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case failAt != never && cmd.ProcessState.ExitCode() != exitPlayed:
		return fmt.Errorf("the worker was to die at %d: %v", failAt, cmd.ProcessState)
	case failAt == never && err != nil:
		return fmt.Errorf("the worker: %w", err)
	}
	return nil
}

func (p *play) start(ctx context.Context, failAt int64) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, workerArg, p.dir, strconv.FormatInt(failAt, 10)) // kills it when ctx ends
	cmd.Stdout, cmd.Stderr = p.out, os.Stderr
	if _, err := cmd.StdinPipe(); err != nil { // stays open for as long as this process lives
		return nil, err
	}
	return cmd, cmd.Start()
}
