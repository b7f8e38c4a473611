package vfs_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Data files are reached through this package only, or the simulator would not
// see them. These directories (the root is "") hold the packages that have data
// files, with those below them.
var bound = []string{"compress", "codec", "index", "segment", "log"}

// allowed are the files that may import something all the same, with the
// reason.
var allowed = map[string]string{}

func TestOnlyThisPackageTouchesTheSystem(t *testing.T) {
	root := moduleRoot(t)
	files := 0
	check := func(path string) {
		rel, err := filepath.Rel(root, path)
		require.NoError(t, err)
		files++
		for _, imported := range forbidden(t, path) {
			require.NotEmpty(t, allowed[filepath.ToSlash(rel)],
				"%s imports %s: use internal/vfs", rel, imported)
		}
	}
	top, err := os.ReadDir(root)
	require.NoError(t, err)
	for _, e := range top {
		if product(e.Name()) {
			check(filepath.Join(root, e.Name()))
		}
	}
	for _, dir := range bound {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, e fs.DirEntry, err error) error {
			switch {
			case os.IsNotExist(err):
				return nil // not built yet
			case err != nil:
				return err
			case e.Name() == "testdata":
				return fs.SkipDir
			case !e.IsDir() && product(e.Name()):
				check(path)
			}
			return nil
		})
		require.NoError(t, err)
	}
	t.Logf("%d files", files)

	// The check itself, on a file that is known to import both.
	require.Equal(t, []string{"os", "golang.org/x/sys/unix"},
		forbidden(t, filepath.Join(root, "internal", "vfs", "lock_unix.go")))
}

func product(name string) bool {
	return strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
}

// forbidden lists what a file imports and should not.
func forbidden(t *testing.T, path string) (list []string) {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	require.NoError(t, err)
	for _, i := range f.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		require.NoError(t, err)
		if p == "os" || p == "syscall" || p == "io/ioutil" || strings.HasPrefix(p, "golang.org/x/sys/") {
			list = append(list, p)
		}
	}
	return list
}

func moduleRoot(t *testing.T) string {
	dir, err := os.Getwd()
	require.NoError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		require.NotEqual(t, dir, parent, "no go.mod")
		dir = parent
	}
}
