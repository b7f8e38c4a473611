package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// site is a server at an address that it can come back to.
type site struct {
	*fixture
	addr string
	stop func()
}

func newSite(t *testing.T) *site {
	t.Helper()
	store, err := leat.OpenMem(nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return newSiteOver(t, store)
}

func newSiteOver(t *testing.T, store *leat.Store) *site {
	t.Helper()
	s := &site{fixture: &fixture{t: t, store: store, http: &http.Client{}}, addr: "127.0.0.1:0"}
	s.s = newTestServer(store)
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *site) start() {
	s.t.Helper()
	l, err := net.Listen("tcp", s.addr)
	require.NoError(s.t, err)
	s.addr = l.Addr().String()
	s.url = "http://" + s.addr
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.s.serve(ctx, l) }()
	s.stop = func() {
		s.t.Helper()
		cancel()
		require.NoError(s.t, <-served)
		s.stop = func() {}
	}
}

// fill makes a topic with records to look at. Their values would be active if they
// were taken for HTML.
func (s *site) fill() *leat.Topic {
	s.t.Helper()
	topic := s.topic("orders", leat.TopicConfig{Partitions: 3})
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.Local)
	for i := range 120 {
		appendTo(s.t, topic, int32(i%3), leat.Record{
			Timestamp: began.Add(time.Duration(i) * time.Second), Key: fmt.Appendf(nil, "customer %d", i%7),
			Value:   fmt.Appendf(nil, `{"order": %d, "note": "<img src=x onerror='document.title=1'>"}`, i),
			Headers: []leat.Header{{Key: "trace", Value: fmt.Appendf(nil, "t%d", i)}},
		})
	}
	s.topic("payments", leat.TopicConfig{})
	return topic
}

// rows are what the list of records shows: partition and offset.
func (b *tab) rows() []string {
	b.t.Helper()
	return eval[[]string](b, `[...document.querySelectorAll("#records > li > button")].map((e) => e.id.slice(1))`)
}

const rowCount = `document.querySelectorAll("#records > li").length`

// TestPage uses the page as somebody with a mouse does: it loads, shows what is
// there, and follows what comes.
func TestPage(t *testing.T) {
	b := browser(t, 1280, 900)
	s := newSite(t)
	topic := s.fill()
	b.do(chromedp.Navigate(s.url))
	b.until(`document.querySelector("#state").textContent === "live"`)
	b.until(`document.querySelectorAll("#partitions tbody tr").length === 3 && ` + rowCount + ` === 50`)
	require.Equal(t, "orders", b.text("#topic-title"))
	require.Contains(t, b.text("#topics"), "payments")
	require.Contains(t, b.text("#tiles"), "120 records")
	require.Regexp(t, `^0 open .* 1 .* 40 40 40 0$`, b.text("#partitions tbody tr"))
	require.Len(t, eval[[]int](b, `[...document.querySelectorAll("#charts canvas")].map((c) => c.width).filter((w) => w > 0)`), 4)
	b.until(`document.querySelectorAll("#charts .u-legend").length === 4`)
	require.Equal(t, []string{"2-39", "1-39", "0-39", "2-38"}, b.rows()[:4], "the newest of all partitions")

	// Open one: text is text.
	b.do(chromedp.Click(chromedp.CSS("#r2-39")))
	b.until(`document.querySelector(".record")?.textContent.includes("onerror")`)
	require.Contains(t, b.text(".record"), "trace t119")
	require.Zero(t, eval[int](b, `document.querySelectorAll("#records img").length`))
	b.do(chromedp.Click(chromedp.CSS("#r2-39")))
	b.until(`document.querySelector(".record") === null`)

	// Browse on, to the end.
	b.do(chromedp.Click(chromedp.CSS("#more")))
	b.until(rowCount + ` === 100`)
	b.do(chromedp.Click(chromedp.CSS("#more")))
	b.until(rowCount + ` === 120 && document.querySelector("#more").hidden`)
	require.Equal(t, "0-0", b.rows()[119])

	// A live update: numbers, and the tail.
	b.do(chromedp.Click(chromedp.CSS("#follow")))
	b.until(`document.querySelector("#found").textContent.startsWith("Following")`)
	appendTo(t, topic, 1, leat.Record{Key: []byte("new"), Value: []byte("<b>just now</b>")})
	b.until(`document.querySelector("#records > li > button").id === "r1-40"`)
	require.Contains(t, b.text("#r1-40"), "<b>just now</b>")
	b.until(`document.querySelector("#tiles").textContent.includes("121 records")`)
	b.until(`document.querySelectorAll("#partitions tbody tr")[1].cells[9].textContent === "41"`)
	b.until(`document.querySelector("#found").textContent === "Following: 1 new record."`)
	b.do(chromedp.Click(chromedp.CSS("#follow")))
	b.until(`document.querySelector("#follow").ariaPressed === "false"`)

	// Another topic.
	b.do(chromedp.Click(chromedp.CSS("#topics li:nth-child(2) button")))
	b.until(`document.querySelector("#topic-title").textContent === "payments" && document.querySelector("#found").textContent === "There are no records here."`)
	require.Equal(t, "leat", eval[string](b, `document.title`))
	require.Empty(t, b.console())
}

