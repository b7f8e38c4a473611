package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/compress"
)

const dumpExitHelp = exitHead + `
  0    all was read and is sound
  1    something is damaged, of a format that is not read, or cannot be read or
       written; each finding is a line on standard error
  2    the command line is wrong
` + exitTail

// defaultMaxBytes is far above what Kafka lets into a log by default (1 MiB a
// batch), and low enough for any machine.
const defaultMaxBytes = 128 << 20

func newDump() *cobra.Command {
	var asJSON bool
	var maxBytes int64
	var chosen [2]bool // of decoders
	cmd := &cobra.Command{
		Use:   "dump [flags] FILE|DIR",
		Short: "Print the files of a partition",
		Long: `dump prints what is in a file of a partition, or in all files of a partition's
folder. It works on the bare files, without a store, and writes nothing: the
directory may be read-only, or that of a stopped Apache Kafka.

It knows .log, .index, .timeindex, .txnindex and .snapshot files, checkpoints
and partition.metadata, by their names. The offsets in an index count from the
base offset in its file's name; without one there, they are shown relative.

With --json a .log file gives one JSON object a line for each batch: position
and size, all header fields, what follows from them, and the records, with keys
and values in base64. An index, a snapshot or a checkpoint gives one object. A
folder gives the batches of all its segments in order, each with "file", the
name of the segment's file; its other files are not looked at then. (Without
--json they are.)

The records of Kafka's internal topics are decoded: committed offsets and groups
in folders like __consumer_offsets-12, transactions in __transaction_state-3. A
line has the kind of the record, its key and its value, as JSON with Kafka's
names; one that cannot be decoded is shown as it is, and why. For files that lie
elsewhere there are --offsets-decoder and --transaction-log-decoder. With --json
one of these is needed, and gives each record a further member "decoded", with
"type", "keyVersion", "keyFields", "valueVersion" and "valueFields" (both null
for a tombstone), or "error".

A damaged batch is shown by its header, with crcValid false and no records, and
the dump goes on behind it: where its length says if a batch begins there, else
at the next sound batch. A batch whose CRC is good and whose records cannot be
read is shown by its header and "error". Zero bytes behind the last batch are
space that was set aside and not written, and no damage. Message formats 0 and 1
(before Kafka 0.11) are refused.

` + dumpExitHelp,
		Example: `  leat dump data/orders-0
  leat dump data/orders-0/00000000000000000000.timeindex
  leat dump --json data/orders-0 | jq -c 'select(.crcValid | not)'
  leat dump --json data/orders-0 | jq -r '.records[]? | select(.key == null) | .offset'
  leat dump data/__consumer_offsets-0
  leat dump --json --offsets-decoder data/__consumer_offsets-0 | jq -c '.records[]?.decoded'`,
		Args: func(_ *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return errors.New("which file or folder?")
			case 1:
				return nil
			}
			return fmt.Errorf("one file or folder at a time, not %d", len(args))
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if maxBytes < codec.HeaderSize || maxBytes > math.MaxInt32 {
				return fmt.Errorf("--max-bytes must be from %d to %d", codec.HeaderSize, math.MaxInt32)
			}
			var decode decoder
			for i, d := range decoders {
				if chosen[i] {
					decode = d.decode
				}
			}
			return dump(cmd.Context(), args[0], asJSON, int(maxBytes), decode, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
		DisableFlagsInUseLine: true,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, a line for each object")
	cmd.Flags().Int64Var(&maxBytes, "max-bytes", defaultMaxBytes, "largest batch, as it lies and decompressed, whose records are shown")
	for i, d := range decoders {
		cmd.Flags().BoolVar(&chosen[i], d.flag, false, d.usage)
	}
	cmd.MarkFlagsMutuallyExclusive(decoders[0].flag, decoders[1].flag)
	return cmd
}

// printer is one of the two forms of output. What it is given lives until it
// returns. Errors of writing stay in the bufio.Writer that it writes to.
type printer interface {
	open(f file)
	batch(f file, b *batch)
	sidecar(f file, s *sidecar)
}

type dumper struct {
	ctx      context.Context
	out      *bufio.Writer
	stderr   io.Writer
	print    printer
	maxBytes int
	coders   *compress.Coders
	unpacked []byte // the last batch decompressed
	found    bool   // something was reported
}

// dump returns nil if everything was sound, otherwise a *failure or what the
// context says. decode is nil unless a decoder was asked for.
func dump(ctx context.Context, path string, asJSON bool, maxBytes int, decode decoder, stdout, stderr io.Writer) error {
	d := &dumper{
		ctx: ctx, stderr: stderr, maxBytes: maxBytes,
		out:    bufio.NewWriterSize(stdout, 64<<10),
		coders: compress.New(),
	}
	defer d.coders.Close()
	info, err := os.Stat(path)
	if asJSON {
		d.print = &jsonPrinter{w: d.out, decode: decode}
	} else {
		if decode == nil && err == nil {
			decode = decoderOf(path, info.IsDir())
		}
		d.print = &textPrinter{w: d.out, decode: decode}
	}
	switch {
	case err != nil:
		err = fmt.Errorf("%s: %w", path, cause(err))
	case info.IsDir():
		err = d.folder(path, asJSON)
	default:
		f := parseName(path)
		if f.kind == unknown {
			return &failure{err: fmt.Errorf("%s: not the name of a file that dump knows (see 'leat dump --help')", path)}
		}
		err = d.file(f, info)
	}
	if flushed := d.out.Flush(); err == nil && flushed != nil {
		err = fmt.Errorf("write: %w", flushed)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case err != nil || d.found:
		return &failure{err: err}
	}
	return nil
}

// report prints a finding, in its place between the lines of the output should
// both go to a terminal, and makes the exit status that of a failure.
func (d *dumper) report(path string, pos int64, format string, args ...any) {
	d.found = true
	_ = d.out.Flush() // the error stays, and comes again
	what := fmt.Sprintf(format, args...)
	if pos >= 0 {
		what = fmt.Sprintf("position %d: %s", pos, what)
	}
	fmt.Fprintf(d.stderr, "leat: %s: %s\n", path, what)
}

// goOn is asked wherever work can take long.
func (d *dumper) goOn() error {
	if err := d.ctx.Err(); err != nil {
		return err
	}
	if _, err := d.out.Write(nil); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// file dumps one file. Only what ends the whole dump is returned: an interrupt,
// or output that cannot be written. The rest is reported.
func (d *dumper) file(f file, info os.FileInfo) error {
	if !info.Mode().IsRegular() {
		// Opening a named pipe would wait for its writer.
		d.report(f.path, -1, "not a regular file: %s", info.Mode())
		return nil
	}
	h, err := os.Open(f.path)
	if err != nil {
		d.report(f.path, -1, "%v", cause(err))
		return nil
	}
	defer h.Close()
	if info, err = h.Stat(); err != nil {
		d.report(f.path, -1, "%v", cause(err))
		return nil
	}
	f.size = info.Size()
	if f.kind != logFile {
		return d.sidecar(f, h)
	}
	d.print.open(f)
	w := &walk{d: d, f: f, in: window{r: h, size: f.size}}
	err = w.run()
	var unreadable *readError
	if errors.As(err, &unreadable) {
		d.report(f.path, unreadable.pos, "%v", cause(unreadable.err))
		return nil
	}
	return err
}

// folder dumps the files of a partition's folder, by offset.
func (d *dumper) folder(path string, logsOnly bool) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	files, segments, partition := list(path, entries)
	if segments == 0 {
		what := "no segments in it (files like 00000000000000000000.log)"
		if partition != "" {
			what += fmt.Sprintf("; is one of its folders meant, like %s?", filepath.Join(path, partition))
		}
		return fmt.Errorf("%s: %s", path, what)
	}
	for _, f := range files {
		if logsOnly && f.kind != logFile {
			continue
		}
		if err := d.goOn(); err != nil {
			return err
		}
		// Links are not followed: what a folder has is what is dumped.
		info, err := os.Lstat(f.path)
		if err != nil {
			d.report(f.path, -1, "%v", cause(err))
			continue
		}
		if err := d.file(f, info); err != nil {
			return err
		}
	}
	return nil
}

// cause is an error less the operation and path, which report names itself.
func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
