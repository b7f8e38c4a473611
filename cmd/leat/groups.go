package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leatlog/leat"
)

// newGroups is what Kafka's kafka-consumer-groups.sh does.
func newGroups() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "groups",
		Short: "List, describe, reset and delete consumer groups and their offsets",
		Long: `groups does with the consumer groups of a store what Kafka's
kafka-consumer-groups.sh does: it shows what each has committed in which partition
and how far that is behind, and changes it. A committed offset is that of the next
record to consume. Groups are kept in __consumer_offsets, in Kafka's format: those
of a copied broker directory are shown and changed as well.

list, describe and export change nothing and work beside a process that has the
store open. The others need the store for themselves, and say which process has
it if they cannot. reset and import show what they would do, and do it only with
--execute.`,
		Example: `  leat groups list
  leat groups describe mailer
  leat groups reset mailer --to earliest --topic orders
  leat groups reset mailer --to earliest --topic orders --execute
  leat groups export > groups.csv`,
	}
	cmd.AddCommand(newGroupsList(), newGroupsDescribe(), newGroupsReset(), newGroupsDelete(), newGroupsExport(), newGroupsImport())
	return cmd
}

// offsetsTopic is where groups are kept.
const offsetsTopic = "__consumer_offsets"

// damagedOffsets tells what of the groups cannot be read. It comes first: who reads
// beside a writer is told of damage only when he waits until it stays.
func damagedOffsets(ctx context.Context, st *leat.Store) (errs []error, err error) {
	t, err := st.Topic(offsetsTopic)
	if err != nil {
		return nil, nil // there are no groups
	}
	for p := range t.Partitions() {
		state, err := stateOf(ctx, t, p.ID())
		if err != nil {
			return nil, err
		}
		if state.Info.Err != nil {
			errs = append(errs, &regarding{p.String(), state.Info.Err})
		}
	}
	return errs, nil
}

// oneGroup is for commands that work on one group.
func oneGroup(_ *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return errors.New("which group?")
	case 1:
		return nil
	}
	return fmt.Errorf("one group at a time, not %d", len(args))
}

// someGroups is for commands that work on several.
func someGroups(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New("which group?")
	}
	return nil
}

// selection is what --topic says: partitions of topics.
type selection struct {
	topic      string
	partitions []int32 // nil: all
}

const topicsUsage = "only this `topic`, or partitions of it: orders, orders:0,3-5; may come several times"

// addSelection gives a command the flag --topic. It is no list with commas,
// because partitions are.
func addSelection(cmd *cobra.Command) *[]string {
	list := cmd.Flags().StringArray("topic", nil, topicsUsage)
	completeFlagTopics(cmd)
	return list
}

// parseSelection reads the values of --topic.
func parseSelection(list []string) ([]selection, error) {
	var all []selection
	for _, text := range list {
		topic, numbers, some := strings.Cut(text, ":")
		s := selection{topic: topic}
		if topic == "" {
			return nil, fmt.Errorf("--topic %q: there is no topic in it", text)
		}
		if slices.ContainsFunc(all, func(other selection) bool { return other.topic == topic }) {
			return nil, fmt.Errorf("--topic: %s is there twice; several partitions are %s:0,1", topic, topic)
		}
		if some {
			for _, n := range strings.Split(numbers, ",") {
				first, last, isRange := strings.Cut(n, "-")
				if !isRange {
					last = first
				}
				from, err1 := strconv.ParseInt(first, 10, 32)
				to, err2 := strconv.ParseInt(last, 10, 32)
				if err1 != nil || err2 != nil || from < 0 || to < from || to-from >= maxPartitions {
					return nil, fmt.Errorf("--topic %q: behind the colon belong partitions, like 0,3-5", text)
				}
				for id := from; id <= to; id++ {
					s.partitions = append(s.partitions, int32(id))
				}
			}
		}
		all = append(all, s)
	}
	return all, nil
}

// maxPartitions is more than any topic has.
const maxPartitions = 1 << 20

// parseTarget reads what --to takes.
func parseTarget(s string) (leat.Start, error) {
	switch s {
	case "earliest":
		return leat.Earliest, nil
	case "latest":
		return leat.Latest, nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if n < 0 {
			return leat.Start{}, fmt.Errorf("--to %s: an offset is not negative; --shift goes back", s)
		}
		return leat.At(n), nil
	}
	if ms, ok := strings.CutPrefix(s, "@"); ok {
		if n, err := strconv.ParseInt(ms, 10, 64); err == nil {
			return leat.AtTime(time.UnixMilli(n)), nil
		}
	} else if t, err := parseTime(s); err == nil {
		return leat.AtTime(t), nil
	}
	return leat.Start{}, fmt.Errorf("--to %q is neither earliest, nor latest, nor an offset, nor a time like 2026-01-31T08:00:00Z, @MILLISECONDS since 1970, or a duration ago like 5m", s)
}
