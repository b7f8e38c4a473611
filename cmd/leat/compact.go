package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/leatlog/leat"
)

func newCompact() *cobra.Command {
	var c compact
	cmd := &cobra.Command{
		Use:   "compact [flags] TOPIC | --all",
		Short: "Compact topics now: keep the latest record of each key",
		Long: `compact cleans the partitions of a topic now, however little of them is dirty: of
each key the latest record stays, and offsets stay what they are. A record without
a value, a tombstone, goes when it has stayed for delete.retention.ms after a
cleaning first came upon it. The segment that was appended to last is ended first,
so that its records count; those younger than min.compaction.lag.ms, and those of
transactions that are not decided, are left as they are.

The topic must be one that is compacted: cleanup.policy is compact, or
compact,delete. With --all these are all that there are.

A process that has the store open compacts it by itself, when enough of it is
dirty. This command needs the store for itself. It may be interrupted: no record
is lost by that, nor when the disk is full. Space for the largest segment is
needed beside what there is.

Each partition is a line on standard output:

  TOPIC-PARTITION  BYTES BEFORE -> AFTER  RECORDS REMOVED  TIME

Without an error the exit status is 0. It is 1 when a partition could not be
cleaned, which a line on standard error tells; the others are, all the same.`,
		Example: `  leat topics alter settings --config cleanup.policy=compact
  leat compact settings
  leat compact settings --partition 3
  leat compact --all --dir /var/lib/orders`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case c.all && len(args) > 0:
				return errors.New("--all and a topic: which?")
			case c.all && c.partition >= 0:
				return errors.New("--partition is of one topic, and --all of all")
			case !c.all && len(args) == 0:
				return errors.New("which topic? --all is all that are compacted")
			case len(args) > 1:
				return fmt.Errorf("one topic at a time, not %d", len(args))
			}
			return nil
		},
		ValidArgsFunction: completeTopic,
	}
	dir := addDir(cmd)
	cmd.Flags().BoolVar(&c.all, "all", false, "all topics that are compacted")
	cmd.Flags().Int32Var(&c.partition, "partition", -1, "only the partition of this `number` (default: all)")
	cmd.Flags().Lookup("partition").DefValue = "0" // -1 is not for help
	cmd.Flags().Int64Var(&c.memory, "memory", 0, "`bytes` that the keys of a partition may take (default 64 MiB)")
	cmd.Flags().Int64Var(&c.rate, "rate", 0, "`bytes` to read and write in a second at most (default: no limit)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("partition") && c.partition < 0 {
			return errors.New("--partition must not be negative")
		}
		if c.memory < 0 || c.rate < 0 {
			return errors.New("--memory and --rate are numbers of bytes")
		}
		return toOutput(cmd.OutOrStdout(), func(w *bufio.Writer) error {
			return c.run(cmd, storeDir(*dir), args, w)
		})
	}
	return cmd
}

// compact is one call of the command.
type compact struct {
	all          bool
	partition    int32
	memory, rate int64

	bar *progress
	sum leat.Event // of the rounds of the partition under way
}

func (c *compact) run(cmd *cobra.Command, dir string, topics []string, w *bufio.Writer) (err error) {
	ctx, stderr := cmd.Context(), cmd.ErrOrStderr()
	// What the store would clean by itself would only come in between.
	st, err := openExisting(dir, &leat.Options{
		Cleaner:  leat.Cleaner{Off: true, Memory: c.memory, Rate: c.rate},
		Observer: &leat.Observer{Compact: c.cleaned},
	})
	if err != nil {
		return failed(err)
	}
	defer closing(st, &err)
	list, err := c.choose(st, topics)
	if err != nil {
		return failed(err)
	}
	bad := false
	for _, p := range list {
		if err := c.partitionOf(ctx, p, w, stderr); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			bad = true
			fmt.Fprintf(stderr, "leat: %s\n", words(err))
			if hint := advice(cmd, err); hint != "" {
				fmt.Fprintf(stderr, "leat: %s\n", hint)
			}
		}
	}
	if len(list) == 0 {
		fmt.Fprintln(stderr, "leat: no topic is compacted; 'leat topics alter TOPIC --config cleanup.policy=compact' makes it one")
	}
	if bad {
		return &failure{}
	}
	return nil
}

// choose lists the partitions that are meant.
func (c *compact) choose(st *leat.Store, names []string) ([]*leat.Partition, error) {
	var topics []*leat.Topic
	if c.all {
		for t := range st.Topics() {
			if t.Config().Cleanup != leat.CleanupDelete {
				topics = append(topics, t)
			}
		}
	} else {
		t, err := st.Topic(names[0])
		if err != nil {
			return nil, err
		}
		if t.Config().Cleanup == leat.CleanupDelete {
			return nil, fmt.Errorf("topic %q is not compacted: its cleanup.policy is delete; 'leat topics alter %s --config cleanup.policy=compact' changes that", t.Name(), t.Name())
		}
		topics = append(topics, t)
	}
	var list []*leat.Partition
	for _, t := range topics {
		for p := range t.Partitions() {
			if c.partition < 0 || c.partition == p.ID() {
				list = append(list, p)
			}
		}
	}
	if c.partition >= 0 && len(list) == 0 {
		return nil, fmt.Errorf("%w: %s-%d", leat.ErrUnknownPartition, names[0], c.partition)
	}
	return list, nil
}

// partitionOf cleans one partition and prints its line.
func (c *compact) partitionOf(ctx context.Context, p *leat.Partition, w *bufio.Writer, stderr io.Writer) error {
	c.sum, c.bar = leat.Event{}, newProgress(stderr, p.String(), 1)
	before := int64(-1)
	begun := time.Now()
	if _, err := p.Topic().Partition(p.ID()); err == nil { // which opens it
		before = p.Describe().Bytes
	}
	err := p.Compact(ctx, func(at leat.Progress) { c.bar.set(at.Done, at.Total) })
	c.bar.end()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s  %s -> %s  %d records removed  %v\n", p, readable(before), readable(p.Describe().Bytes),
		c.sum.Records, time.Since(begun).Round(time.Millisecond))
	return failed(w.Flush())
}

// cleaned is told of each round, on the goroutine that called Compact.
func (c *compact) cleaned(e leat.Event) { c.sum.Records += e.Records }

// readable is a number of bytes for people.
func readable(n int64) string {
	const units = "KMGTPE"
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/(1<<10), 0
	for v >= 1<<10 && i < len(units)-1 {
		v, i = v/(1<<10), i+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}