// TestPageSearch searches by key, by text, by offset and by time.
func TestPageSearch(t *testing.T) {
	b := browser(t, 1280, 900)
	s := newSite(t)
	s.fill()
	b.do(chromedp.Navigate(s.url))
	b.until(rowCount + ` === 50`)
	// search fills the form, sends it, and waits for the answer.
	search := func(values map[string]string, n int, end string) []string {
		t.Helper()
		b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#browse").reset()`))
		b.until(`document.querySelector("#browse [name=time]").disabled && document.querySelector("#browse [name=offset]").disabled`)
		for name, value := range values {
			b.do(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`{
				const field = document.querySelector("#browse").elements[%q];
				field.value = %q;
				field.dispatchEvent(new Event("change", {bubbles: true}));
			}`, name, value)))
		}
		b.do(chromedp.Click(chromedp.CSS("#browse [type=submit]")))
		b.until(fmt.Sprintf(`%s === %d && document.querySelector("#found").textContent.includes(%q)`, rowCount, n, end))
		return b.rows()
	}
	require.Equal(t, []string{"1-39", "0-37", "2-34"}, search(map[string]string{"key": "customer 6"}, 17, "which is all, 120 records looked at")[:3])
	require.Equal(t, []string{"0-0", "1-2", "2-4"}, search(map[string]string{"begin": "oldest", "key": "customer 0"}, 18, "which is all")[:3])
	require.Equal(t, []string{"0-39"}, search(map[string]string{"contains": `"order": 117,`}, 1, "which is all"))
	require.Equal(t, []string{"1-33", "1-34"}, search(map[string]string{"partition": "1", "begin": "offset", "offset": "33"}, 7, "which is all")[:2])
	require.Equal(t, []string{"0-39", "1-39", "2-39"}, search(map[string]string{"begin": "time", "time": "2026-03-01T12:01:57"}, 3, "which is all"))
	require.Empty(t, search(map[string]string{"key": "nobody"}, 0, "Nothing found, 120 records looked at."))

	// An offset that is not there is an error, which says what there is.
	search(map[string]string{"partition": "1", "begin": "offset", "offset": "99"}, 0, "")
	b.until(`document.querySelector("#records-error").textContent.includes("0 to 40")`)
}

// TestPageOffline stops the server under the page, which says so, and starts it
// again: the page recovers by itself, and has missed nothing.
func TestPageOffline(t *testing.T) {
	b := browser(t, 1280, 900)
	s := newSite(t)
	topic := s.fill()
	b.do(chromedp.Navigate(s.url))
	b.until(rowCount + ` === 50`)
	b.do(chromedp.Click(chromedp.CSS("#follow")))
	b.until(`document.querySelector("#follow").ariaPressed === "true"`)
	appendTo(t, topic, 0, leat.Record{Value: []byte("before")})
	b.until(`document.querySelector("#records > li > button").id === "r0-40"`)

	s.stop()
	b.until(`!document.querySelector("#offline").hidden && document.querySelector("#state").textContent === "offline"`)
	require.Contains(t, b.text("#offline"), "The server does not answer. Trying again every second.")
	b.until(`document.querySelector("#records-error").textContent.includes("interrupted")`)
	appendTo(t, topic, 0, leat.Record{Value: []byte("meanwhile")})
	b.do(chromedp.Click(chromedp.CSS("#r0-40"))) // asks for the whole record
	b.until(`document.querySelector(".record .error")?.textContent === "The server does not answer."`)

	// It is back, but has no place for streams yet.
	s.s = newTestServer(s.store, func(l *limits) { l.streams = 1 })
	leave, err := take(s.s.streams)
	require.NoError(t, err)
	s.start()
	b.until(`document.querySelector("#records-error").textContent.includes("refused")`)
	leave()
	b.until(`document.querySelector("#offline").hidden && document.querySelector("#state").textContent === "live"`)
	b.until(`document.querySelector("#records > li > button").id === "r0-41"`)
	b.until(`document.querySelector("#records-error").hidden`)
	appendTo(t, topic, 0, leat.Record{Value: []byte("after")})
	b.until(`document.querySelector("#records > li > button").id === "r0-42"`)
	rows := b.rows()
	require.Equal(t, []string{"0-42", "0-41", "0-40"}, rows[:3])
	for _, id := range rows[3:] {
		require.NotContains(t, rows[:3], id, "nothing comes twice")
	}

	// What was shown is taken back, as a follower does when its leader changes.
	require.NoError(t, partitionOf(t, topic, 0).TruncateTo(20))
	appendTo(t, topic, 0, leat.Record{Value: []byte("instead")})
	b.until(`/^Partition 0 was cut back to offset 2[01], and is followed/.test(document.querySelector("#records-error").textContent)`)
}

