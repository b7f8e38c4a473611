package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// scrape gets the metrics as Prometheus does.
func scrape(t *testing.T, url string) map[string]*dto.MetricFamily {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	problems, err := promlint.New(bytes.NewReader(body)).Lint()
	require.NoError(t, err)
	require.Empty(t, problems, "names and helps are as Prometheus would have them")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	require.NoError(t, err)
	return families
}

// value is that of a metric with the given labels, as "name=value".
func value(t *testing.T, families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	t.Helper()
	family := families[name]
	require.NotNil(t, family, name)
	for _, m := range family.GetMetric() {
		var has []string
		for _, l := range m.GetLabel() {
			has = append(has, l.GetName()+"="+l.GetValue())
		}
		require.Len(t, has, len(labels))
		if strings.Join(has, ",") != strings.Join(labels, ",") {
			continue
		}
		if family.GetType() == dto.MetricType_COUNTER {
			return m.GetCounter().GetValue()
		}
		require.Equal(t, dto.MetricType_GAUGE, family.GetType())
		return m.GetGauge().GetValue()
	}
	require.Fail(t, "no such series", "%s%v", name, labels)
	return 0
}

// TestScrape compares what is scraped with what was done.
func TestScrape(t *testing.T) {
	ctx := context.Background()
	store, err := leat.OpenMem(nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	topic, err := store.CreateTopic(ctx, "orders", leat.TopicConfig{Partitions: 3})
	require.NoError(t, err)
	p, err := topic.Partition(1)
	require.NoError(t, err)
	size := 0
	const batches, each = 9, 4
	for range batches {
		_, err := p.Append(ctx, make([]leat.Record, each)...)
		require.NoError(t, err)
	}
	r, err := p.Reader(leat.ReaderOptions{UntilEnd: true})
	require.NoError(t, err)
	for b, err := r.Next(ctx); err != io.EOF; b, err = r.Next(ctx) {
		require.NoError(t, err)
		size += len(b.Bytes())
	}
	require.NoError(t, r.Close())
	stats := store.Stats()

	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(&Collector{Store: store}))
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer server.Close()
	got := scrape(t, server.URL)
	for name, want := range map[string]int{
		"leat_topics":                 1,
		"leat_partitions":             3,
		"leat_open_partitions":        1,
		"leat_failed_partitions":      0,
		"leat_damaged_partitions":     0,
		"leat_segments":               1,
		"leat_size_bytes":             size,
		"leat_appended_batches_total": batches,
		"leat_appended_records_total": batches * each,
		"leat_appended_bytes_total":   size,
		"leat_read_batches_total":     batches,
		"leat_read_records_total":     batches * each,
		"leat_read_bytes_total":       size,
		"leat_rolls_total":            0,
		"leat_open_files":             stats.Files,
		"leat_max_maps":               stats.MaxMaps,
	} {
		require.EqualValues(t, want, value(t, got, name), name)
	}
	for name, want := range map[string]int{
		"leat_partition_log_start_offset":       0,
		"leat_partition_last_stable_offset":     batches * each,
		"leat_partition_high_watermark":         batches * each,
		"leat_partition_log_end_offset":         batches * each,
		"leat_partition_unsynced_offsets":       0,
		"leat_partition_segments":               1,
		"leat_partition_size_bytes":             size,
		"leat_partition_appended_records_total": batches * each,
		"leat_partition_read_records_total":     batches * each,
	} {
		require.EqualValues(t, want, value(t, got, name, "partition=1", "topic=orders"), name)
	}
	for name, want := range map[string]leat.Histogram{
		"leat_append_seconds":     stats.Append,
		"leat_sync_seconds":       stats.Sync,
		"leat_fetch_seconds":      stats.Fetch,
		"leat_end_to_end_seconds": stats.EndToEnd,
	} {
		require.Equal(t, dto.MetricType_HISTOGRAM, got[name].GetType())
		h := got[name].GetMetric()[0].GetHistogram()
		require.Equal(t, want.Count(), h.GetSampleCount(), name)
		require.InDelta(t, want.Sum().Seconds(), h.GetSampleSum(), 1e-9)
		buckets := h.GetBucket()
		require.Len(t, buckets, len(bounds)+1) // the last is +Inf
		for i, b := range buckets[:len(bounds)] {
			require.InEpsilon(t, bounds[i].Seconds(), b.GetUpperBound(), 1e-9)
			require.Equal(t, want.CountUpTo(bounds[i]), b.GetCumulativeCount(), name)
		}
		require.True(t, math.IsInf(buckets[len(bounds)].GetUpperBound(), 1))
	}
	h := got["leat_append_seconds"].GetMetric()[0].GetHistogram()
	require.EqualValues(t, batches, h.GetSampleCount(), "they were synced, and so all measured")
	buckets := h.GetBucket()
	require.EqualValues(t, batches, buckets[len(bounds)-1].GetCumulativeCount(), "none took 17 s")

	// A partition that is opened later has series, and one that is gone none.
	_, err = topic.Partition(0)
	require.NoError(t, err)
	got = scrape(t, server.URL)
	require.EqualValues(t, 0, value(t, got, "leat_partition_log_end_offset", "partition=0", "topic=orders"))
	require.NoError(t, store.DeleteTopic(ctx, "orders"))
	got = scrape(t, server.URL)
	require.NotContains(t, got, "leat_partition_log_end_offset")
	require.EqualValues(t, batches, value(t, got, "leat_appended_batches_total"))
}

