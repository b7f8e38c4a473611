package main

import (
	"cmp"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/leatlog/leat"
)

// dirEnv is the variable that names the store when --dir does not.
const dirEnv = "LEAT_DIR"

// addDir gives a command the flag that all commands have that work on a store.
func addDir(cmd *cobra.Command) *string {
	dir := cmd.Flags().String("dir", "", "`directory` of the store (default $"+dirEnv+", else the working directory)")
	_ = cmd.MarkFlagDirname("dir")
	return dir
}

// storeDir is the directory that is meant.
func storeDir(flag string) string { return cmp.Or(flag, os.Getenv(dirEnv), ".") }

// openExisting opens a store for writing. A directory that has none is an error:
// a mistyped name must not make one. Without a Logger in o, warnings go to
// standard error.
func openExisting(dir string, o *leat.Options) (*leat.Store, error) {
	probe, err := leat.OpenReadOnly(dir, nil)
	if err != nil {
		return nil, err
	}
	if err := probe.Close(); err != nil {
		return nil, err
	}
	var own leat.Options
	if o != nil {
		own = *o
	}
	if own.Logger == nil {
		own.Logger = warnings(os.Stderr)
	}
	own.LockWait = cmp.Or(own.LockWait, lockWait)
	return leat.Open(dir, &own)
}

// lockWait is how long a command waits for the store: a consume --group that follows
// has it for moments only. It bounds, too, how long Ctrl-C is not noticed.
const lockWait = 250 * time.Millisecond

// openReading opens a store for reading, also while another process writes it.
func openReading(dir string) (*leat.Store, error) {
	return leat.OpenReadOnly(dir, &leat.Options{Logger: warnings(os.Stderr)})
}

// closing closes a store behind a command's back, whose error, if it has one, is
// what counts.
func closing(st *leat.Store, err *error) {
	if cerr := st.Close(); *err == nil {
		*err = failed(cerr)
	}
}

// warnings prints what a store has to say that its user should know.
func warnings(stderr io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(&prefixed{stderr}, &slog.HandlerOptions{
		Level: slog.LevelWarn,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
				return slog.Attr{}
			}
			return a
		},
	}))
}

// prefixed says whose lines they are. A handler writes each with one call.
type prefixed struct{ w io.Writer }

func (p *prefixed) Write(b []byte) (int, error) {
	if _, err := p.w.Write(append([]byte("leat: "), b...)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// advice says what to do about an error of a command, where something can be
// done.
func advice(cmd *cobra.Command, err error) string {
	onStore := cmd.Flags().Lookup("dir") != nil
	switch {
	case errors.Is(err, leat.ErrLocked) && cmd.Name() == "consume":
		return "end that process first; without --group consume only reads, and works beside it"
	case errors.Is(err, leat.ErrLocked):
		return "end that process first; what only reads works beside it"
	case errors.Is(err, leat.ErrUnknownTopic):
		return "'leat topics list' shows which there are"
	case errors.Is(err, leat.ErrUnknownPartition):
		return "'leat topics describe' shows which there are"
	case errors.Is(err, leat.ErrUnknownGroup):
		return "'leat groups list' shows which there are"
	case errors.Is(err, leat.ErrGroupNotEmpty):
		return "its members, in a process that has the store open, are to end first"
	case errors.Is(err, leat.ErrTopicExists):
		return "'leat topics describe' shows it, 'leat topics alter' changes it, --if-not-exists leaves it as it is"
	case errors.Is(err, leat.ErrInvalidConfig), errors.Is(err, leat.ErrInvalidTopic):
		return "" // they say what is allowed
	case errors.Is(err, leat.ErrCorrupt), errors.Is(err, leat.ErrFailed):
		return "'leat check DIR' looks at everything, 'leat repair DIR' shows what could be done"
	case errors.Is(err, leat.ErrNoSpace):
		return "nothing was lost; it can be done again when there is space"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, leat.ErrReadOnly):
		if onStore {
			return "a store belongs to the user that made it; what only reads needs no right to write"
		}
	case errors.Is(err, fs.ErrNotExist) && onStore:
		return "--dir, or $" + dirEnv + ", says where the store is; 'leat topics create' makes one"
	}
	return ""
}
