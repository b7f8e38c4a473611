package main

import (
	"bufio"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/leatlog/leat"
)

func newGroupsReset() *cobra.Command {
	var to string
	var shift int64
	c := &change{}
	cmd := &cobra.Command{
		Use:   "reset [flags] GROUP",
		Short: "Move where a group goes on; without --execute show where to",
		Long: `reset moves the committed offsets of a group, in all partitions that it has
committed or, with --topic, in these: of a topic all, whether the group has
committed there or not. So it also makes a group that begins where it is told.

--to says where the group is to go on:
  earliest     with the first record that there is
  latest       with what comes from now on
  N            with that offset
  TIME         with the first record of that time or later: RFC 3339, the same
               without a zone for local time, a duration ago, like 5m or 36h, or
               milliseconds since 1970 behind an @
--shift N goes forward by N offsets from what is committed, --shift -N back. What
is not in the log becomes the nearest that is, which the output says.

Without --execute nothing is changed, and the store may be open in another
process. With it all partitions are moved, or none. A group whose members are
consuming is not reset.

With --json each partition is an object on a line: group, topic, partition, from
(null: nothing was committed), to, and clamped where the log has not what was asked
for.`,
		Example: `  leat groups reset mailer --to 2026-01-31T08:00:00Z
  leat groups reset mailer --to earliest --topic orders:0,3-5 --topic mail --execute
  leat groups reset mailer --shift -100 --execute
  leat groups reset new-group --to latest --topic orders --execute`,
		Args:              oneGroup,
		ValidArgsFunction: completeGroup,
	}
	dir := addDir(cmd)
	f := cmd.Flags()
	f.StringVar(&to, "to", "", "where to go on: earliest, latest, an offset, or a time; `where`")
	f.Int64Var(&shift, "shift", 0, "go forward by this `number` of offsets, or back, if it is negative")
	topics := addSelection(cmd)
	c.flags(cmd)
	completeFlag(cmd, "to", "earliest", "latest")
	cmd.MarkFlagsMutuallyExclusive("to", "shift")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o := leat.ResetOptions{Shift: shift, DryRun: !c.execute}
		switch {
		case f.Changed("shift") && shift == 0:
			return errors.New("--shift 0 is nothing to do")
		case f.Changed("to"):
			var err error
			if o.To, err = parseTarget(to); err != nil {
				return err
			}
		case !f.Changed("shift"):
			return errors.New("where to? --to or --shift says it")
		}
		list, err := parseSelection(*topics)
		if err != nil {
			return err
		}
		for _, s := range list {
			if s.partitions == nil {
				o.Topics = append(o.Topics, s.topic)
			}
			for _, id := range s.partitions {
				o.Partitions = append(o.Partitions, leat.Position{Topic: s.topic, Partition: id})
			}
		}
		return c.run(cmd, *dir, func(g *leat.Groups) ([]leat.OffsetChange, error) { return g.Reset(cmd.Context(), args[0], o) })
	}
	return cmd
}

// change is what commands share that move offsets, and first only say where to.
type change struct{ execute, dryRun, json bool }

func (c *change) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&c.execute, "execute", false, "do it")
	f.BoolVar(&c.dryRun, "dry-run", false, "only show what would be done, which is what is done without --execute")
	f.BoolVar(&c.json, "json", false, "print JSON, an object a line")
	cmd.MarkFlagsMutuallyExclusive("execute", "dry-run")
}

// run makes the change in the store, or finds out what it would be, and shows it.
func (c *change) run(cmd *cobra.Command, dir string, make func(*leat.Groups) ([]leat.OffsetChange, error)) (err error) {
	open := openReading
	if c.execute {
		open = func(dir string) (*leat.Store, error) { return openExisting(dir, nil) }
	}
	st, err := open(storeDir(dir))
	if err != nil {
		return failed(err)
	}
	defer closing(st, &err)
	changes, cerr := make(st.Groups())
	if cerr != nil && len(changes) == 0 {
		return refused(cerr)
	}
	err = toOutput(cmd.OutOrStdout(), func(w *bufio.Writer) error {
		if !c.json {
			printChanges(w, changes, screenWidth(cmd.OutOrStdout()))
			return nil
		}
		for i := range changes {
			if err := printJSON(w, changeJSON(&changes[i])); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case err != nil:
	case cerr != nil: // what is printed was done before
		return failed(cerr)
	case len(changes) == 0:
		fmt.Fprintln(cmd.ErrOrStderr(), "leat: there is nothing to change")
	case !c.execute:
		fmt.Fprintf(cmd.ErrOrStderr(), "leat: nothing is changed yet; --execute does it\n")
	}
	return err
}

func printChanges(w *bufio.Writer, list []leat.OffsetChange, width int) {
	if len(list) == 0 {
		return
	}
	t := newTable("group", "topic", ">partition", ">from", ">to", "note")
	for i := range list {
		c := &list[i]
		note := ""
		if c.Clamped {
			note = "the nearest there is"
		}
		t.row(c.Group, c.Topic, digits(c.Partition), digits(c.From), digits(c.To), note)
	}
	t.print(w, width)
}

func changeJSON(c *leat.OffsetChange) any {
	return struct {
		Group     string `json:"group"`
		Topic     string `json:"topic"`
		Partition int32  `json:"partition"`
		From      *int64 `json:"from"`
		To        int64  `json:"to"`
		Clamped   bool   `json:"clamped,omitempty"`
	}{c.Group, c.Topic, c.Partition, known(c.From), c.To, c.Clamped}
}
