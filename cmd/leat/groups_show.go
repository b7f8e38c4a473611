package main

import (
	"bufio"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/leatlog/leat"
)

func newGroupsList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [flags]",
		Short: "List the groups with their state and how far they are behind",
		Long: `list shows the consumer groups, a line each and by name: the state (Stable with
members, Empty without, PreparingRebalance while partitions change hands), how many
members it has, in how many partitions it has committed something, and how far it is
behind in all of them: in records (lag), in bytes, and in time, which is the age of
the oldest record that it has not consumed.

With --json each line is an object: group, state, generation, protocol, members,
partitions (their numbers), lag, lagBytes and lagMs.`,
		Example: `  leat groups list
  leat groups list --json | jq -r 'select(.lag > 1000) | .group'`,
		Args: cobra.NoArgs,
	}
	dir := addDir(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, an object a line")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		st, err := openReading(storeDir(*dir))
		if err != nil {
			return failed(err)
		}
		defer closing(st, &err)
		trouble := troubles{cmd: cmd}
		if trouble.errs, err = damagedOffsets(cmd.Context(), st); err != nil {
			return failed(err)
		}
		names, err := st.Groups().List(cmd.Context())
		if err != nil {
			return failed(err)
		}
		t := newTable("group", "state", ">members", ">partitions", ">lag", ">bytes", "behind")
		err = toOutput(cmd.OutOrStdout(), func(w *bufio.Writer) error {
			for _, name := range names {
				info, err := st.Groups().Describe(cmd.Context(), name)
				switch {
				case cmd.Context().Err() != nil:
					return cmd.Context().Err()
				case errors.Is(err, leat.ErrUnknownGroup):
					continue // it was deleted meanwhile
				case errors.Is(err, leat.ErrCorrupt) && len(trouble.errs) > 0:
					continue // it is in the damaged part; the others are shown
				case err != nil:
					return failed(err)
				}
				trouble.of(&info)
				if asJSON {
					if err := printJSON(w, groupHeadOf(&info)); err != nil {
						return err
					}
					continue
				}
				t.row(info.Group, info.State.String(), digits(len(info.Members)), digits(len(info.Partitions)),
					digits(info.Lag.Records), digits(info.Lag.Bytes), age(info.Lag.Time))
			}
			if len(t.rows) > 0 {
				t.print(w, screenWidth(cmd.OutOrStdout()))
			}
			return nil
		})
		if err == nil && len(names)+len(trouble.errs) == 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "leat: no groups in %s\n", storeDir(*dir))
		}
		if err == nil {
			err = trouble.tell()
		}
		return err
	}
	return cmd
}

func newGroupsDescribe() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "describe [flags] [GROUP...]",
		Short: "Show where groups are in which partition, and how far behind",
		Long: `describe shows the groups that are named, or all: the members, and for each
partition that the group has committed or a member owns

  committed    the offset of the next record to consume; a dash: none
  start, end   where the log of the partition begins and ends
  lag          how many records are to be consumed, up to the last stable offset
  bytes        how many bytes of batches these are
  behind       the age of the oldest of them
  commit time  when that was committed
  member       whose the partition is
  metadata     what was committed with it

Where committed is below start, records were deleted before the group has consumed
them, and the lag is what is left. A partition that is not there any more, or
that is damaged, has an error; damage makes the exit status 1.

With --json each group is an object on a line, in Kafka's words: group, state,
generation, protocol, lag, members and partitions. Times are milliseconds since
1970; what is not there is null.`,
		Example: `  leat groups describe mailer
  leat groups describe --json | jq -c '.partitions[] | select(.lag > 0) | [.topic, .partition, .lag]'`,
		ValidArgsFunction: completeGroups,
	}
	dir := addDir(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, an object a line")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		st, err := openReading(storeDir(*dir))
		if err != nil {
			return failed(err)
		}
		defer closing(st, &err)
		trouble := troubles{cmd: cmd}
		if trouble.errs, err = damagedOffsets(cmd.Context(), st); err != nil {
			return failed(err)
		}
		switch {
		case len(args) > 0:
			trouble.errs = nil // it is told of those that it is about
		case len(trouble.errs) > 0:
			return trouble.tell()
		}
		if len(args) == 0 {
			if args, err = st.Groups().List(cmd.Context()); err != nil {
				return failed(err)
			}
			if len(args) == 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "leat: no groups in %s\n", storeDir(*dir))
			}
		}
		var infos []leat.GroupInfo
		for _, name := range args {
			info, err := st.Groups().Describe(cmd.Context(), name)
			if err != nil {
				return failed(err)
			}
			infos = append(infos, info)
		}
		err = toOutput(cmd.OutOrStdout(), func(w *bufio.Writer) error {
			for i := range infos {
				trouble.of(&infos[i])
				if asJSON {
					if err := printJSON(w, groupJSON(&infos[i])); err != nil {
						return err
					}
					continue
				}
				if i > 0 {
					fmt.Fprintln(w)
				}
				printGroup(w, &infos[i], screenWidth(cmd.OutOrStdout()))
			}
			return nil
		})
		if err == nil {
			err = trouble.tell()
		}
		return err
	}
	return cmd
}

