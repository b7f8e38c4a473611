package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/leatlog/leat"
)

// exitUnchecked is the status of a check that could not look at everything.
const exitUnchecked = 2

func newCheck() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check [flags] [DIR]",
		Short: "Find damage in a store, or in the folder of one partition",
		Long: `check reads everything in DIR, which is a store or the folder of one partition,
of Leat or of a stopped Apache Kafka broker, and says what is wrong with it. It
changes nothing, and needs no right to write. Without DIR it is --dir that counts.

Every batch is read: its CRC, its records, its offsets, its leader epoch. Sealed
files are compared with segments.sum; indexes, transaction indexes and producer
snapshots with the batches; checkpoints and leat.state with the log; folders with
the record of topics. Without segments.sum (Kafka writes none) the header bytes
that no CRC covers are checked by the offsets around them and by
leader-epoch-checkpoint; where compaction has left gaps between offsets, a base
offset that stays within such a gap cannot be told from the right one.

Each finding is a line on standard output:
  damage   a file says what is not true, or lacks what was durable
  notice   nothing to worry about: what a crash has left and the next open
           settles, files that are missing and made anew, files of others
With --json it is an object a line, with a kind that stays the same from version
to version, and numbers where there are any.

A store that a process has open for writing is not checked: what is found in
files that are being written proves nothing. Check a backup of it.

Exit status:
  0    sound; there may be notices
  1    damaged
  2    something could not be looked at, standard error says what, and the rest
       is sound; or the store is open; or the command line is wrong
  130  interrupted (128 + the number of the signal)`,
		Example: `  leat check data
  leat check data/orders-0
  leat check --json data | jq -r 'select(.severity == "damage") | .path'`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("one directory at a time, not %d", len(args))
			}
			return nil
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		DisableFlagsInUseLine: true,
	}
	dir := addDir(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, a line for each finding")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		at := storeDir(*dir)
		if len(args) > 0 {
			at = args[0]
		}
		c := &checkRun{dir: at, out: bufio.NewWriter(cmd.OutOrStdout()), stderr: cmd.ErrOrStderr(), json: asJSON}
		return c.run(cmd.Context())
	}
	return cmd
}

// checkRun is one run of the command.
type checkRun struct {
	dir    string
	out    *bufio.Writer
	stderr io.Writer
	json   bool
	bar    *progress

	damage, notices, unchecked int
	bytes                      int64
}

func (c *checkRun) run(ctx context.Context) error {
	c.bar = newProgress(c.stderr, "check", -1)
	err := c.findings(ctx)
	c.bar.end()
	if err == nil {
		err = c.summary()
	}
	switch {
	case err != nil && errors.As(err, new(*failure)):
		return err
	case err != nil:
		return failed(err)
	case c.damage > 0:
		return &failure{}
	case c.unchecked > 0:
		return &failure{status: exitUnchecked}
	}
	return nil
}

// findings prints what is found, as it is found.
func (c *checkRun) findings(ctx context.Context) error {
	o := &leat.CheckOptions{Progress: func(done, total int64) {
		c.bytes = total
		c.bar.set(done, total)
	}}
	for f, err := range leat.Check(ctx, c.dir, o) {
		c.bar.clear()
		switch {
		case errors.Is(err, context.Canceled):
			return err
		case errors.Is(err, leat.ErrLocked):
			// What was found so far may be what was being written.
			return &failure{err: err, status: exitUnchecked}
		case errors.Is(err, fs.ErrNotExist) && c.damage+c.notices+c.unchecked == 0 && c.bytes == 0:
			return &failure{err: err, status: exitUnchecked} // there is nothing to be checked
		case err != nil:
			c.unchecked++
			fmt.Fprintf(c.stderr, "leat: %s\n", words(err))
			continue
		case f.Severity == leat.SeverityDamage:
			c.damage++
		default:
			c.notices++
		}
		if err := c.print(f); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

func (c *checkRun) print(f leat.Finding) error {
	if c.json {
		return c.printJSON(newFinding(f))
	}
	fmt.Fprintln(c.out, f)
	return c.out.Flush()
}

func (c *checkRun) printJSON(v any) error {
	e := json.NewEncoder(c.out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	return c.out.Flush()
}

// summary is the last line.
func (c *checkRun) summary() error {
	if c.json {
		return c.printJSON(checkSummary{Dir: c.dir, Sound: c.damage == 0 && c.unchecked == 0,
			Damage: c.damage, Notices: c.notices, Unchecked: c.unchecked, Bytes: c.bytes})
	}
	verdict := "sound"
	switch {
	case c.damage > 0:
		verdict = fmt.Sprintf("damaged in %s", count(c.damage, "place"))
		if c.unchecked > 0 {
			verdict += fmt.Sprintf(", and %s could not be looked at", count(c.unchecked, "thing"))
		}
	case c.unchecked > 0:
		verdict = fmt.Sprintf("%s could not be looked at, the rest is sound", count(c.unchecked, "thing"))
	}
	fmt.Fprintf(c.out, "%s: %s; %s, %d bytes of log files\n", c.dir, verdict, count(c.notices, "notice"), c.bytes)
	if err := c.out.Flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// clear takes the bar off the terminal for a line of output.
func (p *progress) clear() {
	if p != nil {
		_ = p.bar.Clear()
	}
}

// finding is a finding as JSON. Numbers that say nothing are left out.
type finding struct {
	Severity  string `json:"severity"`
	Kind      string `json:"kind"`
	Topic     string `json:"topic,omitempty"`
	Partition *int32 `json:"partition,omitempty"`
	Path      string `json:"path"`
	Position  *int64 `json:"position,omitempty"`
	End       *int64 `json:"end,omitempty"`
	Offset    *int64 `json:"offset,omitempty"`
	Next      *int64 `json:"next,omitempty"`
	What      string `json:"what"`
	Repair    string `json:"repair,omitempty"`
}

func newFinding(f leat.Finding) finding {
	return finding{
		Severity: f.Severity.String(), Kind: string(f.Kind), Topic: f.Topic, Partition: known(f.Partition), Path: f.Path,
		Position: known(f.Position), End: known(f.End), Offset: known(f.Offset), Next: known(f.Next), What: f.What, Repair: f.Repair,
	}
}

func known[T int32 | int64](n T) *T {
	if n < 0 {
		return nil
	}
	return &n
}

type checkSummary struct {
	Dir       string `json:"dir"`
	Sound     bool   `json:"sound"`
	Damage    int    `json:"damage"`
	Notices   int    `json:"notices"`
	Unchecked int    `json:"unchecked"`
	Bytes     int64  `json:"bytes"`
}
