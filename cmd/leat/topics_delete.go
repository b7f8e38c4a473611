package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/leatlog/leat"
)

func newTopicsDelete() *cobra.Command {
	var yes, ifExists bool
	cmd := &cobra.Command{
		Use:   "delete [flags] TOPIC...",
		Short: "Delete topics and all their records",
		Long: `delete deletes topics with all their records. There is no way back. When it has
ended they are gone for good; if it is killed, each topic is whole, or is gone
when the store has been opened the next time.

On a terminal it says what there is in each topic, and asks. Elsewhere it deletes
nothing without --yes. If one of the topics does not exist, none is deleted.`,
		Example: `  leat topics delete orders
  leat topics delete orders-test mail-test --yes
  leat topics list | grep -- '-test$' | xargs -r leat topics delete --yes --if-exists`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("which topic?")
			}
			return nil
		},
		ValidArgsFunction: completeTopics,
	}
	dir := addDir(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&ifExists, "if-exists", false, "be content if there is no such topic")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if !yes && !canAsk(cmd) {
			return failed(errors.New("nothing is deleted without --yes where there is no terminal to ask at"))
		}
		st, err := openExisting(storeDir(*dir), nil)
		if err != nil {
			return failed(err)
		}
		defer closing(st, &err)
		var topics []*leat.Topic
		for _, name := range args {
			found, err := topicsOf(st, []string{name}, false)
			switch {
			case ifExists && errors.Is(err, leat.ErrUnknownTopic):
				if err := say(cmd, "there is no topic %s", name); err != nil {
					return err
				}
			case err != nil:
				return failed(err)
			default:
				topics = append(topics, found...)
			}
		}
		for _, t := range topics {
			if !yes {
				ok, err := askToDelete(cmd, t)
				if err != nil {
					return failed(err)
				}
				if !ok {
					return failed(fmt.Errorf("topic %s is not deleted", t.Name()))
				}
			}
			err := st.DeleteTopic(cmd.Context(), t.Name())
			if errors.Is(err, leat.ErrUnknownTopic) {
				continue // it was named twice
			}
			if err != nil {
				return failed(err)
			}
			if err := say(cmd, "deleted topic %s", t.Name()); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

// canAsk tells whether somebody sits at standard input and reads standard error.
func canAsk(cmd *cobra.Command) bool {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return false
	}
	f, ok := cmd.ErrOrStderr().(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// askToDelete says what would be lost, and wants a yes.
func askToDelete(cmd *cobra.Command, t *leat.Topic) (bool, error) {
	info, err := look(cmd.Context(), t)
	if err != nil {
		return false, err
	}
	var offsets, bytes int64
	for _, p := range info.Partitions {
		if p.LogEndOffset >= 0 {
			offsets += p.LogEndOffset - p.LogStartOffset
		}
		bytes += max(p.Bytes, 0)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Delete topic %s for good, with %s, %s and %s? [y/N] ", t.Name(),
		plural(len(info.Partitions), "partition"), plural(offsets, "offset"), plural(bytes, "byte"))
	return answer(cmd.Context(), cmd.InOrStdin(), cmd.ErrOrStderr())
}

// answer reads a line; only yes is yes.
func answer(ctx context.Context, in io.Reader, out io.Writer) (bool, error) {
	line := make(chan string, 1)
	go func() { // which may wait for as long as the process lives
		s, err := bufio.NewReader(in).ReadString('\n')
		if err != nil { // the end of the input, in the middle of a line
			s = ""
			fmt.Fprintln(out)
		}
		line <- s
	}()
	select {
	case s := <-line:
		s = strings.ToLower(strings.TrimSpace(s))
		return s == "y" || s == "yes", nil
	case <-ctx.Done():
		fmt.Fprintln(out)
		return false, ctx.Err()
	}
}
