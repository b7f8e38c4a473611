package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/leatlog/leat"
)

func newTopicsAlter() *cobra.Command {
	var partitions int32
	var reset []string
	var ifExists bool
	cmd := &cobra.Command{
		Use:   "alter [flags] TOPIC",
		Short: "Change properties of a topic, or add partitions",
		Long: `alter changes the properties that are named with --config, puts those named with
--delete-config back to their defaults, and leaves all others as they are. With
--partitions the topic gets as many partitions as that in all; it cannot have
fewer than before. When alter has ended, the change survives a power cut; if it is
killed, all properties are changed or none, and partitions only after them.

Keys map to other partitions after their number has changed: the order of one
key's records holds before and after, not across.

What a shorter retention no longer keeps goes soon after the store is next
open, which it is now.

` + propertiesHelp(),
		Example: `  leat topics alter orders --config retention.ms=86400000 --config retention.bytes=1073741824
  leat topics alter orders --delete-config retention.bytes
  leat topics alter orders --partitions 16`,
		Args:              oneTopic,
		ValidArgsFunction: completeTopic,
	}
	dir := addDir(cmd)
	config := addConfig(cmd)
	cmd.Flags().StringArrayVar(&reset, "delete-config", nil, "`name` of a property to put back to its default; may come several times")
	_ = cmd.RegisterFlagCompletionFunc("delete-config", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return propertyNames(), cobra.ShellCompDirectiveNoFileComp
	})
	cmd.Flags().Int32Var(&partitions, "partitions", 0, "how many partitions there are to be in all")
	cmd.Flags().BoolVar(&ifExists, "if-exists", false, "be content if there is no such topic")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		props, err := parseConfig(*config)
		if err != nil {
			return err
		}
		more := cmd.Flags().Changed("partitions")
		if len(props)+len(reset) == 0 && !more {
			return errors.New("nothing to alter: --config, --delete-config or --partitions says what")
		}
		if more && partitions < 1 {
			return fmt.Errorf("--partitions is %d: allowed are 1 to 100000", partitions)
		}
		st, err := openExisting(storeDir(*dir), nil)
		if err != nil {
			return failed(err)
		}
		defer closing(st, &err)
		t, err := st.Topic(args[0])
		if ifExists && errors.Is(err, leat.ErrUnknownTopic) {
			return say(cmd, "there is no topic %s", args[0])
		}
		if err != nil {
			return failed(err)
		}
		now := t.Config().Partitions
		if more && partitions <= now {
			return fmt.Errorf("--partitions is %d: topic %s has %d already, and their number can only rise", partitions, t.Name(), now)
		}
		if len(props)+len(reset) > 0 {
			if err := t.SetProperties(cmd.Context(), props, reset...); err != nil {
				return refused(err)
			}
		}
		if more {
			if err := t.AddPartitions(cmd.Context(), partitions-now); err != nil {
				if len(props)+len(reset) > 0 {
					err = fmt.Errorf("the properties are changed, but: %w", err)
				}
				return refused(err)
			}
		}
		return say(cmd, "altered topic %s", summary(t))
	}
	return cmd
}