// TestPageKeyboard uses the page without a mouse, and can see where it is.
func TestPageKeyboard(t *testing.T) {
	b := browser(t, 1280, 900)
	s := newSite(t)
	s.fill()
	b.do(chromedp.Navigate(s.url))
	b.until(rowCount + ` === 50 && !document.querySelector("#partition-view").hidden`)
	press := func(keys string, n int) {
		for range n {
			b.do(chromedp.KeyEvent(keys))
		}
	}
	// at is what has the focus; everything that can must show it.
	at := func() string {
		t.Helper()
		e := eval[struct{ Name, Outline string }](b, `(() => {
			const e = document.activeElement;
			const name = e.id || e.name || e.getAttribute("aria-label") || e.querySelector(".name")?.textContent || e.textContent.trim();
			return {Name: name, Outline: getComputedStyle(e).outlineStyle};
		})()`)
		require.NotEqual(t, "none", e.Outline, "the focus is not seen on %s", e.Name)
		return e.Name
	}
	var order []string
	for range 18 {
		press(kb.Tab, 1)
		order = append(order, at())
	}
	require.Equal(t, []string{"Skip to the content", "filter", "orders", "Configuration", "Partitions", "Partition 0",
		"Segments", "Leader epochs", "Producers", "Aborted transactions", "partition", "begin", "key", "contains", "Search", "follow", "r2-39", "more"}, order)

	// The list of records is one stop: arrows move inside, Enter opens and closes.
	b.do(chromedp.KeyEvent(kb.Tab, chromedp.KeyModifiers(chromedp.ModifierShift)))
	require.Equal(t, "r2-39", at())
	press(kb.ArrowDown, 2)
	require.Equal(t, "r0-39", at())
	press(kb.ArrowUp, 5)
	require.Equal(t, "r2-39", at())
	press(kb.End, 1)
	last := at()
	require.Equal(t, b.rows()[49], strings.TrimPrefix(last, "r"))
	press(kb.Enter, 1)
	b.until(`document.querySelector("#` + last + `").ariaExpanded === "true" && document.querySelector(".record pre") !== null`)
	press(kb.Enter, 1)
	b.until(`document.querySelector(".record") === null`)
	press(kb.Tab, 1)
	require.Equal(t, "more", at())
	press(kb.Enter, 1)
	b.until(rowCount + ` === 100 && document.activeElement.id === document.querySelectorAll("#records > li > button")[50].id`)

	// A partition is chosen by arrows and Enter, its lists are opened by Enter.
	b.do(chromedp.Focus(chromedp.CSS(".scroll")))
	press(kb.Tab, 1)
	press(kb.ArrowDown, 5)
	require.Equal(t, "Partition 2", at())
	press(kb.Enter, 1)
	b.until(`document.querySelector("#partition-title").textContent === "Partition 2" && !document.querySelector("#partition-view").hidden`)
	require.Equal(t, "Partition 2", at())
	require.Equal(t, "Partition 2", eval[string](b, `document.querySelector("#partitions [aria-pressed=true]").ariaLabel`))
	press(kb.Tab, 1)
	press(kb.Enter, 1)
	b.until(`document.querySelector("#lists tbody").innerText.includes("100.0 %")`)
	press(kb.Tab, 1)
	require.Equal(t, "Segments", eval[string](b, `document.activeElement.getAttribute("aria-label")`), "the table can be scrolled")

	// The form is sent by Enter.
	b.do(chromedp.Focus(chromedp.CSS("[name=key]")), chromedp.KeyEvent("customer 3"), chromedp.KeyEvent(kb.Enter))
	b.until(rowCount + ` === 17`)

	// A topic is chosen by arrows and Enter, the list filtered, and the link skips.
	b.do(chromedp.Focus(chromedp.CSS("#filter")))
	press(kb.Tab, 1)
	press(kb.ArrowDown, 1)
	require.Equal(t, "payments", at())
	press(kb.Enter, 1)
	b.until(`document.querySelector("#topic-title").textContent === "payments"`)
	require.Equal(t, "payments", at(), "the focus stays")
	b.do(chromedp.Focus(chromedp.CSS("#filter")), chromedp.KeyEvent("ord"))
	b.until(`[...document.querySelectorAll("#topics > li:not([hidden]) .name")].map((e) => e.textContent).join() === "orders"`)
	press(kb.Tab, 1)
	require.Equal(t, "orders", at())
	b.do(chromedp.Focus(chromedp.CSS(".skip")), chromedp.KeyEvent(kb.Enter))
	b.until(`document.activeElement.id === "content"`)
	// An address that names nothing is put right.
	b.do(chromedp.Evaluate[chromedp.Void](`history.pushState(null, "", "#content")`))
	b.until(`location.hash === "#topic=payments"`)
	require.Equal(t, "payments", b.text("#topic-title"), "the topic stays")
	require.Empty(t, b.console())
}

