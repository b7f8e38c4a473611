package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/leatlog/leat"
)

func newRecover() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "recover [flags] DIR",
		Short: "Recover all partitions of a store after a crash",
		Long: `recover opens the store in DIR, recovers every partition that was not closed in
order, closes it, and prints what was found. Whoever opens the store does the
same, when a partition is first used.

A torn tail, of bytes that were never acknowledged as durable, is cut off and kept
in the partition's folder in a file named <base offset>.<position>.quarantine.
Damage to what was durable is left as it is: see leat repair.

Exit status:
  0    every partition is recovered, whether or not tails were cut off
  1    a partition is damaged, or the store could not be opened or closed
  2    the command line is wrong
  130  interrupted: partitions that were not reached are recovered when they are
       used`,
		Example:           "  leat recover data",
		Args:              oneStore,
		ValidArgsFunction: directories,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			st, err := openExisting(args[0], nil)
			if err != nil {
				return failed(err)
			}
			defer func() { err = errors.Join(err, failed(st.Close())) }()
			damaged, clean := 0, 0
			out := cmd.OutOrStdout()
			for r, err := range st.Recover(cmd.Context()) {
				if err != nil {
					return failed(err)
				}
				if r.Err != nil {
					damaged++
				}
				if r.Clean {
					clean++
				}
				if asJSON {
					err = json.NewEncoder(out).Encode(recoveryJSON(r))
				} else if !r.Clean {
					err = printRecovery(out, r)
				}
				if err != nil {
					return failed(err)
				}
			}
			if !asJSON {
				if _, err := fmt.Fprintf(out, "%d partitions had been closed in order\n", clean); err != nil {
					return failed(err)
				}
			}
			if damaged > 0 {
				return &failure{err: fmt.Errorf("%d partitions are damaged: %w", damaged, leat.ErrCorrupt)}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print an object for every partition")
	return cmd
}

func printRecovery(out io.Writer, r leat.Recovery) error {
	_, err := fmt.Fprintf(out, "%s-%d: offsets %d to %d; %d segments, %d bytes read, %d written again\n",
		r.Topic, r.Partition, r.StartOffset, r.EndOffset, r.Segments, r.Bytes, r.BytesRewritten)
	for _, c := range r.Cuts {
		if err == nil {
			_, err = fmt.Fprintf(out, "  %v\n", c)
		}
	}
	if r.Shortened && err == nil {
		_, err = fmt.Fprintf(out, "  records that may have been read are gone: a new leader epoch began at offset %d\n", r.EndOffset)
	}
	if r.Err != nil && err == nil {
		_, err = fmt.Fprintf(out, "  damaged: %v\n", r.Err)
	}
	return err
}

// recoveryJSON is a recovery as --json prints it.
func recoveryJSON(r leat.Recovery) any {
	type cut struct {
		Path       string `json:"path"`
		Position   int64  `json:"position"`
		Offset     int64  `json:"offset"`
		Bytes      int64  `json:"bytes"`
		Quarantine string `json:"quarantine"`
		Reason     string `json:"reason"`
	}
	cuts := []cut{}
	for _, c := range r.Cuts {
		cuts = append(cuts, cut{c.Path, c.Position, c.Offset, c.Bytes, c.Quarantine, fmt.Sprint(c.Reason)})
	}
	o := map[string]any{
		"topic": r.Topic, "partition": r.Partition, "clean": r.Clean, "start": r.StartOffset, "end": r.EndOffset,
		"segments": r.Segments, "bytes": r.Bytes, "rewritten": r.BytesRewritten, "cut": r.BytesCut,
		"cuts": cuts, "rebuilt": append([]string{}, r.Rebuilt...), "shortened": r.Shortened, "ms": r.Duration.Milliseconds(),
	}
	if r.Err != nil {
		o["error"] = r.Err.Error()
	}
	return o
}
