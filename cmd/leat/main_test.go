package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// built is the tool: what users run is what is tested.
var built string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "leat")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		built = filepath.Join(dir, "leat")
		if runtime.GOOS == "windows" {
			built += ".exe"
		}
		if out, err := exec.Command("go", "build", "-o", built, ".").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%s%v\n", out, err)
			return 1
		}
		return m.Run()
	}())
}

type result struct {
	stdout, stderr string
	status         int
}

func tool(t testing.TB, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), built, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	return result{status: status(t, cmd.Run()), stdout: stdout.String(), stderr: stderr.String()}
}

func status(t testing.TB, err error) int {
	t.Helper()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	require.NoError(t, err)
	return 0
}

// sound runs a dump that must find nothing wrong.
func sound(t testing.TB, args ...string) string {
	t.Helper()
	r := tool(t, append([]string{"dump"}, args...)...)
	require.Equal(t, exitOK, r.status, "%s\n%s", args, r.stderr)
	require.Empty(t, r.stderr)
	return r.stdout
}

// object is JSON with its numbers as they were written.
type object = map[string]any

func parse(t testing.TB, b []byte) object {
	t.Helper()
	var o object
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	require.NoError(t, d.Decode(&o), "%s", b)
	require.False(t, d.More(), "%s", b)
	return o
}

// lines takes JSON output apart, which must be an object a line.
func lines(t testing.TB, out string) (list []object) {
	t.Helper()
	for line := range strings.Lines(out) {
		require.True(t, strings.HasSuffix(line, "\n"), "no whole line: %q", line)
		list = append(list, parse(t, []byte(line)))
	}
	return list
}

func number(t testing.TB, o object, name string) int64 {
	t.Helper()
	require.Contains(t, o, name)
	n, err := o[name].(json.Number).Int64()
	require.NoError(t, err, "%s", name)
	return n
}

func TestUsage(t *testing.T) {
	for _, test := range []struct {
		args   []string
		status int
		stderr []string
	}{
		{[]string{"--help"}, exitOK, nil},
		{[]string{"dump", "--help"}, exitOK, nil},
		{[]string{"dump", "-h"}, exitOK, nil},
		{[]string{"help", "dump"}, exitOK, nil},
		{nil, exitOK, nil},
		{[]string{"dump"}, exitUsage, []string{"which file or folder?", "leat dump [flags] FILE|DIR"}},
		{[]string{"dump", "a", "b"}, exitUsage, []string{"one file or folder at a time"}},
		{[]string{"dump", "--jason", "a"}, exitUsage, []string{"unknown flag: --jason", "leat dump --help"}},
		{[]string{"dump", "-x", "a"}, exitUsage, []string{"unknown shorthand flag: 'x'"}},
		{[]string{"dump", "--json=maybe", "a"}, exitUsage, []string{"--json"}},
		{[]string{"dump", "--max-bytes", "0", "a"}, exitUsage, []string{"--max-bytes must be from 61 to 2147483647"}},
		{[]string{"dump", "--max-bytes", "9999999999", "a"}, exitUsage, []string{"--max-bytes must be"}},
		{[]string{"dmp"}, exitUsage, []string{`unknown command "dmp"`}},
		{[]string{"--nothing"}, exitUsage, []string{"unknown flag: --nothing"}},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			r := tool(t, test.args...)
			require.Equal(t, test.status, r.status, r.stderr)
			if test.status == exitOK {
				require.Empty(t, r.stderr)
				require.Contains(t, r.stdout, "Exit status:")
				require.Contains(t, r.stdout, "130")
			} else {
				require.Empty(t, r.stdout)
			}
			for _, s := range test.stderr {
				require.Contains(t, r.stderr, s)
			}
		})
	}
	require.Contains(t, tool(t, "dump", "--help").stdout, "Examples:\n  leat dump data/orders-0\n")
}
