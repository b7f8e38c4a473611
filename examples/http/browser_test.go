package main

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// tab is a tab of a headless Chromium.
type tab struct {
	t       *testing.T
	ctx     context.Context
	console func() []string // what has been complained about
}

// browser starts a browser with one tab. Without Chromium the test is skipped, and
// says so.
func browser(t *testing.T, width, height int64) *tab {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("no Chromium in PATH: the page is not tested (apt-get install chromium)")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.WSURLReadTimeout(time.Minute))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // root cannot have one
	}
	b := &tab{t: t}
	for try := 1; b.ctx == nil; try++ {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		ctx, cancelExec := chromedp.NewExecAllocator(ctx, options...)
		ctx, cancelTab := chromedp.NewContext(ctx, chromedp.WithErrorf(t.Logf))
		end := func() { cancelTab(); cancelExec(); cancel() }
		// The first action starts the browser, which can fail when the machine is busy.
		if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, height)); err != nil {
			end()
			require.Less(t, try, 3, "Chromium does not start: %v", err)
			continue
		}
		t.Cleanup(end)
		b.ctx = ctx
	}

	ctx, stop := context.WithCancel(b.ctx)
	said := chromedp.Console(ctx)
	b.console = func() (complaints []string) {
		stop() // what came before is still told
		for m, err := range said {
			if err != nil {
				break
			}
			if m.Type != "log" && m.Type != "info" && m.Type != "debug" {
				complaints = append(complaints, m.String())
			}
		}
		return complaints
	}
	return b
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	require.NoError(b.t, chromedp.Do(b.ctx, actions...))
}

// eval is what an expression in JavaScript gives.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	require.NoError(b.t, err, expression)
	return v
}

// until waits until a condition holds, in JavaScript. The page's policy forbids
// chromedp.Poll, which makes functions of text.
func (b *tab) until(condition string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 30*time.Second)
	defer cancel()
	_, err := chromedp.Run(ctx, chromedp.Evaluate[bool](
		`new Promise((done) => { const look = () => (`+condition+`) ? done(true) : setTimeout(look, 20); look(); })`,
		chromedp.EvalAwaitPromise))
	if err != nil {
		require.NoError(b.t, err, "%s\nthe page says: %s", condition, b.text("body"))
	}
}

// text is what there is to read in an element.
func (b *tab) text(selector string) string {
	b.t.Helper()
	return strings.Join(strings.Fields(eval[string](b, `document.querySelector(`+quote(selector)+`).innerText`)), " ")
}

// colours makes the page look as its user prefers it: light or dark.
func (b *tab) colours(scheme string) {
	b.t.Helper()
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}))
}

func quote(s string) string { return strconv.Quote(s) }
