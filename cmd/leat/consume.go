package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/leatlog/leat"
)

// consumeOptions are the command line of consume.
type consumeOptions struct {
	dir        string
	topics     []string // one, but with a group
	group      groupOptions
	partitions []int32 // none: all, those too that are added
	from       from
	follow     bool
	max        int64 // 0: no limit
	isolation  leat.Isolation
	form       printed // nil: offsets, as they are printed of so many partitions
}

const consumeExitHelp = exitHead + `
  0    all that was asked for has been printed
  1    the topic, or a record, cannot be read any more: it was deleted, before or
       while it was read, or is damaged; standard error says what
  2    the command line is wrong
` + exitTail

func newConsume() *cobra.Command {
	o := &consumeOptions{}
	var beginning, noFollow, json, offsets bool
	var offset, last int64
	var at, isolation, format, delimiter, null string
	cmd := &cobra.Command{
		Use:   "consume TOPIC... [flags]",
		Short: "Print the records of a topic",
		Long: `consume prints records as they are appended, until Ctrl-C, --max, or, with
--no-follow, the end that there was when it began. Without --group it only reads,
and works beside a process that writes to the store.

It begins at the end or, with --no-follow, at the beginning, unless told
otherwise, for each partition:
  --from-beginning  with the first record that there is
  --offset N        with that offset; -N: N offsets before the end, as in kcat
  --last N          with the N last records that there are
  --time T          with the first record of that time or later: RFC 3339, the
                    same without a zone for local time, milliseconds since 1970,
                    or a duration ago, like 5m or 36h

Of several partitions records are printed as they arrive: those of a partition
in order, those of different ones by batches, in any order. Partitions that are
added are followed, too, if none was named.

Each record's value is printed on a line. --format is kcat's:
  %s value   %S its length  %R the same in 4 bytes, big endian  %t topic
  %k key     %K its length  %h headers, a=b,c=d                 %p partition
  %o offset  %T timestamp, milliseconds since 1970              %% a '%'
with \n \r \t \0 \\ and \xNN. The length of null is -1, and null is printed as
nothing, or as --null-marker says. Behind each record comes a newline, or the
--delimiter, but not if the format itself ends with an escape like \n.

--json prints an object a line, with "topic", "partition", "offset", "timestamp",
"key", "value" and, where there are some, "headers". A key or value that is no
UTF-8 is in base64, as "keyBase64" or "valueBase64"; null is null. produce --json
takes such lines.

--offsets-only prints the offset of each record, and before it the partition
unless only one is read. Markers of transactions are never printed, records of
aborted ones only with --isolation read_uncommitted.

With --group it prints what the consumer group has not consumed yet, of several
topics too, or of all that match --pattern; a partition of which the group has
committed nothing begins at the beginning. What was printed is committed when it
has been written out: each --commit-every, at the end, exactly behind the last
record of --max, and at Ctrl-C. After a kill some records may come again; none is
lost. 'leat groups' shows where a group is, and moves it.
A group is consumed by the process that has the store. So consume --group needs
it for itself, as long as there is something to print. While it waits for more,
others can have it; what they append is printed when they have let it go.

` + consumeExitHelp,
		Example: `  leat consume orders
  leat consume orders --from-beginning --max 10
  leat consume orders --last 5 --no-follow --format '%p %o %k %s'
  leat consume orders --time 2026-01-31T08:00:00Z --json | jq .value
  leat consume orders --partition 3 --offset 1000 --offsets-only
  leat consume orders --group mailer --no-follow --max 100 | ./mail.sh`,
		Args: func(cmd *cobra.Command, args []string) error { return o.group.check(cmd, args) },
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if cmd.Flags().Changed("group") {
				return completeTopics(cmd, args, word)
			}
			return completeTopic(cmd, args, word)
		},
	}
	f := cmd.Flags()
	dir := addDir(cmd)
	f.BoolVar(&beginning, "from-beginning", false, "begin with the first record")
	f.Int64Var(&offset, "offset", 0, "begin with this `offset`; negative: so many before the end")
	f.StringVar(&at, "time", "", "begin with the first record of this `time` or later")
	f.Int64Var(&last, "last", 0, "begin with this `number` of records before the end, of each partition")
	f.Int64Var(&o.max, "max", 0, "end after this `number` of records (default: no limit)")
	f.BoolVar(&noFollow, "no-follow", false, "end where the topic ends now")
	f.Int32SliceVar(&o.partitions, "partition", nil, "read only the partition of this `number`; can be repeated")
	f.StringVar(&isolation, "isolation", "read_committed", "isolation `level`: read_committed or read_uncommitted")
	f.StringVar(&format, "format", "%s", "how a record is printed, a `text` with kcat's escapes")
	f.StringVar(&delimiter, "delimiter", `\n`, "what ends a record; `text` with \\r, \\0 and so on (default \\n)")
	f.StringVar(&null, "null-marker", "", "`text` that is printed for null")
	f.BoolVar(&json, "json", false, "print JSON, an object a line")
	f.BoolVar(&offsets, "offsets-only", false, "print only offsets")
	f.StringVar(&o.group.name, "group", "", "go on where this consumer `group` stopped, and commit what was printed")
	f.StringVar(&o.group.pattern, "pattern", "", "with --group: all topics whose whole name matches this regular `expression`")
	f.DurationVar(&o.group.commitEvery, "commit-every", defaultCommitEvery, "with --group: what was printed is committed after this `time` at the latest")
	f.Lookup("partition").DefValue, f.Lookup("delimiter").DefValue = "", ""
	cmd.MarkFlagsMutuallyExclusive("from-beginning", "offset", "time", "last")
	cmd.MarkFlagsMutuallyExclusive("format", "json", "offsets-only")
	for _, name := range []string{"delimiter", "null-marker"} {
		cmd.MarkFlagsMutuallyExclusive(name, "json")
		cmd.MarkFlagsMutuallyExclusive(name, "offsets-only")
	}
	completeFlag(cmd, "isolation", "read_committed", "read_uncommitted")
	_ = cmd.RegisterFlagCompletionFunc("group", completeGroupFlag)

	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		o.dir, o.topics, o.follow = storeDir(*dir), args, !noFollow
		if f.Changed("max") && o.max < 1 {
			return errors.New("--max must be at least 1")
		}
		for _, id := range o.partitions {
			if id < 0 {
				return errors.New("--partition must not be negative")
			}
		}
		switch isolation {
		case leat.ReadCommitted.String():
		case leat.ReadUncommitted.String():
			o.isolation = leat.ReadUncommitted
		default:
			return fmt.Errorf("--isolation must be read_committed or read_uncommitted, not %q", isolation)
		}
		switch {
		case f.Changed("offset") && offset < 0:
			o.from.Start = leat.LastN(-offset)
		case f.Changed("offset"):
			o.from.Start = leat.At(offset)
		case f.Changed("last"):
			if last < 1 {
				return errors.New("--last must be at least 1")
			}
			o.from.last = last
		case f.Changed("time"):
			t, err := parseTime(at)
			if err != nil {
				return fmt.Errorf("--time %w", err)
			}
			o.from.Start = leat.AtTime(t)
		case beginning || noFollow || o.group.name != "":
		default:
			o.from.Start = leat.Latest
			if isTerminal(cmd.OutOrStdout()) && isTerminal(cmd.ErrOrStderr()) {
				fmt.Fprintf(cmd.ErrOrStderr(), "leat: waiting for new records of %s; --from-beginning prints those that are there; Ctrl-C ends\n", o.topics[0])
			}
		}
		if delimiter, err = unescape(delimiter); err != nil {
			return fmt.Errorf("--delimiter: %w", err)
		}
		switch {
		case json:
			o.form = asJSON{}
		case !offsets:
			if o.form, err = parseTemplate(format, null, delimiter); err != nil {
				return fmt.Errorf("--format %q: %w", format, err)
			}
		}
		ctx, stop := context.WithCancelCause(cmd.Context())
		defer stop(nil)
		go untilClosed(ctx, cmd.OutOrStdout(), stop)
		if o.group.name != "" {
			err = consumeInGroup(ctx, o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		} else {
			err = consume(ctx, o, cmd.OutOrStdout())
		}
		if errors.Is(err, context.Canceled) && cmd.Context().Err() == nil {
			err = context.Cause(ctx)
		}
		return failed(err)
	}
	return cmd
}

