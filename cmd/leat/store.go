package main

import (
	"cmp"
	"errors"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/leatlog/leat"
)

// dirEnv is the variable that names the store when --dir does not.
const dirEnv = "LEAT_DIR"

// addDir gives a command the flag that all commands have that work on a store.
func addDir(cmd *cobra.Command) *string {
	dir := cmd.Flags().String("dir", "", "directory of the store (default $"+dirEnv+", else the working directory)")
	_ = cmd.MarkFlagDirname("dir")
	return dir
}

// storeDir is the directory that is meant.
func storeDir(flag string) string { return cmp.Or(flag, os.Getenv(dirEnv), ".") }

// openExisting opens a store for writing. A directory that has none is an error:
// a mistyped name must not make one.
func openExisting(dir string, o *leat.Options) (*leat.Store, error) {
	probe, err := leat.OpenReadOnly(dir, nil)
	if err != nil {
		return nil, err
	}
	if err := probe.Close(); err != nil {
		return nil, err
	}
	return leat.Open(dir, o)
}

// advice says what to do about an error, where something can be done.
func advice(err error) string {
	switch {
	case errors.Is(err, leat.ErrLocked):
		return "end that process first; what only reads works beside it"
	case errors.Is(err, leat.ErrUnknownTopic):
		return "'leat topics list' shows which there are"
	case errors.Is(err, leat.ErrCorrupt), errors.Is(err, leat.ErrFailed):
		return "'leat check DIR' looks at everything, 'leat repair DIR' shows what could be done"
	case errors.Is(err, leat.ErrNoSpace):
		return "nothing was lost; it can be done again when there is space"
	case errors.Is(err, fs.ErrNotExist):
		return "--dir, or $" + dirEnv + ", says where the store is"
	}
	return ""
}
