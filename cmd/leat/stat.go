package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/leatlog/leat"
)

func newStat() *cobra.Command {
	var asJSON, internal bool
	var partition int32
	cmd := &cobra.Command{
		Use:   "stat [flags] [TOPIC]",
		Short: "Show what partitions know: offsets, producers, epochs, transactions",
		Long: `stat shows the partitions of a topic, or of all, a line each: where the records
begin (start) and end (end, the offset of the next one), below which offset all
transactions are decided (stable) and where the earliest began that is not
(unstable), the leader epoch, how many segments, bytes, producers, and aborted
transactions there are. With --partition it shows all that is known of one:
producers with the last sequence of each and the transactions that are open,
leader epochs, aborted transactions and segments. Internal topics, like
__consumer_offsets, are shown when they are named, or with --internal.

It changes nothing, and works beside a process that has the store open. What it
shows is up to the high watermark of that process; of producers it knows what a
log knows that is opened from the disk. A partition with damage is shown as far
as it can be read, with the damage, and makes the exit status 1.

With --json each partition is an object on a line: topic, topicId, partition,
offsets, latestEpoch (-1: none), producers, leaderEpochs, abortedTransactions,
segments and error, in Kafka's words. Timestamps are milliseconds since 1970; what
is not there is null.`,
		Example: `  leat stat
  leat stat orders --partition 0
  leat stat orders --json | jq '{partition, undecided: (.highWatermark - .lastStableOffset)}'
  leat stat --json | jq -c '.producers[] | select(.currentTxnFirstOffset != null)'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("one topic at a time, not %d", len(args))
			}
			if cmd.Flags().Changed("partition") && partition < 0 {
				return errors.New("--partition must not be negative")
			}
			if len(args) == 0 && cmd.Flags().Changed("partition") {
				return errors.New("--partition needs a topic")
			}
			return nil
		},
		ValidArgsFunction: completeTopic,
	}
	dir := addDir(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, an object a line")
	addInternal(cmd, &internal)
	cmd.Flags().Int32Var(&partition, "partition", -1, "show all that is known of the partition of this `number` (default: all, a line each)")
	cmd.Flags().Lookup("partition").DefValue = "0" // -1 is not for help
	_ = cmd.RegisterFlagCompletionFunc("partition", completePartition)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		one := cmd.Flags().Changed("partition")
		st, err := openReading(storeDir(*dir))
		if err != nil {
			return failed(err)
		}
		defer closing(st, &err)
		topics, err := topicsOf(st, args, internal)
		if err != nil {
			return failed(err)
		}
		if one {
			if _, err := topics[0].Partition(partition); errors.Is(err, leat.ErrUnknownPartition) {
				return failed(err)
			}
		}
		s := &stater{table: newTable("topic", ">partition", ">start", ">stable", ">unstable", ">watermark", ">end", ">epoch",
			">segments", ">bytes", ">producers", ">aborted")}
		err = toOutput(cmd.OutOrStdout(), func(w *bufio.Writer) error {
			for _, t := range topics {
				for p := range t.Partitions() {
					if one && p.ID() != partition {
						continue
					}
					state, err := stateOf(cmd.Context(), t, p.ID())
					if err != nil {
						return err
					}
					if state.Info.Err != nil {
						s.errs = append(s.errs, fmt.Errorf("%s: %w", p, state.Info.Err))
					}
					switch {
					case asJSON:
						if err := printJSON(w, stateJSON(t, state)); err != nil {
							return err
						}
					case one:
						printState(w, t, state, screenWidth(cmd.OutOrStdout()))
					default:
						s.row(t, state)
					}
				}
			}
			if !asJSON && !one && len(topics) > 0 {
				s.table.print(w, screenWidth(cmd.OutOrStdout()))
			}
			return nil
		})
		switch {
		case err != nil:
			return err
		case len(topics) == 0:
			noTopics(cmd, st, *dir)
		case len(s.errs) > 0:
			for _, err := range s.errs[:len(s.errs)-1] {
				fmt.Fprintf(cmd.ErrOrStderr(), "leat: %s\n", words(err))
			}
			return failed(s.errs[len(s.errs)-1])
		}
		return nil
	}
	return cmd
}

// stater gathers what stat says of all partitions.
type stater struct {
	table *table
	errs  []error
}

func (s *stater) row(t *leat.Topic, p *leat.PartitionState) {
	i := &p.Info
	producers, aborted := len(p.Producers), len(p.AbortedTxns)
	if p.Segments == nil { // nothing is known
		producers, aborted = -1, -1
	}
	s.table.row(t.Name(), digits(i.Partition), digits(i.LogStartOffset), digits(i.LastStableOffset), digits(p.FirstUnstableOffset),
		digits(i.HighWatermark), digits(i.LogEndOffset), digits(i.LeaderEpoch), digits(i.Segments), digits(i.Bytes),
		digits(producers), digits(aborted))
}

// stateOf is the state of a partition, or as much of it as there is, with the
// error that there is not more.
func stateOf(ctx context.Context, t *leat.Topic, id int32) (*leat.PartitionState, error) {
	p, err := t.Partition(id)
	var s *leat.PartitionState
	if err == nil {
		s, err = p.State(ctx)
	}
	if err == nil {
		return s, nil
	}
	if cerr := ctx.Err(); cerr != nil {
		return nil, cerr
	}
	return &leat.PartitionState{FirstUnstableOffset: -1, Info: leat.PartitionInfo{
		Partition: id, LogStartOffset: -1, LastStableOffset: -1, HighWatermark: -1, LogEndOffset: -1, DurableEnd: -1,
		LeaderEpoch: -1, Segments: -1, Bytes: -1, Err: err,
	}}, nil
}
