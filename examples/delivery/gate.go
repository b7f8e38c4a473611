package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
)

// Where a worker stands: before its commit and behind it; amid a batch, when it
// has applied a record; and within what ought to be one step, where exactly-once is
// broken on purpose.
const (
	before = "before"
	amid   = "amid"
	behind = "behind"
	within = "within"
)

// gate is how the worker tells the parent where it stands, and waits until it may
// go on. Who is killed while waiting is killed exactly there, which no clock could
// make sure of.
type gate struct {
	out     io.Writer
	goOn    chan struct{}
	applied int // by this process
}

// newGate ends the process when the parent is gone, wherever the process is.
func newGate(in io.Reader, out io.Writer) *gate {
	g := &gate{out: out, goOn: make(chan struct{})}
	go func() {
		for words := bufio.NewReader(in); ; g.goOn <- struct{}{} {
			if _, err := words.ReadByte(); err != nil {
				os.Exit(exitOrphan)
			}
		}
	}()
	return g
}

func (g *gate) stand(at string) error {
	if _, err := fmt.Fprintln(g.out, at, g.applied); err != nil {
		return err
	}
	<-g.goOn
	return nil
}
