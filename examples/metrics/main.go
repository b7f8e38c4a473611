// Metrics shows a store to Prometheus.
//
//	go -C examples/metrics run . [-addr ADDR] [-dir DIR] [-every TIME] [-totals]
//
// It opens a store, appends a record now and then, reads them back as they come,
// and serves what the store counts at http://ADDR/metrics until it is interrupted.
// The adapter is collector.go: copy it into your program, and
//
//	registry.MustRegister(&Collector{Store: store})
//
// What to look at first:
//
//	histogram_quantile(0.99, rate(leat_append_seconds_bucket[1m]))   latency of appends
//	rate(leat_appended_records_total[1m])                            records a second
//	rate(leat_appended_batches_total[1m]) / rate(leat_sync_seconds_count[1m])   batches a sync
//	leat_failed_partitions + leat_damaged_partitions                 alert above 0
//	leat_group_lag_records                                           how far each group is behind
//
// Without -dir the store is in a temporary directory, which is removed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/leatlog/leat"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// settings are what the flags say.
type settings struct {
	addr, dir string
	every     time.Duration
	totals    bool
}

// command is main without the process: it returns the exit status.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("metrics", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: metrics [-addr ADDR] [-dir DIR] [-every TIME] [-totals]")
		flags.PrintDefaults()
	}
	var s settings
	flags.StringVar(&s.addr, "addr", "127.0.0.1:9464", "serve at `ADDR`; port 0 is any that is free")
	flags.StringVar(&s.dir, "dir", "", "keep the store in `DIR`; without it, it is in a temporary directory")
	flags.DurationVar(&s.every, "every", 100*time.Millisecond, "append a record in every `TIME`")
	flags.BoolVar(&s.totals, "totals", false, "leave out the series of each partition")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0 || s.every <= 0:
		flags.Usage()
		return 2
	}
	if err := run(ctx, s, stdout); err != nil {
		fmt.Fprintln(stderr, "metrics:", err)
		return 1
	}
	return 0
}

// run serves until ctx ends, which is no error, or something fails.
func run(ctx context.Context, s settings, out io.Writer) (err error) {
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "leat-metrics-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(s.dir)) }()
	}
	store, err := leat.Open(s.dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	topic, err := store.Topic("ticks")
	if errors.Is(err, leat.ErrUnknownTopic) {
		topic, err = store.CreateTopic(ctx, "ticks", leat.TopicConfig{Partitions: 2})
	}
	if err != nil {
		return err
	}

	registry := prometheus.NewRegistry()
	registry.MustRegister(&Collector{Store: store, Totals: s.totals})
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	listener, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}

	// Whatever ends first ends the others.
	interrupted := ctx
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wg sync.WaitGroup
	start := func(f func() error) {
		wg.Go(func() { stop(f()) })
	}
	start(func() error { return server.Serve(listener) })
	start(func() error { return produce(ctx, topic, s.every) })
	for p := range topic.Partitions() {
		start(func() error { return consume(ctx, p) })
	}
	fmt.Fprintf(out, "store   %s\nserving http://%s/metrics\n", s.dir, listener.Addr())

	<-ctx.Done()
	soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err = server.Shutdown(soon)
	wg.Wait()
	if interrupted.Err() != nil {
		return err
	}
	return errors.Join(context.Cause(ctx), err)
}

// produce appends the time to the partitions in turn.
func produce(ctx context.Context, topic *leat.Topic, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 0; ; n++ {
		p, err := topic.Partition(int32(n) % topic.Config().Partitions)
		if err != nil {
			return err
		}
		now := time.Now()
		_, err = p.Append(ctx, leat.Record{Timestamp: now, Value: now.AppendFormat(nil, time.RFC3339Nano)})
		if err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// consume reads what comes.
func consume(ctx context.Context, p *leat.Partition) error {
	r, err := p.Reader(leat.ReaderOptions{From: leat.Latest})
	if err != nil {
		return err
	}
	defer r.Close()
	for _, err := range r.Records(ctx) {
		if err != nil {
			return err
		}
	}
	return nil
}
