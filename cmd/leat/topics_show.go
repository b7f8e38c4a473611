package main

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/leatlog/leat"
)

func newTopicsList() *cobra.Command {
	var asJSON, internal bool
	cmd := &cobra.Command{
		Use:   "list [flags]",
		Short: "List the names of the topics",
		Long: `list prints the names of the topics, one a line and by name. 'leat topics describe'
tells more of them. With --json each line is an object: topic, topicId,
partitionCount, adopted and, where it is so, internal.

Internal topics, like __consumer_offsets, in which Leat or Kafka keep what they
have to remember, are listed only with --internal.`,
		Example: `  leat topics list
  leat topics list --dir /var/lib/shop | grep ^orders
  leat topics list --json | jq -r 'select(.partitionCount > 8) | .topic'`,
		Args: cobra.NoArgs,
	}
	dir := addDir(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, an object a line")
	addInternal(cmd, &internal)
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		st, err := openReading(storeDir(*dir))
		if err != nil {
			return failed(err)
		}
		defer closing(st, &err)
		topics, err := topicsOf(st, nil, internal)
		if err != nil {
			return failed(err)
		}
		err = toOutput(cmd.OutOrStdout(), func(w *bufio.Writer) error {
			for _, t := range topics {
				if err := cmd.Context().Err(); err != nil {
					return err
				}
				if !asJSON {
					fmt.Fprintln(w, t.Name())
					continue
				}
				info := t.Describe()
				if err := printJSON(w, headOf(&info)); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil && len(topics) == 0 {
			noTopics(cmd, st, *dir)
		}
		return err
	}
	return cmd
}

// topicHead is what there is of a topic in JSON.
type topicHead struct {
	Topic          string `json:"topic"`
	TopicID        string `json:"topicId"`
	Adopted        bool   `json:"adopted"`
	PartitionCount int    `json:"partitionCount"`
	Internal       bool   `json:"internal,omitempty"`
}

func headOf(info *leat.TopicInfo) topicHead {
	return topicHead{info.Name, info.ID.String(), info.Adopted, len(info.Partitions), isInternal(info.Name)}
}

func newTopicsDescribe() *cobra.Command {
	var asJSON, all, internal bool
	cmd := &cobra.Command{
		Use:   "describe [flags] [TOPIC...]",
		Short: "Show topics with their properties and partitions",
		Long: `describe shows the topics that are named, or all: their properties, as far as
they are not the defaults, and where each partition begins and ends. What is not
known is a dash. 'leat stat' tells more of a partition.

Of offsets, start is that of the first record, end that of the next one; below
watermark records are as durable as the topic demands, and below stable all
transactions are decided.

With --json each topic is an object on a line, with all properties. Internal
topics, like __consumer_offsets, are shown when they are named, or with --internal.`,
		Example: `  leat topics describe
  leat topics describe orders --all
  leat topics describe --json | jq -r '.topic + " " + .config["retention.ms"]'`,
		ValidArgsFunction: completeTopics,
	}
	dir := addDir(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, an object a line")
	cmd.Flags().BoolVar(&all, "all", false, "show the properties that are the defaults, too")
	addInternal(cmd, &internal)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		st, err := openReading(storeDir(*dir))
		if err != nil {
			return failed(err)
		}
		defer closing(st, &err)
		topics, err := topicsOf(st, args, internal)
		if err != nil {
			return failed(err)
		}
		found := false
		err = toOutput(cmd.OutOrStdout(), func(w *bufio.Writer) error {
			for i, t := range topics {
				info, err := look(cmd.Context(), t)
				if err != nil {
					return err
				}
				for _, p := range info.Partitions {
					found = found || p.Err != nil
				}
				if asJSON {
					if err := printJSON(w, describeJSON(&info)); err != nil {
						return err
					}
					continue
				}
				if i > 0 {
					fmt.Fprintln(w)
				}
				printTopic(w, &info, all, screenWidth(cmd.OutOrStdout()))
			}
			return nil
		})
		if err == nil && len(topics) == 0 {
			noTopics(cmd, st, *dir)
		}
		if err == nil && found {
			return &failure{} // it stands beside the partition
		}
		return err
	}
	return cmd
}

// topicsOf are the topics of those names; if there are none, all of the store,
// internal ones only where they are wanted.
func topicsOf(st *leat.Store, names []string, internal bool) ([]*leat.Topic, error) {
	var list []*leat.Topic
	if len(names) == 0 {
		for t := range st.Topics() {
			if internal || !isInternal(t.Name()) {
				list = append(list, t)
			}
		}
	}
	for _, name := range names {
		t, err := st.Topic(name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(list, t) {
			list = append(list, t)
		}
	}
	return list, nil
}

// look describes a topic after it has opened each partition.
func look(ctx context.Context, t *leat.Topic) (leat.TopicInfo, error) {
	errs := map[int32]error{}
	for p := range t.Partitions() {
		if err := ctx.Err(); err != nil {
			return leat.TopicInfo{}, err
		}
		if _, err := t.Partition(p.ID()); err != nil {
			errs[p.ID()] = err
		}
	}
	info := t.Describe()
	for i := range info.Partitions {
		if p := &info.Partitions[i]; p.Err == nil {
			p.Err = errs[p.Partition]
		}
	}
	return info, nil
}

func printTopic(w *bufio.Writer, info *leat.TopicInfo, all bool, width int) {
	fmt.Fprintf(w, "topic %s, %s", info.Name, partitionCount(len(info.Partitions), info.Config))
	if isInternal(info.Name) {
		fmt.Fprint(w, ", internal")
	}
	if info.Adopted {
		fmt.Fprint(w, ", adopted")
	}
	fmt.Fprintf(w, ", id %v\n", info.ID)
	props := overrides(info.Config)
	if all {
		values := info.Config.Properties()
		props = props[:0]
		for _, name := range slices.Sorted(maps.Keys(values)) {
			props = append(props, name+"="+values[name])
		}
	}
	for _, p := range props {
		fmt.Fprintf(w, "  %s\n", printable(p))
	}
	printPartitions(w, info.Partitions, width)
}

func printPartitions(w *bufio.Writer, list []leat.PartitionInfo, width int) {
	heads := []string{">partition", ">start", ">stable", ">watermark", ">end", ">epoch", ">segments", ">bytes"}
	trouble := slices.ContainsFunc(list, func(p leat.PartitionInfo) bool { return p.Err != nil })
	if trouble {
		heads = append(heads, "error")
	}
	t := newTable(heads...)
	for _, p := range list {
		row := []string{digits(p.Partition), digits(p.LogStartOffset), digits(p.LastStableOffset), digits(p.HighWatermark),
			digits(p.LogEndOffset), digits(p.LeaderEpoch), digits(p.Segments), digits(p.Bytes)}
		if p.Err != nil {
			row = append(row, words(p.Err))
		}
		t.row(row...)
	}
	t.print(w, width)
}

// describeJSON is a topic for programs.
func describeJSON(info *leat.TopicInfo) any {
	type partition struct {
		Partition        int32  `json:"partition"`
		LogStartOffset   int64  `json:"logStartOffset"`
		LastStableOffset int64  `json:"lastStableOffset"`
		HighWatermark    int64  `json:"highWatermark"`
		LogEndOffset     int64  `json:"logEndOffset"`
		LatestEpoch      int32  `json:"latestEpoch"`
		Segments         int    `json:"segments"`
		SizeInBytes      int64  `json:"sizeInBytes"`
		Error            string `json:"error,omitempty"`
	}
	list := []partition{}
	for _, p := range info.Partitions {
		list = append(list, partition{p.Partition, p.LogStartOffset, p.LastStableOffset, p.HighWatermark, p.LogEndOffset,
			p.LeaderEpoch, p.Segments, p.Bytes, words(p.Err)})
	}
	return struct {
		topicHead
		Config     map[string]string `json:"config"`
		Partitions []partition       `json:"partitions"`
	}{headOf(info), info.Config.Properties(), list}
}