// TestPageNarrow is the page on a small telephone: nothing is wider than the
// screen, everything has a name, and dark is dark.
func TestPageNarrow(t *testing.T) {
	b := browser(t, 360, 740)
	s := newSite(t)
	topic := s.fill()
	s.topic(strings.Repeat("a-long-name.", 20), leat.TopicConfig{})
	appendTo(t, topic, 0, leat.Record{Key: []byte(strings.Repeat("k", 3000)), Value: []byte(strings.Repeat("v", 3000))})
	require.NoError(t, partitionOf(t, topic, 2).ResetTo(123_456_789_012))
	b.do(chromedp.Navigate(s.url + "/#topic=orders"))
	b.until(rowCount + ` === 50`)
	replicate(t, partitionOf(t, topic, 1), 40, 9_007_199_254_740_991, 1)
	b.do(chromedp.Click(chromedp.CSS("#r0-40")), chromedp.Click(chromedp.CSS(".config summary")), chromedp.Click(chromedp.CSS("#partitions tr:nth-child(2) td:last-child")))
	b.do(chromedp.Evaluate[chromedp.Void](`document.querySelectorAll("#lists details").forEach((d) => { d.open = true; })`))
	b.until(`document.querySelector("#partition-title").textContent === "Partition 1" && document.querySelector("#lists").innerText.includes("9007199254740991")`)
	b.until(`document.querySelector(".record pre") !== null && document.querySelectorAll("#config div").length > 5`)
	require.Contains(t, b.text("#config"), "retention.ms 7 d")
	require.Contains(t, b.text("#config"), "segment.bytes 1 GiB")
	require.Contains(t, b.text("#partitions"), "123,456,789,012")
	// On a wide screen a table with such offsets scrolls inside its own region.
	wider := `[...document.querySelectorAll("body *")].filter((e) => {
		const r = e.getBoundingClientRect();
		return e.closest(".skip") === null && (r.right > innerWidth + 0.5 || r.left < -0.5) && getComputedStyle(e).clipPath === "none" && e.closest("thead") === null && (innerWidth < 1000 && e.closest("#lists") === null || e.closest(".scroll > *") === null);
	}).map((e) => e.tagName + "#" + e.id + "." + e.className)`
	for _, width := range []int64{360, 600, 801, 961, 1280} {
		b.do(chromedp.EmulateViewport(width, 740))
		b.until(fmt.Sprintf(`innerWidth === %d && document.documentElement.scrollWidth <= innerWidth && (%s).length === 0`, width, wider))
	}
	require.Empty(t, eval[[]string](b, `[...document.querySelectorAll("input, select, button, canvas, nav, section, [role=region]")].filter((e) =>
		!(e.labels?.length || e.textContent.trim() || e.closest("[aria-label]") || e.hasAttribute("aria-labelledby"))).map((e) => e.outerHTML)`), "each has a name")

	ground := func() string { return eval[string](b, `getComputedStyle(document.body).backgroundColor`) }
	light := ground()
	b.colours("dark")
	b.until(`getComputedStyle(document.body).backgroundColor !== "` + light + `"`)
	require.Equal(t, "rgb(18, 23, 26)", ground())
	require.Empty(t, b.console())
}

// TestPageEmpty tells somebody with a new store what to do.
func TestPageEmpty(t *testing.T) {
	b := browser(t, 360, 740)
	s := newSite(t)
	b.do(chromedp.Navigate(s.url))
	b.until(`!document.querySelector("#no-topics").hidden`)
	require.Contains(t, b.text("#make-topic"), s.url+"/topics")
	require.True(t, eval[bool](b, `document.querySelector("#topic").hidden`))
	s.topic("first", leat.TopicConfig{})
	b.until(`document.querySelector("#topic-title").textContent === "first"`)
	require.Empty(t, b.console())
}
