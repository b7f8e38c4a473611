package main

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// barsOf are how many pixels of a colour the chart of segments has.
const barsOf = `((variable) => {
	const probe = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
	const canvas = document.querySelector("#segments canvas");
	if (canvas === null) return 0;
	probe.canvas.width = canvas.width;
	probe.canvas.height = canvas.height;
	probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(variable);
	probe.fillRect(0, 0, 1, 1);
	const want = probe.getImageData(0, 0, 1, 1).data.join();
	probe.clearRect(0, 0, 1, 1);
	probe.drawImage(canvas, 0, 0);
	const {data} = probe.getImageData(0, 0, canvas.width, canvas.height);
	let n = 0;
	for (let i = 0; i < data.length; i += 4) if (data.subarray(i, i + 4).join() === want) n++;
	return n;
})`

// TestPagePartition looks at a partition: its segments as bars that grow, its
// leader epochs, producers and transactions.
func TestPagePartition(t *testing.T) {
	b := browser(t, 1280, 900)
	s := newSite(t)
	two := smallSegments
	two.Partitions = 2
	topic := s.topic("orders", two)
	p := partitionOf(t, topic, 1)
	replicate(t, p, 0, 30, 10, 20)

	// The first partition is shown, until another is chosen.
	b.do(chromedp.Navigate(s.url))
	b.until(`document.querySelector("#partition-title").textContent === "Partition 0" && document.querySelector("#segments-shown").textContent === "1"`)
	require.Zero(t, eval[int](b, barsOf+`("--a")`))
	b.do(chromedp.Click(chromedp.CSS("#partitions tr:nth-child(2) td:nth-child(2)")))
	b.until(`document.querySelector("#partition-title").textContent === "Partition 1" && document.querySelector("#segment").textContent.startsWith("active, from offset 0: ")`)
	require.Equal(t, "#topic=orders&partition=1", eval[string](b, `location.hash`))
	b.until(barsOf + `("--b") > 100`)
	require.Zero(t, eval[int](b, barsOf+`("--a")`), "the only segment is the active one")
	require.Regexp(t, `Segments 1 active from offset 0 Leader epochs 3 the latest is 3, from offset 2 `+
		`Producers 3 1 open transaction, since offset 2 Aborted transactions 2 the last one ended at offset 4`, b.text("#lists"))

	// It rolls: the chart and the table, open or not, go on.
	b.do(chromedp.Evaluate[chromedp.Void](`document.querySelectorAll("#lists details").forEach((d) => { d.open = true; })`))
	b.until(`document.querySelectorAll("#lists tbody tr").length === 9`)
	require.Equal(t, "20 2 2023-11-14", b.text("#lists details:nth-child(3) tbody tr")[:15])
	rolled(t, p, 3)
	b.until(`document.querySelector("#segments-shown").textContent === "3" && document.querySelectorAll("#lists tbody")[0].rows.length === 3`)
	b.until(`document.querySelector("#segment").textContent.startsWith("active, from offset 6: ")`)
	b.until(barsOf + `("--a") > 100`)
	require.Contains(t, eval[string](b, `document.querySelector("#segments").ariaLabel`), "3 segments")
	require.Regexp(t, `^6 .* 5 .* 0 .* %$`, b.text("#lists tbody"))

	// The pointer tells of the segment that it is on.
	box := eval[struct{ X, Y float64 }](b, `(() => {
		const over = document.querySelector("#segments .u-over");
		over.scrollIntoView({block: "center"});
		const r = over.getBoundingClientRect();
		return {X: r.x + r.width / 12 * 1.5, Y: r.y + r.height / 2};
	})()`)
	b.do(chromedp.MouseEvent(chromedp.MouseMoved, box.X, box.Y))
	b.until(`document.querySelector("#segment").textContent.startsWith("from offset 5: ")`)

	// Hundreds: as many as there is room for, which is less when the window is narrow.
	rolled(t, p, 400)
	const newest = `Number(document.querySelector("#segments-shown").textContent.match(/^the newest ([0-9]+) of 400$/)?.[1] ?? 0)`
	b.until(newest + ` > 150`)
	b.until(`document.querySelectorAll("#lists tbody")[0].rows.length === 100 && document.querySelector("#lists .found").textContent === "The first 100 of 400 are shown."`)
	b.do(chromedp.EmulateViewport(360, 740))
	b.until(newest + ` > 20 && ` + newest + ` < 80`)
	b.until(`document.documentElement.scrollWidth <= innerWidth && document.querySelector("#segments canvas").clientWidth <= innerWidth`)
	b.colours("dark")
	b.until(barsOf + `("--a") > 100`)

	// The choice survives a reload, and one that is not there is told of.
	b.do(chromedp.Reload())
	b.until(`document.querySelector("#partition-title").textContent === "Partition 1" && ` + newest + ` > 20`)
	b.do(chromedp.Evaluate[chromedp.Void](`location.hash = "#topic=orders&partition=7"`))
	b.until(`document.querySelector("#partition-view").hidden && document.querySelector("#partition-error").textContent.includes("orders-7")`)
	b.do(chromedp.Evaluate[chromedp.Void](`location.hash = "#topic=orders&partition=1e9"`))
	b.until(`document.querySelector("#partition-title").textContent === "Partition 0" && document.querySelector("#partition-error").hidden`)
}
