package main

import (
	"io"
	"os"
	"time"
	"unicode/utf8"

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
	width := screenWidth(stderr)
	if width == 0 {
		width = 80 // nobody knows: what terminals have had since there were any
	}
	options := []progressbar.Option{
		progressbar.OptionSetWriter(stderr),
		progressbar.OptionThrottle(100 * time.Millisecond),
		progressbar.OptionClearOnFinish(),
	}
	if room := width - utf8.RuneCountInString(what) - barDetails; room >= leastBar {
		options = append(options, progressbar.OptionShowBytes(true), progressbar.OptionSetWidth(room))
	} else {
		// A line that wraps cannot be taken off again.
		what = what[:min(len(what), max(width-barPercent-1, 0))]
		options = append(options, progressbar.OptionSetElapsedTime(false), progressbar.OptionSetPredictTime(false),
			progressbar.OptionSetWidth(max(width-len(what)-barPercent-1, 0)))
	}
	return &progress{progressbar.NewOptions64(total, append(options, progressbar.OptionSetDescription(what))...)}
}

const (
	// What stands beside a bar: the percentage and the ends of the bar, and where
	// there is room bytes, rate and times, each as long as it can be.
	barPercent = len(" 100% || ")
	barDetails = barPercent + len("(1023.9/1023.9 GB, 1023.9 MB/s) [999h59m59s:999h59m59s]")
	leastBar   = 5
)

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
