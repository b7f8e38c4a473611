package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/leatlog/leat"
)

func newBackup() *cobra.Command {
	var o leat.BackupOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "backup [flags] DIR TO",
		Short: "Copy a store, also one that is in use",
		Long: `backup makes a consistent copy of the store in DIR in the directory TO, which
must be empty or not there. The store may be open in another process, which goes
on meanwhile: the copy has what was durable when backup came by each partition.

Sealed segments are shared with the copy by hard links if TO is on the same
filesystem, and copied otherwise. Neither store ever changes a shared file, so
both can be used. A disk that damages a shared file damages both: --copy shares
nothing.

Every batch is checked on the way, and all is synced when the command ends. A
store that is damaged is not copied: see leat repair. If backup is killed, TO is
no store, and every command says so; remove it.

Exit status:
  0    the copy is whole, and survives a power cut
  1    there is no copy; standard error says why, and TO is empty
  2    the command line is wrong
  130  interrupted: there is no copy, and TO is empty`,
		Example: `  leat backup data /backup/2026-11-22
  leat backup --copy data /mnt/other/data && leat check /mnt/other/data`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return errors.New("which store, and where to?")
			}
			return nil
		},
		ValidArgsFunction: directories,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := backup(cmd.Context(), cmd, args[0], args[1], o)
			if err != nil {
				return failed(err)
			}
			out := cmd.OutOrStdout()
			if asJSON {
				return failed(json.NewEncoder(out).Encode(map[string]any{
					"topics": r.Topics, "partitions": r.Partitions, "segments": r.Segments, "linked": r.Linked, "copied": r.Copied}))
			}
			_, err = fmt.Fprintf(out, "%d partitions of %d topics in %d segments: %d bytes shared, %d bytes copied\n",
				r.Partitions, r.Topics, r.Segments, r.Linked, r.Copied)
			return failed(err)
		},
	}
	cmd.Flags().BoolVar(&o.Copy, "copy", false, "share nothing with the store")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was copied as JSON")
	return cmd
}

// backup copies a store by reading it, which takes no lock.
func backup(ctx context.Context, cmd *cobra.Command, dir, to string, o leat.BackupOptions) (r leat.BackupReport, err error) {
	st, err := leat.OpenReadOnly(dir, nil)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	bar := newProgress(cmd.ErrOrStderr(), "backup", -1)
	defer bar.end()
	o.Progress = func(p leat.BackupProgress) { bar.set(p.Done, p.Total) }
	return st.Backup(ctx, to, o)
}

// directories completes names of directories.
func directories(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// oneStore is for commands that work on one directory.
func oneStore(_ *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return errors.New("which directory?")
	case 1:
		return nil
	}
	return errors.New("one directory at a time")
}
