package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/leatlog/leat"
)

func newRepair() *cobra.Command {
	var o leat.RepairOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "repair [flags] DIR",
		Short: "Show, and with --apply do, what makes a damaged store usable again",
		Long: `repair looks for damage in the store in DIR, as far as it keeps the store from
being used, and says a line for each thing that is to be done about it. Nothing is
changed without --apply. Make a copy of a damaged store first if you can, for
whoever may get more out of it.

What is no sound batch is taken out, and kept in the partition's folder in files
named <base offset>.<position>.quarantine; the log goes on behind a gap, and no
record gets another offset. Segments that are missing become gaps. A log that ends
too early ends there, and a new leader epoch begins. Indexes and other files that
follow from the log are made anew. Topics that the record of topics has lost are
adopted again, with unlimited retention.

A repair that is interrupted, or killed, can be run again. 'leat check' finds no
damage afterwards, but for what repair has said that it cannot mend.

Exit status:
  0    there is nothing to be done, or with --apply, all was done
  1    there is something to be done, or with --apply, something that cannot be, or
       the store could not be opened
  2    the command line is wrong
  130  interrupted`,
		Example: `  leat repair data
  leat repair --apply data && leat check data`,
		Args:              oneStore,
		ValidArgsFunction: directories,
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			steps, left := 0, 0
			for s, err := range leat.Repair(cmd.Context(), args[0], &o) {
				if err != nil {
					return failed(err)
				}
				steps++
				if !s.Done {
					left++
				}
				if asJSON {
					err = json.NewEncoder(out).Encode(stepJSON(s))
				} else {
					_, err = fmt.Fprintln(out, s)
				}
				if err != nil {
					return failed(err)
				}
			}
			switch {
			case left > 0 && o.Apply:
				return &failure{err: fmt.Errorf("%d of %d findings could not be mended", left, steps)}
			case left > 0:
				return &failure{err: fmt.Errorf("%d things to be done; --apply does them", left)}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&o.Apply, "apply", false, "do it")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print an object for each thing")
	return cmd
}

// stepJSON is a step as --json prints it.
func stepJSON(s leat.RepairStep) any {
	o := map[string]any{
		"topic": s.Topic, "partition": s.Partition, "path": s.Path, "position": s.Position, "end": s.End,
		"offset": s.Offset, "next": s.Next, "what": s.What, "do": s.Do, "quarantine": s.Quarantine, "done": s.Done,
	}
	if s.Err != nil {
		o["error"] = s.Err.Error()
	}
	return o
}
