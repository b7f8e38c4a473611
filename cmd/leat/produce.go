package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/leatlog/leat"
	"github.com/leatlog/leat/compress"
)

// produceOptions are the command line of produce.
type produceOptions struct {
	dir, topic string
	files      []string
	create     bool
	partition  int32 // -1: the key decides
	codec      compress.Codec
	durability leat.Durability
	delimiter  string
	form       lineForm
	report     *bufio.Writer // nil: positions are not printed
}

func newProduce() *cobra.Command {
	o := &produceOptions{}
	var codec, durability, delimiter, separator, null string
	var headers []string
	var positions bool
	cmd := &cobra.Command{
		Use:   "produce TOPIC [FILE]... [flags]",
		Short: "Append lines to a topic",
		Long: `produce appends each line of the files, or of standard input, to a topic as a
record. A line is appended when it is there, whatever comes after it; lines that
come faster than that share batches. At the end standard error says how many
records went where.

Lines end with a newline, or with what --delimiter says ('\r\n', '\0'); the last
one needs no end. An empty line is a record with an empty value. With
--key-separator a line is a key and a value, and one without the separator is an
error. What is equal to --null-marker is null, as key or as value: null as a
value is a tombstone, which deletes its key from a compacted topic. With
--null-marker '' all that is empty is null (kcat: -Z).

Keys choose partitions as in all Kafka clients (murmur2). Records without a key
stay together as long as they come together, and then go on to the next
partition.

With --json a line is an object as consume --json prints it, with "value" and
what else is wanted: "key", "headers", "timestamp" (milliseconds), "partition".
What is no UTF-8 is in base64 as "keyBase64" and "valueBase64". Where the record
was, "topic" and "offset", does not matter. Without "partition" the key decides.
So a topic is copied with
  leat consume a --no-follow --json | leat produce b --json

After an error, and after Ctrl-C, what was read before is appended, each record
whole; standard error says how many that are. --positions prints the position of
every record, once it is as durable as was asked for. While produce runs no other
process can write to the store; any number can read.`,
		Example: `  echo paid | leat produce orders
  leat produce orders --key-separator : < orders.txt
  leat produce orders --json --codec zstd backup.json
  printf '42:NULL\n' | leat produce prices --key-separator : --null-marker NULL
  leat produce clicks --create --header host=a --durability written access.log`,
		Args:              topicAndFiles,
		ValidArgsFunction: completeTopicAndFiles,
	}
	f := cmd.Flags()
	dir := addDir(cmd)
	f.BoolVar(&o.create, "create", false, "create the topic, and the store, if it is not there")
	f.Int32Var(&o.partition, "partition", -1, "append to the partition of this `number` (default: the key decides)")
	f.StringVar(&separator, "key-separator", "", "what stands between key and value; `text` with \\t, \\xNN and so on")
	f.StringVar(&delimiter, "delimiter", `\n`, "what ends a line; `text` with \\r, \\0 and so on (default \\n)")
	f.StringVar(&null, "null-marker", "", "`text` that stands for null, as a key or as a value (default: none does)")
	f.StringArrayVar(&headers, "header", nil, "`name=value`, or a name for null, of all records; can be repeated")
	f.BoolVar(&o.form.json, "json", false, "lines are JSON objects")
	f.StringVar(&codec, "codec", "none", "the `codec` of batches: none, gzip, snappy, lz4 or zstd; a topic's compression.type overrides it")
	f.StringVar(&durability, "durability", "", "durability `level`: synced or written (default: the topic's)")
	f.BoolVar(&positions, "positions", false, "print the position of each record when it is stored, like orders-0@17")
	f.Lookup("partition").DefValue, f.Lookup("delimiter").DefValue = "0", "" // what help would say of them is odd
	cmd.MarkFlagsMutuallyExclusive("json", "key-separator")
	cmd.MarkFlagsMutuallyExclusive("json", "null-marker")
	cmd.MarkFlagsMutuallyExclusive("json", "delimiter")
	completeFlag(cmd, "codec", "none", "gzip", "snappy", "lz4", "zstd")
	completeFlag(cmd, "durability", "synced", "written")

	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		o.dir, o.topic, o.files = storeDir(*dir), args[0], args[1:]
		if f.Changed("partition") && o.partition < 0 {
			return errors.New("--partition must not be negative")
		}
		if o.codec, err = compress.Parse(codec); err != nil {
			return fmt.Errorf("--codec must be none, gzip, snappy, lz4 or zstd, not %q", codec)
		}
		if o.durability, err = parseDurability(durability); err != nil {
			return err
		}
		if o.delimiter, err = unescape(delimiter); err != nil {
			return fmt.Errorf("--delimiter: %w", err)
		}
		if o.delimiter == "" {
			return errors.New("--delimiter must not be empty")
		}
		if separator, err = unescape(separator); err != nil {
			return fmt.Errorf("--key-separator: %w", err)
		}
		if f.Changed("key-separator") && separator == "" {
			return errors.New("--key-separator must not be empty")
		}
		o.form.separator = []byte(separator)
		if f.Changed("null-marker") {
			o.form.null = &null
		}
		if o.form.headers, err = parseHeaders(headers); err != nil {
			return err
		}
		typing := len(o.files) == 0 && isTerminal(cmd.InOrStdin())
		switch {
		case positions:
			o.report = bufio.NewWriter(cmd.OutOrStdout())
		case typing:
			// Who types wants to see that it works.
			o.report = bufio.NewWriter(cmd.ErrOrStderr())
		}
		if typing && isTerminal(cmd.ErrOrStderr()) {
			fmt.Fprintf(cmd.ErrOrStderr(), "leat: each line becomes a record of %s; Ctrl-D ends\n", o.topic)
		}
		return failed(produce(cmd.Context(), o, cmd.InOrStdin(), cmd.ErrOrStderr()))
	}
	return cmd
}

