package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leatlog/leat"
)

func newTopicsCreate() *cobra.Command {
	var partitions, replicas int32
	var ifNotExists bool
	cmd := &cobra.Command{
		Use:   "create [flags] TOPIC",
		Short: "Create a topic",
		Long: `create makes a topic. When it has ended, the topic survives a power cut; if it is
killed, there is the whole topic or nothing of it.

It is the one command that makes a store: in the directory that --dir or
$` + dirEnv + ` names, which it makes if there is none, and says so. The working
directory becomes a store only if it is empty, or named with --dir .

` + propertiesHelp(),
		Example: `  leat topics create orders
  leat topics create orders --partitions 8 --config retention.ms=604800000 --config segment.bytes=67108864
  leat topics create users --config cleanup.policy=compact --if-not-exists
  leat topics create mail --dir /var/lib/shop --config leat.durability=written`,
		Args:              oneTopic,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	dir := addDir(cmd)
	config := addConfig(cmd)
	cmd.Flags().Int32Var(&partitions, "partitions", 1, "how many partitions, 1 to 100000")
	cmd.Flags().Int32Var(&replicas, "replication-factor", 1, "for those who have it in their fingers: 1 is all there is")
	cmd.Flags().BoolVar(&ifNotExists, "if-not-exists", false, "leave a topic of that name as it is, and be content")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		props, err := parseConfig(*config)
		if err != nil {
			return err
		}
		if replicas != 1 {
			return fmt.Errorf("--replication-factor is %d: there is one copy of each partition, in this directory; 1 is allowed", replicas)
		}
		if partitions < 1 || partitions > 100_000 {
			return fmt.Errorf("--partitions is %d: allowed are 1 to 100000", partitions)
		}
		c, err := leat.ParseTopicConfig(props)
		if err != nil {
			return refused(err)
		}
		if err := tryTopic(cmd.Context(), args[0], c); err != nil {
			return refused(err)
		}
		c.Partitions = partitions
		st, made, err := openOrMake(*dir)
		if err != nil {
			return failed(err)
		}
		defer closing(st, &err)
		if made {
			where, err := filepath.Abs(storeDir(*dir))
			if err != nil {
				where = storeDir(*dir)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "leat: made a new store in %s\n", where)
		}
		t, err := st.CreateTopic(cmd.Context(), args[0], c)
		if ifNotExists && errors.Is(err, leat.ErrTopicExists) {
			if _, terr := st.Topic(args[0]); terr == nil {
				return say(cmd, "topic %s exists, and is left as it is", args[0])
			}
		}
		if err != nil {
			return refused(err)
		}
		return say(cmd, "created topic %s", summary(t))
	}
	return cmd
}

// tryTopic finds out whether a topic can be, before a store is made for it.
func tryTopic(ctx context.Context, name string, c leat.TopicConfig) (err error) {
	st, err := leat.OpenMem(nil)
	if err != nil {
		return err
	}
	defer closing(st, &err)
	_, err = st.CreateTopic(ctx, name, c)
	return err
}

// openOrMake opens a store for writing, and makes it where that can be meant.
func openOrMake(flag string) (st *leat.Store, made bool, err error) {
	dir := storeDir(flag)
	st, err = openExisting(dir, nil)
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, leat.ErrCorrupt) {
		return st, false, err
	}
	if flag == "" && os.Getenv(dirEnv) == "" {
		list, err := os.ReadDir(dir)
		if err != nil {
			return nil, false, err
		}
		if len(list) > 0 {
			return nil, false, errors.New("the working directory is no store, and not empty: --dir . makes one of it, --dir DIR makes one elsewhere")
		}
	}
	st, err = leat.Open(dir, &leat.Options{Logger: warnings(os.Stderr)})
	return st, err == nil, err
}

// say prints a line about what was done.
func say(cmd *cobra.Command, format string, args ...any) error {
	if _, err := fmt.Fprintf(cmd.OutOrStdout(), format+"\n", args...); err != nil {
		return failed(writeError(err))
	}
	return nil
}

// summary is a topic in half a line.
func summary(t *leat.Topic) string {
	c := t.Config()
	return strings.Join(append([]string{t.Name() + ": " + partitionCount(len(t.Describe().Partitions), c)}, overrides(c)...), " ")
}

// partitionCount tells how many partitions there are: a topic that was adopted
// may have not all of those that it counts.
func partitionCount(n int, c leat.TopicConfig) string {
	if int32(n) == c.Partitions {
		return plural(n, "partition")
	}
	return fmt.Sprintf("%d of %s", n, plural(c.Partitions, "partition"))
}
