package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
)

// A worker has two places to stand at, before its commit and behind it, and in the
// form that is broken on purpose there is one more.
const (
	before = "before"
	within = "within" // a step that ought to be one
	behind = "behind"
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
