// Http is a small server over a store: the library wrapped for others to call,
// with a page to look at it.
//
//	go -C examples/http run . -dir DIR [-addr ADDR] [-host NAMES]
//
// README.md lists what it answers. It serves until it is interrupted, and then
// finishes what it has begun: nothing that it has acknowledged is lost, and
// the store is closed in order.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

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
	hosts     []string
}

// command is main without the process: it returns the exit status.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("http", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: http -dir DIR [-addr ADDR] [-host NAMES]")
		flags.PrintDefaults()
	}
	var s settings
	var hosts string
	flags.StringVar(&s.dir, "dir", "", "serve the store in `DIR`, which is made if it is not there")
	flags.StringVar(&s.addr, "addr", "127.0.0.1:7070", "serve at `ADDR`; port 0 is any that is free")
	flags.StringVar(&hosts, "host", "", "answer to these `NAMES` too, with commas between; localhost and IP addresses need not be named")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0 || s.dir == "":
		flags.Usage()
		return 2
	}
	for name := range strings.SplitSeq(hosts, ",") {
		if name = strings.TrimSpace(name); name != "" {
			s.hosts = append(s.hosts, name)
		}
	}
	if err := run(ctx, s, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "http:", err)
		return 1
	}
	return 0
}

// run serves until ctx ends, which is no error, or something fails.
func run(ctx context.Context, c settings, stdout, stderr io.Writer) (err error) {
	logger := slog.New(slog.NewTextHandler(stderr, nil))
	store, err := leat.Open(c.dir, &leat.Options{Logger: logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	listener, err := net.Listen("tcp", c.addr)
	if err != nil {
		return err
	}
	at := listener.Addr().(*net.TCPAddr)
	if !at.IP.IsLoopback() {
		fmt.Fprintln(stderr, "http: there is no password: whoever can reach this address can read and write the store")
	}
	host := at.IP.String()
	if at.IP.IsUnspecified() {
		host = "localhost"
	}
	fmt.Fprintf(stdout, "store    %s\nserving  http://%s/\n", c.dir, net.JoinHostPort(host, strconv.Itoa(at.Port)))
	return newServer(store, c, defaultLimits, logger).serve(ctx, listener)
}