// troubles gathers what is wrong with partitions, to be told behind the output. That
// a topic was deleted is not.
type troubles struct {
	cmd  *cobra.Command
	errs []error
}

func (t *troubles) of(info *leat.GroupInfo) {
	for i := range info.Partitions {
		p := &info.Partitions[i]
		if p.Err != nil && !errors.Is(p.Err, leat.ErrUnknownTopic) && !errors.Is(p.Err, leat.ErrUnknownPartition) {
			t.errs = append(t.errs, &regarding{fmt.Sprintf("group %s, %s-%d", printable(info.Group), p.Topic, p.Partition), p.Err})
		}
	}
}

func (t *troubles) tell() error {
	if len(t.errs) == 0 {
		return nil
	}
	last := len(t.errs) - 1
	for _, err := range t.errs[:last] {
		fmt.Fprintf(t.cmd.ErrOrStderr(), "leat: %s\n", words(err))
	}
	return failed(t.errs[last])
}

// age is a cell: how long ago something was, nothing if it is not.
func age(d time.Duration) string {
	switch {
	case d == 0:
		return ""
	case d < time.Minute:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func printGroup(w *bufio.Writer, info *leat.GroupInfo, width int) {
	fmt.Fprintf(w, "group %s, %v", printable(info.Group), info.State)
	if info.Protocol != "" {
		fmt.Fprintf(w, ", %s, generation %d", printable(info.Protocol), info.Generation)
	}
	fmt.Fprintf(w, ", %s behind\n", plural(info.Lag.Records, "record"))
	for _, m := range info.Members {
		fmt.Fprintf(w, "  member %s, %s of %s", printable(m.ID), plural(len(m.Owned), "partition"), printable(strings.Join(m.Topics, ", ")))
		if !m.Away.IsZero() {
			fmt.Fprintf(w, ", away since %s", timeCell(m.Away))
		}
		fmt.Fprintln(w)
	}
	if len(info.Partitions) == 0 {
		return
	}
	heads := []string{"topic", ">partition", ">committed", ">start", ">end", ">lag", ">bytes", "behind", "commit time"}
	var more []groupColumn
	for _, c := range rareColumns {
		if slices.ContainsFunc(info.Partitions, func(p leat.GroupPartition) bool { return c.cell(&p) != "" }) {
			heads, more = append(heads, c.head), append(more, c)
		}
	}
	t := newTable(heads...)
	for i := range info.Partitions {
		p := &info.Partitions[i]
		lag, bytes := digits(p.Lag.Records), digits(p.Lag.Bytes)
		if p.LogEndOffset < 0 {
			lag, bytes = "-", "-"
		}
		row := []string{p.Topic, digits(p.Partition), digits(p.Offset), digits(p.LogStartOffset), digits(p.LogEndOffset), lag, bytes,
			age(p.Lag.Time), timeCell(p.CommitTime)}
		for _, c := range more {
			row = append(row, c.cell(p))
		}
		t.row(row...)
	}
	t.print(w, width)
}

// groupColumn is a column that is shown only where there is something in it.
type groupColumn struct {
	head string
	cell func(*leat.GroupPartition) string
}

var rareColumns = []groupColumn{
	{"member", func(p *leat.GroupPartition) string { return p.Member }},
	{"metadata", func(p *leat.GroupPartition) string { return p.Metadata }},
	{"expires", func(p *leat.GroupPartition) string { return timeCell(p.Expires) }},
	{"error", func(p *leat.GroupPartition) string { return words(p.Err) }},
}

// timeCell is nothing for a time that there is not.
func timeCell(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return stamp(t.UnixMilli())
}

// groupHead is a group in JSON, less its parts.
type groupHead struct {
	Group      string  `json:"group"`
	State      string  `json:"state"`
	Generation int32   `json:"generation"`
	Protocol   *string `json:"protocol"`
	Lag        int64   `json:"lag"`
	LagBytes   int64   `json:"lagBytes"`
	LagMs      int64   `json:"lagMs"`
}

func newGroupHead(info *leat.GroupInfo) groupHead {
	h := groupHead{Group: info.Group, State: info.State.String(), Generation: info.Generation,
		Lag: info.Lag.Records, LagBytes: info.Lag.Bytes, LagMs: info.Lag.Time.Milliseconds()}
	if info.Protocol != "" {
		h.Protocol = &info.Protocol
	}
	return h
}

// groupHeadOf is a group as list has it.
func groupHeadOf(info *leat.GroupInfo) any {
	return struct {
		groupHead
		Members    int `json:"members"`
		Partitions int `json:"partitions"`
	}{newGroupHead(info), len(info.Members), len(info.Partitions)}
}

// groupJSON is a group for programs.
func groupJSON(info *leat.GroupInfo) any {
	type topicPartition struct {
		Topic     string `json:"topic"`
		Partition int32  `json:"partition"`
	}
	type member struct {
		MemberID   string           `json:"memberId"`
		Topics     []string         `json:"topics"`
		Partitions []topicPartition `json:"partitions"`
		AwaySince  *int64           `json:"awaySince"`
	}
	type partition struct {
		topicPartition
		CommittedOffset      *int64  `json:"committedOffset"`
		CommittedLeaderEpoch *int64  `json:"committedLeaderEpoch"`
		Metadata             *string `json:"metadata"`
		CommitTimestamp      *int64  `json:"commitTimestamp"`
		ExpireTimestamp      *int64  `json:"expireTimestamp"`
		Unstable             bool    `json:"unstable,omitempty"`
		MemberID             *string `json:"memberId"`
		LogStartOffset       *int64  `json:"logStartOffset"`
		LogEndOffset         *int64  `json:"logEndOffset"`
		Lag                  *int64  `json:"lag"`
		LagBytes             *int64  `json:"lagBytes"`
		LagMs                *int64  `json:"lagMs"`
		Error                string  `json:"error,omitempty"`
	}
	members, partitions := []member{}, []partition{}
	for i := range info.Members {
		m := &info.Members[i]
		out := member{m.ID, append([]string{}, m.Topics...), []topicPartition{}, millis(m.Away)}
		for _, p := range m.Owned {
			out.Partitions = append(out.Partitions, topicPartition{p.Topic, p.Partition})
		}
		members = append(members, out)
	}
	for i := range info.Partitions {
		p := &info.Partitions[i]
		out := partition{topicPartition: topicPartition{p.Topic, p.Partition}, CommittedOffset: known(p.Offset), CommittedLeaderEpoch: known(int64(p.LeaderEpoch)),
			CommitTimestamp: millis(p.CommitTime), ExpireTimestamp: millis(p.Expires), Unstable: p.Unstable,
			LogStartOffset: known(p.LogStartOffset), LogEndOffset: known(p.LogEndOffset), Error: words(p.Err)}
		if p.Offset >= 0 {
			out.Metadata = &p.Metadata
		}
		if p.Member != "" {
			out.MemberID = &p.Member
		}
		if ms := p.Lag.Time.Milliseconds(); p.LogEndOffset >= 0 {
			out.Lag, out.LagBytes, out.LagMs = &p.Lag.Records, &p.Lag.Bytes, &ms
		}
		partitions = append(partitions, out)
	}
	return struct {
		groupHead
		Members    []member    `json:"members"`
		Partitions []partition `json:"partitions"`
	}{newGroupHead(info), members, partitions}
}

// millis is a time in JSON, null for one that is not known.
func millis(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}
