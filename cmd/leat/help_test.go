package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

// walkCommands visits every command there is.
func walkCommands(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, c := range cmd.Commands() {
		walkCommands(c, visit)
	}
}

// TestHelp: each command says what it does, by examples too, what its flags are,
// and how it exits.
func TestHelp(t *testing.T) {
	n := 0
	walkCommands(newRoot(), func(cmd *cobra.Command) {
		n++
		path := cmd.CommandPath()
		t.Run(path, func(t *testing.T) {
			require.NotEmpty(t, cmd.Short)
			require.Regexp(t, `^[A-Z].*[^.]$`, cmd.Short)
			require.NotEmpty(t, cmd.Example)
			for line := range strings.Lines(cmd.Example) {
				require.True(t, strings.HasPrefix(line, "  "), "%q", line)
			}
			require.Contains(t, cmd.Example, "leat ")
			require.Equal(t, 1, strings.Count(cmd.Long, exitHead))
			cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
				require.NotEmpty(t, f.Usage, "--%s", f.Name)
				require.LessOrEqual(t, len(f.Usage), 120, "--%s", f.Name)
			})
			for line := range strings.Lines(cmd.Long) {
				require.LessOrEqual(t, len(line), 120, "%q", line)
			}
		})
	})
	require.Greater(t, n, 10)

	// What is printed is what the tree says.
	for _, args := range [][]string{{"topics", "create", "--help"}, {"help", "topics", "create"}} {
		out := good(t, args...)
		require.Contains(t, out, "Examples:\n  leat topics create orders\n")
		require.Contains(t, out, "\n  retention.ms=604800000\n")
		require.Contains(t, out, "--replication-factor")
		require.Contains(t, out, "\n  2    the command line is wrong")
	}
	require.Contains(t, good(t, "topics"), "Available Commands:")
	require.Regexp(t, `(?s)\nTopics and records:\n.*  topics .*\nLooking after a store:\n.*  dump .*\nAdditional Commands:\n  completion .*\n  help `, good(t))
	require.Regexp(t, `^leat \S+.*, go1\.\d+\S* \S+/\S+\n$`, good(t, "--version"))
}

// TestCompletion: shells get scripts, and are told of topics, partitions and
// properties.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		require.Contains(t, good(t, "completion", shell), "__complete")
	}
	dir := newStore(t)
	good(t, "topics", "create", "order-lines", "--dir", dir)
	offered := func(args ...string) []string {
		t.Helper()
		r := tool(t, append([]string{"__complete"}, args...)...)
		require.Equal(t, exitOK, r.status, r.stderr)
		list := strings.Split(r.stdout, "\n")
		for i, w := range list {
			if strings.HasPrefix(w, ":") {
				return list[:i]
			}
		}
		require.Fail(t, "no directive", r.stdout)
		return nil
	}
	require.Equal(t, []string{"order-lines", "orders"}, offered("stat", "--dir", dir, ""))
	require.Equal(t, []string{"orders"}, offered("topics", "alter", "--dir", dir, "orders"))
	require.Equal(t, []string{"order-lines"}, offered("topics", "delete", "--dir", dir, "orders", ""))
	require.Equal(t, []string{"0", "1"}, offered("stat", "--dir", dir, "orders", "--partition", ""))
	require.Empty(t, offered("groups", "describe", "--dir", dir, ""))
	for _, group := range []string{"mailer", "mirror", "billing"} {
		good(t, "groups", "reset", group, "--to", "latest", "--topic", "orders", "--execute", "--dir", dir)
	}
	require.Equal(t, []string{"billing", "mailer", "mirror"}, offered("groups", "describe", "--dir", dir, ""))
	require.Equal(t, []string{"mirror"}, offered("groups", "delete", "--dir", dir, "mailer", "m"))
	require.Equal(t, []string{"mailer", "mirror"}, offered("consume", "orders", "--dir", dir, "--group", "m"))
	require.Empty(t, offered("groups", "reset", "--dir", dir, "mailer", ""))
	require.Equal(t, []string{"order-lines"}, offered("consume", "--dir", dir, "--group", "m", "orders", ""))
	require.Equal(t, []string{"order-lines", "orders"}, offered("groups", "reset", "--dir", dir, "mailer", "--topic", "o"))
	require.Equal(t, []string{"order-lines", "orders"}, offered("stat", "--dir", dir, ""), "and no internal one")
	require.Empty(t, offered("stat", "--dir", dir+"-not", ""))
	require.Empty(t, offered("topics", "create", "--dir", dir, ""))
	require.Contains(t, offered("topics", "create", "--config", ""), "retention.ms=")
	require.Contains(t, offered("topics", "alter", "--delete-config", ""), "retention.ms")
	t.Setenv(dirEnv, dir)
	require.Equal(t, []string{"order-lines", "orders"}, offered("topics", "describe", "o"))
	require.Equal(t, []string{"topics"}, strings.Fields(strings.Join(offered("top"), " "))[:1])
}
