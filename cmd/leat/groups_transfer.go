package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/leatlog/leat"
)

func newGroupsExport() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "export [flags] [GROUP...]",
		Short: "Write committed offsets as text that import, and Kafka's tool, reads",
		Long: `export writes what the groups that are named, or all, have committed, as Kafka's
kafka-consumer-groups.sh --export does and its --from-file reads: a line
TOPIC,PARTITION,OFFSET for each partition, of several groups
GROUP,TOPIC,PARTITION,OFFSET. 'leat groups import' reads both. Metadata and times
are not in it.`,
		Example: `  leat groups export > groups.csv
  leat groups export mailer --output mailer.csv
  leat groups export mailer | leat groups import --group copy - --execute`,
		ValidArgsFunction: completeGroups,
	}
	dir := addDir(cmd)
	cmd.Flags().StringVar(&output, "output", "", "the `file` to write (default: standard output)")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		st, err := openReading(storeDir(*dir))
		if err != nil {
			return failed(err)
		}
		defer closing(st, &err)
		damaged, err := damagedOffsets(cmd.Context(), st)
		if err == nil && len(damaged) > 0 && len(args) == 0 {
			err = damaged[0] // it would not be all
		}
		if err != nil {
			return failed(err)
		}
		if output == "" {
			return toOutput(cmd.OutOrStdout(), func(w *bufio.Writer) error {
				return failed(st.Groups().Export(cmd.Context(), w, args...))
			})
		}
		// If it cannot all be read, the file stays what it was.
		var b bytes.Buffer
		if err := st.Groups().Export(cmd.Context(), &b, args...); err != nil {
			return failed(err)
		}
		return failed(os.WriteFile(output, b.Bytes(), 0o666))
	}
	return cmd
}

func newGroupsImport() *cobra.Command {
	var group string
	c := &change{}
	cmd := &cobra.Command{
		Use:   "import [flags] FILE",
		Short: "Commit offsets that export has written; without --execute show them",
		Long: `import commits the offsets in a file, or with - on standard input, that 'leat groups
export' or Kafka's kafka-consumer-groups.sh has written. Its lines are
GROUP,TOPIC,PARTITION,OFFSET or, with --group, TOPIC,PARTITION,OFFSET. What a group
has committed in other partitions stays.

A line that is not of that form, a partition that there is not, an offset behind
the end of its log, or a group whose members are consuming is an error, and nothing
is changed. Without --execute nothing is changed anyway, and the store may be open in
another process. The offsets of each group are committed together.

With --json each partition is an object on a line: group, topic, partition, from
(null: nothing was committed) and to.`,
		Example: `  leat groups import groups.csv
  leat groups import groups.csv --execute
  leat groups import --group mailer mailer.csv --execute`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("which file? - is standard input")
			}
			return nil
		},
	}
	dir := addDir(cmd)
	cmd.Flags().StringVar(&group, "group", "", "the `group` of lines that name none")
	_ = cmd.RegisterFlagCompletionFunc("group", completeGroupFlag)
	c.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed("group") && group == "" {
			return errors.New("--group must not be empty")
		}
		in, name := cmd.InOrStdin(), "standard input"
		if args[0] != "-" {
			f, err := os.Open(args[0])
			if err != nil {
				return failed(err)
			}
			defer f.Close()
			in, name = f, args[0]
		}
		// Before the store is opened: what comes by a pipe may come of the same store.
		text, err := io.ReadAll(in)
		if err != nil {
			return failed(fmt.Errorf("%s: %w", name, cause(err)))
		}
		o := leat.ImportOptions{Group: group, DryRun: !c.execute}
		return c.run(cmd, *dir, func(g *leat.Groups) ([]leat.OffsetChange, error) {
			changes, err := g.Import(cmd.Context(), bytes.NewReader(text), o)
			if err != nil {
				err = &regarding{name, err}
			}
			return changes, err
		})
	}
	return cmd
}
