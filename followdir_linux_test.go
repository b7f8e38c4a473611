package leat

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// readChild says how many records it reads where it may write nothing: it is
// another user, or the directory is mounted for reading.
func readChild(dir string, mount bool) error {
	if mount {
		runtime.LockOSThread() // which alone sees the mount
		if err := errors.Join(unix.Unshare(unix.CLONE_NEWNS),
			unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount(dir, dir, "", unix.MS_BIND, ""),
			unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")); err != nil {
			return fmt.Errorf("skip: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); !errors.Is(err, unix.EROFS) {
			return fmt.Errorf("it can be written: %v", err)
		}
	}
	st, err := OpenReadOnly(dir, nil)
	if err != nil {
		return err
	}
	n := 0
	for tp := range st.Topics() {
		for p := range tp.Partitions() {
			rd, err := p.Reader(ReaderOptions{UntilEnd: true})
			if err != nil {
				return err
			}
			for _, err := range rd.Records(ctx) {
				if err != nil {
					return err
				}
				n++
			}
			if err := rd.Close(); err != nil {
				return err
			}
		}
	}
	if err := st.Close(); err != nil {
		return err
	}
	return fmt.Errorf("%d records", n)
}

// TestFollowReadOnlyDirectory: nothing has to be writable, with a writer there,
// and without one.
func TestFollowReadOnlyDirectory(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	dir := t.TempDir()
	st, err := Open(dir, &Options{FileMode: 0o644})
	require.NoError(t, err)
	fill(t, part(t, st, "orders", TopicConfig{SegmentBytes: 4096}), 100)
	for up := dir; up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
		require.NoError(t, os.Chmod(up, 0o755))
	}
	read := func(live string) {
		said, _, stop := start(t, 65534, "read", dir)
		require.Equal(t, "100 records", said, live)
		stop()
		said, _, stop = start(t, 0, "mount", dir)
		stop()
		if len(said) < 5 || said[:5] != "skip:" {
			require.Equal(t, "100 records", said, live)
		}
	}
	read("live")
	require.NoError(t, st.Close())
	before := filesOf(t, dir)
	read("closed")
	require.Equal(t, before, filesOf(t, dir))
}