// TestTotals: without the partitions there is one series a metric.
func TestTotals(t *testing.T) {
	store, err := leat.OpenMem(nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	topic, err := store.CreateTopic(context.Background(), "orders", leat.TopicConfig{})
	require.NoError(t, err)
	_, err = topic.Partition(0)
	require.NoError(t, err)
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(&Collector{Store: store, Totals: true}))
	families, err := registry.Gather()
	require.NoError(t, err)
	require.Len(t, families, len(totals)+len(times))
	for _, f := range families {
		require.Len(t, f.GetMetric(), 1)
	}
}

// TestCommand runs the program, scrapes it until it has appended and read, and
// interrupts it.
func TestCommand(t *testing.T) {
	for _, dir := range []string{"", filepath.Join(t.TempDir(), "store")} {
		temp := t.TempDir()
		t.Setenv("TMPDIR", temp)
		t.Setenv("TMP", temp) // Windows
		ctx, interrupt := context.WithCancelCause(context.Background())
		out, in := io.Pipe()
		var errs bytes.Buffer
		status := make(chan int)
		go func() {
			s := command(ctx, []string{"-addr", "127.0.0.1:0", "-every", "1ms", "-dir", dir}, in, &errs)
			in.Close()
			status <- s
		}()
		url := ""
		lines := bufio.NewScanner(out)
		for url == "" && lines.Scan() {
			url, _ = strings.CutPrefix(lines.Text(), "serving ")
			if !strings.HasPrefix(url, "http") {
				url = ""
			}
		}
		go io.Copy(io.Discard, out)
		for {
			got := scrape(t, url)
			h := got["leat_end_to_end_seconds"].GetMetric()[0].GetHistogram()
			if value(t, got, "leat_appended_records_total") > 5 && h.GetSampleCount() > 1 && value(t, got, "leat_read_records_total") > 0 {
				break
			}
		}
		interrupt(errors.New("as signal.NotifyContext has one"))
		require.Equal(t, 0, <-status, errs.String())
		require.Empty(t, errs.String())
		left, err := os.ReadDir(temp)
		require.NoError(t, err)
		require.Empty(t, left, "nothing stays in the temporary directory")
		_, err = http.Get(url)
		require.Error(t, err, "nobody serves any more")
	}
}

func TestErrors(t *testing.T) {
	held := t.TempDir()
	store, err := leat.Open(held, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	for name, c := range map[string]struct {
		args   []string
		status int
		stderr string
	}{
		"help":     {[]string{"-h"}, 0, "usage: metrics"},
		"flag":     {[]string{"-x"}, 2, "-x"},
		"argument": {[]string{"x"}, 2, "usage: metrics"},
		"never":    {[]string{"-every", "0"}, 2, "usage: metrics"},
		"address":  {[]string{"-addr", "nowhere"}, 1, "nowhere"},
		"locked":   {[]string{"-dir", held}, 1, "open in another process"},
	} {
		t.Run(name, func(t *testing.T) {
			var errs bytes.Buffer
			require.Equal(t, c.status, command(context.Background(), c.args, io.Discard, &errs), errs.String())
			require.Contains(t, errs.String(), c.stderr)
		})
	}
}

// TestScrapeGroups: consumer groups and how far they are behind, whatever their names.
func TestScrapeGroups(t *testing.T) {
	ctx := context.Background()
	store, err := leat.OpenMem(nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, store.Close()) }()
	topic, err := store.CreateTopic(ctx, "orders", leat.TopicConfig{})
	require.NoError(t, err)
	p, err := topic.Partition(0)
	require.NoError(t, err)
	_, err = p.Append(ctx, make([]leat.Record, 10)...)
	require.NoError(t, err)
	for i, group := range []string{"mailer", "\xff"} {
		require.NoError(t, store.Groups().Commit(ctx, leat.Fence{Group: group}, leat.Position{Topic: "orders", Offset: int64(i)}))
	}
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(&Collector{Store: store, Totals: true}))
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer server.Close()
	got := scrape(t, server.URL)
	require.EqualValues(t, 10, value(t, got, "leat_group_lag_records", "group=mailer"))
	require.EqualValues(t, 9, value(t, got, "leat_group_lag_records", `group="\xff"`))
	require.EqualValues(t, 0, value(t, got, "leat_group_members", "group=mailer"))
	require.EqualValues(t, 1, value(t, got, "leat_group_partitions", "group=mailer"))
}
