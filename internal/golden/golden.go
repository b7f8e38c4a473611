// Package golden finds and decodes the data written by Apache Kafka's own
// classes that this project is compared with.
//
// The full set lies beside the project, in ../shared/golden. It is too large to
// commit, so a small copy of the essential cases lies in testdata/golden, and a
// fresh clone tests against that one. Both have the same layout; the small one
// has fewer files and shorter lists, and its larger sidecars are compressed
// (name.json.gz), which Bytes and JSON undo. Nothing in either is ever written:
// tests work on copies (CopyDir).
package golden

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

const module = "module github.com/leatlog/leat\n"

// root is the directory of the project's go.mod. Tests run in the directory of
// their package, so it is found by going up; nested modules (the tool, some
// examples) have a go.mod of another name, and are passed by. It is not found
// through runtime.Caller, which knows no directory under -trimpath.
var root = sync.OnceValue(func() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(mod, []byte(module)) {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
})

func full() string  { return filepath.Join(root(), "..", "shared", "golden") }
func small() string { return filepath.Join(root(), "testdata", "golden") }

// Full tells whether the full set is there. If not, Dir is the small copy.
func Full() bool {
	if root() == "" {
		return false
	}
	// The README is asked for, not the directory, so that an unrelated
	// folder of that name beside a clone is not taken for the set.
	_, err := os.Stat(filepath.Join(full(), "README.md"))
	return err == nil
}

func dir() string {
	if Full() {
		return full()
	}
	return small()
}

// Dir is the absolute path of the golden data, read-only to everybody.
func Dir(t testing.TB) string {
	t.Helper()
	if root() == "" {
		t.Fatal("golden: no go.mod of the project above the working directory")
	}
	return dir()
}

// Path is the absolute path of a golden file or folder.
func Path(t testing.TB, path ...string) string {
	t.Helper()
	return filepath.Join(append([]string{Dir(t)}, path...)...)
}

// Has tells whether a file or folder is there, for tests over lists of cases to
// leave out those that are not in the small copy.
func Has(path ...string) bool {
	if root() == "" {
		return false
	}
	name := filepath.Join(append([]string{dir()}, path...)...)
	if _, err := os.Stat(name); err == nil {
		return true
	}
	_, err := os.Stat(name + ".gz")
	return err == nil
}

// Bytes is the content of a golden file; the caller may write to the slice.
func Bytes(t testing.TB, path ...string) []byte {
	t.Helper()
	b, err := read(Path(t, path...))
	if err != nil {
		t.Fatalf("golden: %v", err)
	}
	return b
}

func read(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	packed, gone := os.ReadFile(name + ".gz")
	if gone != nil {
		return nil, err
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// JSON decodes a golden file into one of the types of this package, or one of
// the caller's. Fields must be integers, not any: a 64-bit value does not
// survive float64.
func JSON(t testing.TB, into any, path ...string) {
	t.Helper()
	if err := json.Unmarshal(Bytes(t, path...), into); err != nil {
		t.Fatalf("golden: %s: %v", filepath.Join(path...), err)
	}
}

// CopyDir copies a golden folder, with everything in it, to a new temporary
// directory, and returns its path. The copy is writable for its owner alone
// (0700, 0600), as Leat's own files are, whatever the modes of the original.
func CopyDir(t testing.TB, path ...string) string {
	t.Helper()
	from, to := Path(t, path...), t.TempDir()
	err := filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel == "." {
				return os.Chmod(to, 0o700)
			}
			return os.Mkdir(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
	if err != nil {
		t.Fatalf("golden: copy %s: %v", filepath.Join(path...), err)
	}
	return to
}