// consume prints until the end, whatever that is.
func consume(ctx context.Context, o *consumeOptions, stdout io.Writer) (err error) {
	st, err := openReading(o.dir)
	if err != nil {
		return err
	}
	defer closing(st, &err)
	if _, err := st.Topic(o.topics[0]); err != nil {
		return err
	}
	c := newConsumer(ctx, st, o, stdout)
	err = c.begin()
	if err == nil {
		err = c.run()
	}
	if cerr := c.end(); err == nil {
		err = cerr
	}
	return explainOffset(err, "")
}

// offsetGone says what an offset that is not there means for who reads.
type offsetGone struct {
	*leat.OffsetError
	group string // empty: none
}

func (e offsetGone) Error() string {
	if e.Offset < e.Start {
		how := fmt.Sprintf("--offset %d", e.Start)
		if e.group != "" {
			how = fmt.Sprintf("'leat groups reset %s --topic %s:%d --to earliest'", e.group, e.Topic, e.Partition)
		}
		return fmt.Sprintf("%s-%d: offset %d is no longer there: the first is %d now (%s goes on there)",
			e.Topic, e.Partition, e.Offset, e.Start, how)
	}
	return fmt.Sprintf("%s-%d: offset %d is not there: the partition ends at %d", e.Topic, e.Partition, e.Offset, e.End)
}

func (e offsetGone) Unwrap() error { return e.OffsetError }

func explainOffset(err error, group string) error {
	var gone *leat.OffsetError
	if errors.As(err, &gone) {
		return offsetGone{gone, group}
	}
	return err
}