func topicAndFiles(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New("which topic?")
	}
	return nil
}

func completeTopicAndFiles(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return completeTopic(cmd, args, word)
	}
	return nil, cobra.ShellCompDirectiveDefault
}

// completeFlag offers the values that a flag can have.
func completeFlag(cmd *cobra.Command, name string, values ...string) {
	_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

func parseDurability(s string) (leat.Durability, error) {
	switch s {
	case "":
		return 0, nil // the topic's
	case leat.Synced.String():
		return leat.Synced, nil
	case leat.Written.String():
		return leat.Written, nil
	}
	return 0, fmt.Errorf("--durability must be synced or written, not %q", s)
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// produce appends what it reads, and says what became of it.
func produce(ctx context.Context, o *produceOptions, stdin io.Reader, stderr io.Writer) (err error) {
	st, topic, err := openTopic(ctx, o)
	if err != nil {
		return err
	}
	defer closing(st, &err)
	a, err := newAppender(topic, o)
	if err != nil {
		return err
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	err = appendLines(ctx, newInput(reading, stdin, o.files), o, a)
	// What was read is appended, unless it is the appending that does not work.
	if r := (*badBatch)(nil); !errors.As(err, &r) && a.failure() == nil {
		if ferr := a.flush(); ferr != nil {
			err = ferr
		}
	}
	if eerr := a.end(); eerr != nil {
		err = eerr
	}
	for _, line := range a.summary() {
		fmt.Fprintf(stderr, "leat: %s\n", line)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// openTopic opens the store, and makes the topic if that was asked for.
func openTopic(ctx context.Context, o *produceOptions) (_ *leat.Store, _ *leat.Topic, err error) {
	open := openExisting
	if o.create {
		open = openAny
	}
	st, err := open(o.dir, nil)
	if err != nil {
		return nil, nil, err
	}
	t, err := st.Topic(o.topic)
	if errors.Is(err, leat.ErrUnknownTopic) {
		if o.create {
			t, err = st.CreateTopic(ctx, o.topic, leat.TopicConfig{})
		} else {
			err = fmt.Errorf("%w (--create makes it)", err)
		}
	}
	if err != nil {
		closing(st, &err)
		return nil, nil, err
	}
	return st, t, nil
}

// openAny opens a store that need not be there.
func openAny(dir string, _ *leat.Options) (*leat.Store, error) {
	return leat.Open(dir, &leat.Options{Logger: warnings(os.Stderr), LockWait: lockWait})
}

func blank(line []byte) bool { return len(bytes.TrimSpace(line)) == 0 }

// appendLines goes on until the input ends, which is io.EOF.
func appendLines(ctx context.Context, in *lineInput, o *produceOptions, a *appender) error {
	limit := a.limit
	if o.form.json {
		limit = 6*min(limit, math.MaxInt32/8) + 64<<10 // what escapes and names can make of it
	}
	lines := splitter{delimiter: []byte(o.delimiter), limit: limit}
	var r incoming
	var n int64
	take := func(p piece) error {
		defer in.done(p)
		if p.err != nil {
			return p.err
		}
		now := time.Now()
		err := lines.split(p, func(line []byte) error {
			n++
			if o.form.json && blank(line) {
				return nil
			}
			err := o.form.parse(line, &r)
			if err == nil {
				err = a.add(&r, n, now)
			}
			if r := (*badBatch)(nil); err != nil && !errors.As(err, &r) {
				err = &inLines{n, n, err}
			}
			return err
		})
		if errors.Is(err, errLongLine) {
			err = &inLines{n + 1, n + 1, fmt.Errorf("%w: it is longer than %d bytes (max.message.bytes)", leat.ErrRecordTooLarge, limit)}
		}
		return err
	}
	for {
		// What there is comes first: it fills the batches.
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.failed:
			return a.failure()
		default:
		}
		select {
		case p := <-in.pieces:
			if err := take(p); err != nil {
				return err
			}
			continue
		default:
		}
		settled := a.settled
		if len(a.filling) > 0 && len(a.settling) < fewUnsettled {
			if err := a.flush(); err != nil {
				return err
			}
			continue
		} else if len(a.filling) == 0 {
			settled = nil
		}
		select {
		case p := <-in.pieces:
			if err := take(p); err != nil {
				return err
			}
		case <-settled:
		case <-a.failed:
			return a.failure()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
