package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leatlog/leat"
)

// What a shell is told when it asks how a word may go on. It hears of no error:
// there is just nothing to offer.

// completeTopic offers the topics of the store for the first argument.
func completeTopic(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return completeTopics(cmd, args, word)
}

// completeTopics offers the topics that are not among the arguments yet.
func completeTopics(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	var names []string
	dir, _ := cmd.Flags().GetString("dir")
	st, err := leat.OpenReadOnly(storeDir(dir), nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer st.Close()
	for t := range st.Topics() {
		if name := t.Name(); strings.HasPrefix(name, word) && !slices.Contains(args, name) && (word != "" || !isInternal(name)) {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completePartition offers the partitions of the topic that is the first
// argument.
func completePartition(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []string
	dir, _ := cmd.Flags().GetString("dir")
	st, err := leat.OpenReadOnly(storeDir(dir), nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer st.Close()
	if t, err := st.Topic(args[0]); err == nil {
		for p := range t.Partitions() {
			if id := digits(p.ID()); strings.HasPrefix(id, word) {
				ids = append(ids, id)
			}
		}
	}
	return ids, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completeGroup offers the groups of the store for the first argument.
func completeGroup(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return completeGroups(cmd, args, word)
}

// completeGroups offers the groups that are not among the arguments yet.
func completeGroups(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	dir, _ := cmd.Flags().GetString("dir")
	st, err := leat.OpenReadOnly(storeDir(dir), nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer st.Close()
	names, _ := st.Groups().List(cmd.Context())
	return slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasPrefix(name, word) || slices.Contains(args, name)
	}), cobra.ShellCompDirectiveNoFileComp
}

// completeFlagTopics offers the topics of the store as values of --topic.
func completeFlagTopics(cmd *cobra.Command) {
	_ = cmd.RegisterFlagCompletionFunc("topic", func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return completeTopics(cmd, nil, word)
	})
}

// completeGroupFlag offers the groups of the store as values of a flag.
func completeGroupFlag(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	return completeGroups(cmd, nil, word)
}
