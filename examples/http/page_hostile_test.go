package main

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// TestPageHostile shows what somebody stored, or made a link of, to run a script
// here: it is text everywhere.
func TestPageHostile(t *testing.T) {
	b := browser(t, 1280, 900)
	s := newSite(t)
	topic := s.topic("orders", leat.TopicConfig{})
	const active = `<img src=x onerror="document.title='run'"><script>document.title='run'</script>`
	appendTo(t, topic, 0, leat.Record{
		Key: []byte(active), Value: []byte(`{"a": "` + "\u202e</pre><svg onload=alert(1)>" + `", "__proto__": {"b": 1}, "n": 12345678901234567890}`),
		Headers: []leat.Header{{Key: active, Value: []byte(active)}, {Key: "", Value: []byte{0xff, 0}}, {Key: "none"}},
	})
	const elements = `document.querySelectorAll("main :is(img, script, iframe)").length + document.querySelectorAll("main svg").length`
	b.do(chromedp.Navigate(s.url))
	b.until(rowCount + ` === 1`)
	b.do(chromedp.Click(chromedp.CSS("#r0-0")))
	b.until(`document.querySelectorAll(".record pre").length === 2`)
	require.Equal(t, active, eval[string](b, `document.querySelector(".record pre").textContent`))
	require.Contains(t, b.text(".record"), `12345678901234567890`, "a number is not rounded")
	require.Equal(t, []string{active, active, "", "base64: /wA=", "none", "null"}, eval[[]string](b, `[...document.querySelectorAll(".headers > *")].map((e) => e.textContent)`))
	require.Zero(t, eval[int](b, elements))

	for _, hash := range []string{"#topic=%3Cimg src=x onerror=alert(1)%3E&partition=%3Cb%3E", "#topic=..%2f..%2fstats", "#topic=%", "#topic=__proto__", "#topic=orders/partitions/0"} {
		b.do(chromedp.Evaluate[chromedp.Void](`location.hash = ` + quote(hash)))
		b.until(`!document.querySelector("#topic-error").hidden && document.querySelector("#topic-title").textContent !== "orders"`)
		b.until(`document.querySelector("#topic-error").textContent.includes("topic")`)
		require.Zero(t, eval[int](b, elements))
		require.True(t, eval[bool](b, `document.querySelector("#partition-view").hidden && document.querySelector("#partition-error").hidden`), "told once")
	}
	b.do(chromedp.Evaluate[chromedp.Void](`location.hash = "#topic=orders"`))
	b.until(rowCount + ` === 1 && document.querySelector("#topic-error").hidden && !document.querySelector("#partition-view").hidden && document.querySelectorAll("#config div").length > 5`)
	require.Equal(t, "leat", eval[string](b, `document.title`))

	// Even if the page made HTML of text, nothing of it would run.
	require.Equal(t, "TypeError", eval[string](b, `(() => { try { document.querySelector("#found").innerHTML = "<b>"; return ""; } catch (err) { return err.name; } })()`))
}

// TestPageDamaged tells somebody with a damaged partition what is the matter, and
// shows the rest.
func TestPageDamaged(t *testing.T) {
	b := browser(t, 360, 740)
	s := newSiteOver(t, damaged(t))
	b.do(chromedp.Navigate(s.url))
	b.until(`document.querySelector("#state").textContent === "1 partition damaged"`)
	b.until(`document.querySelector("#partition-error").textContent.startsWith("This partition refuses appends: ") && !document.querySelector("#partition-view").hidden`)
	require.Contains(t, b.text("#partition-error"), "orders-0")
	require.Contains(t, b.text("#partitions tbody tr"), "refuses appends")
	b.until(`!document.querySelector("#records-error").hidden && ` + rowCount + ` === 1`)
	require.LessOrEqual(t, eval[int](b, `document.documentElement.scrollWidth`), 360)
	b.do(chromedp.Click(chromedp.CSS("#partitions tr:nth-child(2) button")))
	b.until(`document.querySelector("#partition-title").textContent === "Partition 1" && document.querySelector("#partition-error").hidden`)
	require.Empty(t, b.console())
}
