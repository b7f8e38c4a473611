package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leatlog/leat"
)

// logEnd is the isolation level of Kafka's replicas.
const logEnd = "log_end"

// fetchOptions are the command line of fetch.
type fetchOptions struct {
	dir, topic string
	partition  int32  // -1: the only one
	offset     *int64 // nil: the log start offset
	raw        bool
	fetch      leat.FetchOptions
}

func newFetch() *cobra.Command {
	o := &fetchOptions{}
	var isolation string
	var force bool
	var maxBytes int64
	cmd := &cobra.Command{
		Use:   "fetch TOPIC [flags]",
		Short: "Give raw record batches, as a broker answers a fetch",
		Long: `fetch makes one fetch, as a Kafka broker answers it: a run of whole record
batches, as they lie in one segment, from the batch on that holds the offset. It
does not wait, and works beside a process that writes to the store.

With --raw the batches go to standard output, byte for byte, and the aborted
transactions that they may have records of go to standard error, an object a
line: {"producerId":7,"firstOffset":17}. Without, one object says what the answer
is: where the batches begin and end, their size, the partition's offsets, and the
aborted transactions. The next fetch begins at "nextOffset". A run without any
byte means that there is nothing yet.

--isolation says where a run ends: read_committed at the last stable offset,
read_uncommitted at the high watermark, log_end at the end of the log, as for a
replica (of what another process is writing, no more than it shows to others).
Aborted transactions are named with read_committed only. The first batch is given
whole, however small --max-bytes is.`,
		Example: `  leat fetch orders --partition 3 --offset 1000
  leat fetch orders --raw --max-bytes 65536 > batches
  leat fetch orders --isolation log_end | jq .nextOffset`,
		Args:              oneTopic,
		ValidArgsFunction: completeTopic,
	}
	f := cmd.Flags()
	dir := addDir(cmd)
	f.Int32Var(&o.partition, "partition", -1, "the `number` of the partition (default: the only one)")
	offset := f.Int64("offset", -1, "the first `offset` wanted (default: the log start offset)")
	f.Int64Var(&maxBytes, "max-bytes", 1<<20, "how many `bytes` are asked for")
	f.StringVar(&isolation, "isolation", "read_committed", "isolation `level`: read_committed, read_uncommitted or log_end")
	f.BoolVar(&o.raw, "raw", false, "give the batches themselves")
	f.BoolVar(&force, "force", false, "give raw batches to a terminal, too")
	f.Lookup("partition").DefValue, f.Lookup("offset").DefValue = "0", "0" // -1 is not for help
	completeFlag(cmd, "isolation", "read_committed", "read_uncommitted", logEnd)

	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.dir, o.topic = storeDir(*dir), args[0]
		if f.Changed("offset") {
			o.offset = offset
		}
		switch {
		case f.Changed("partition") && o.partition < 0:
			return errors.New("--partition must not be negative")
		case maxBytes < 0 || maxBytes > math.MaxInt32:
			return fmt.Errorf("--max-bytes must be from 0 to %d", math.MaxInt32)
		}
		o.fetch.MaxBytes = cmp.Or(int(maxBytes), 1) // 0 is the library's default: here it is the first batch
		switch isolation {
		case leat.ReadCommitted.String():
		case leat.ReadUncommitted.String():
			o.fetch.Isolation = leat.ReadUncommitted
		case logEnd:
			o.fetch.Follower = true
		default:
			return fmt.Errorf("--isolation must be read_committed, read_uncommitted or log_end, not %q", isolation)
		}
		if o.raw && !force && isTerminal(cmd.OutOrStdout()) {
			return errors.New("--raw prints bytes that are not for a terminal: redirect them, or say --force")
		}
		return failed(fetch(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr()))
	}
	return cmd
}

// fetched is what fetch prints of a run.
type fetched struct {
	Topic            string       `json:"topic"`
	Partition        int32        `json:"partition"`
	Offset           int64        `json:"offset"` // that was asked for
	BaseOffset       int64        `json:"baseOffset"`
	NextOffset       int64        `json:"nextOffset"`
	SizeInBytes      int          `json:"sizeInBytes"`
	LogStartOffset   int64        `json:"logStartOffset"`
	LastStableOffset int64        `json:"lastStableOffset"`
	HighWatermark    int64        `json:"highWatermark"`
	Aborted          []fetchedTxn `json:"abortedTransactions"`
}

type fetchedTxn struct {
	ProducerID  int64 `json:"producerId"`
	FirstOffset int64 `json:"firstOffset"`
}

func fetch(ctx context.Context, o *fetchOptions, stdout, stderr io.Writer) (err error) {
	st, err := openReading(o.dir)
	if err != nil {
		return err
	}
	defer closing(st, &err)
	topic, err := st.Topic(o.topic)
	if err != nil {
		return err
	}
	if o.partition < 0 {
		if o.partition, err = onlyPartition(topic); err != nil {
			return err
		}
	}
	p, err := topic.Partition(o.partition)
	if err != nil {
		return err
	}
	// What is damaged shows only to who waits for what lies behind it.
	if _, err := p.State(ctx); err != nil {
		return err
	}
	o.fetch.Offset = p.LogStartOffset()
	if o.offset != nil {
		o.fetch.Offset = *o.offset
	}
	run, err := p.Fetch(o.fetch)
	if err == nil && run.Len() == 0 || errors.Is(err, leat.ErrOffsetOutOfRange) {
		err = cmp.Or(p.Describe().Err, err)
	}
	if err != nil {
		return explainOffset(err, "")
	}
	defer run.Release()
	aborted := make([]fetchedTxn, len(run.Aborted))
	for i, t := range run.Aborted {
		aborted[i] = fetchedTxn(t)
	}
	if o.raw {
		if err := toOutput(stderr, func(w *bufio.Writer) error {
			for _, t := range aborted {
				if err := printJSON(w, t); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
		if _, err := run.WriteTo(stdout); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		return nil
	}
	return toOutput(stdout, func(w *bufio.Writer) error {
		return printJSON(w, fetched{
			Topic: o.topic, Partition: o.partition, Offset: o.fetch.Offset,
			BaseOffset: run.BaseOffset(), NextOffset: run.NextOffset(), SizeInBytes: run.Len(),
			LogStartOffset: run.LogStartOffset, LastStableOffset: run.LastStableOffset, HighWatermark: run.HighWatermark,
			Aborted: aborted,
		})
	})
}

// onlyPartition is the partition of a topic that has one.
func onlyPartition(topic *leat.Topic) (int32, error) {
	var ids []string
	only := int32(-1)
	for p := range topic.Partitions() {
		only = p.ID()
		ids = append(ids, fmt.Sprint(only))
	}
	if len(ids) != 1 {
		if len(ids) > 10 {
			ids = append(ids[:10], "...")
		}
		return -1, fmt.Errorf("which partition? --partition says it; %s has %s", topic.Name(), strings.Join(ids, ", "))
	}
	return only, nil
}
