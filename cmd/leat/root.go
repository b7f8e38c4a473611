package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// The exit statuses, which the help texts promise.
const (
	exitOK          = 0
	exitFailed      = 1   // damage, a format that is not read, or an error of the system
	exitUsage       = 2   // the command line is wrong
	exitInterrupted = 130 // 128 + SIGINT, as a shell would say it
	exitPipe        = 141 // 128 + SIGPIPE: nobody reads the output any more
)

// exitHelp ends the help of every command that has not its own. A command whose
// statuses mean something else has a text of its own that begins alike.
const exitHelp = exitHead + `
  0    all was done
  1    it could not be done, or not all of it; standard error says why
  2    the command line is wrong, and nothing was done
` + exitTail

const (
	exitHead = "Exit status:"
	exitTail = `  130  interrupted (128 + the number of the signal; 141: the output was closed)`
)

// failure is an error of the work itself. Whatever else a command returns came
// from cobra, and means that the command line is wrong.
type failure struct {
	err error // nil: what was found has been reported
	// status is the exit status; 0: exitFailed.
	status int
}

func (f *failure) Error() string {
	if f.err == nil {
		return "failed"
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// failed is a failure, unless there is none, or the work was interrupted.
func failed(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return &failure{err: err}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "leat",
		Short: "Look at and look after logs that Leat or Apache Kafka has written",
		Long: `leat looks at and looks after directories in which Leat, or a stopped Apache
Kafka broker, keeps topics. There is no server: it works on the files.

Every command that works on a store takes --dir, else the directory that
$` + dirEnv + ` names, else the working directory. What only reads works beside a
process that has the store open; what writes needs the store for itself.

Output is made for people on a terminal and whole in a pipe; --json, where there
is one, is made for programs: an object a line.`,
		Example: `  export ` + dirEnv + `=data
  leat topics create orders --partitions 4 --config retention.ms=604800000
  leat topics describe
  leat stat orders
  leat dump data/orders-0`,
		Version:       version(),
		SilenceErrors: true, // run prints them
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(flagError)
	root.SetVersionTemplate("leat {{.Version}}\n")
	root.AddCommand(
		newDump(),
		newProduce(), newConsume(), newFetch(),
		newTopics(),
		newGroups(),
		newStat(),
		newCheck(),
		newCompact(),
		newRecover(), newRepair(), newBackup(),
	)
	group(root, "Topics and records:", "topics", "groups", "produce", "consume", "fetch", "stat")
	group(root, "Looking after a store:", "dump", "check", "repair", "recover", "backup", "compact")
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	root.InitDefaultVersionFlag()
	finish(root)
	return root
}

// group lists some of the commands under a title in the help of root.
func group(root *cobra.Command, title string, names ...string) {
	root.AddGroup(&cobra.Group{ID: title, Title: title})
	for _, c := range root.Commands() {
		if slices.Contains(names, c.Name()) {
			c.GroupID = title
		}
	}
}

// finish gives all commands what they have in common.
func finish(cmd *cobra.Command) {
	cmd.DisableFlagsInUseLine = true // the lines say where flags go
	cmd.InitDefaultHelpFlag()
	if cmd.Long == "" {
		cmd.Long = cmd.Short
	}
	if !strings.Contains(cmd.Long, exitHead) {
		cmd.Long = strings.TrimRight(cmd.Long, "\n") + "\n\n" + exitHelp
	}
	switch parent := cmd.Parent(); {
	case cmd.Name() == "help":
		cmd.Example = "  leat help topics create"
	case cmd.Name() == "completion":
		cmd.Example = "  leat completion bash --help"
	case parent != nil && parent.Name() == "completion":
		cmd.Example = map[string]string{
			"bash":       "  leat completion bash > /etc/bash_completion.d/leat\n  source <(leat completion bash)",
			"zsh":        "  leat completion zsh > \"${fpath[1]}/_leat\"",
			"fish":       "  leat completion fish > ~/.config/fish/completions/leat.fish",
			"powershell": "  leat completion powershell | Out-String | Invoke-Expression",
		}[cmd.Name()]
	}
	if cmd.HasSubCommands() && cmd.HasParent() {
		cmd.Args, cmd.RunE = cobra.ArbitraryArgs, runGroup
	}
	for _, c := range cmd.Commands() {
		finish(c)
	}
}

// flagError helps those who have Kafka's tools in their fingers.
func flagError(cmd *cobra.Command, err error) error {
	if cmd.Name() == "consume" && strings.Contains(err.Error(), `" for "--offset" flag`) {
		return errors.New("--offset must be a number; --from-beginning begins with the first record, and without both it is the end")
	}
	name, ok := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !ok {
		return err
	}
	switch name {
	case "bootstrap-server", "broker-list", "zookeeper":
		return fmt.Errorf("%w; there is no server, --dir says where the store is", err)
	case "max-messages":
		return fmt.Errorf("%w; --max does that", err)
	case "property", "formatter-property":
		return fmt.Errorf("%w; '%s --help' shows flags for it", err, cmd.CommandPath())
	case "to-earliest", "to-latest", "to-offset", "to-datetime", "by-duration":
		return fmt.Errorf("%w; --to takes earliest, latest, an offset, a time, or a duration ago", err)
	case "shift-by":
		return fmt.Errorf("%w; --shift does that", err)
	case "from-file":
		return fmt.Errorf("%w; 'leat groups import' does that", err)
	case "reset-offsets", "delete-offsets":
		return fmt.Errorf("%w; 'leat groups reset' moves offsets, 'leat groups delete --topic' deletes them", err)
	case "topic":
		return fmt.Errorf("%w; a topic is named without a flag", err)
	}
	for _, c := range cmd.Commands() {
		if c.Name() == name {
			return fmt.Errorf("%w; '%s' does that", err, c.CommandPath())
		}
	}
	return err
}

// runGroup is what a command does that only has commands below it.
func runGroup(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	what := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		what += "\n\nDid you mean this?\n\t" + strings.Join(near, "\n\t")
	}
	return errors.New(what)
}

// run is the tool less its process: it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	var failed *failure
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, context.Canceled):
		var s *signalled
		if errors.As(context.Cause(ctx), &s) {
			fmt.Fprintf(stderr, "leat: %v\n", s)
			return s.status()
		}
		fmt.Fprintln(stderr, "leat: interrupted")
		return exitInterrupted
	case isPipe(err):
		return exitPipe
	case errors.As(err, &failed):
		if failed.err != nil {
			fmt.Fprintf(stderr, "leat: %s\n", words(failed.err))
			if hint := advice(cmd, err); hint != "" {
				fmt.Fprintf(stderr, "leat: %s\n", hint)
			}
		}
		if failed.status != 0 {
			return failed.status
		}
		return exitFailed
	}
	fmt.Fprintf(stderr, "leat: %v\n\nUsage:\n  %s\n\nSee '%s --help'.\n", err, cmd.UseLine(), cmd.CommandPath())
	return exitUsage
}
