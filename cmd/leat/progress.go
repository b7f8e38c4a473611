package main

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress is a bar on standard error while that is a terminal, and nothing
// otherwise. All methods may be called on nil.
type progress struct{ bar *progressbar.ProgressBar }

// newProgress begins a bar for that many bytes; -1: nobody knows how many.
func newProgress(stderr io.Writer, what string, total int64) *progress {
	f, ok := stderr.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return &progress{progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(stderr),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowBytes(true),
		progressbar.OptionFullWidth(),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)}
}

// set moves the bar.
func (p *progress) set(done, total int64) {
	if p == nil {
		return
	}
	if total != p.bar.GetMax64() {
		p.bar.ChangeMax64(total)
	}
	_ = p.bar.Set64(done)
}

// end takes the bar off the terminal.
func (p *progress) end() {
	if p != nil {
		_ = p.bar.Finish()
	}
}
