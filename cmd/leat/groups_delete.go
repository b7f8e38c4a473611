package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leatlog/leat"
)

func newGroupsDelete() *cobra.Command {
	var yes, ifExists bool
	var topics []string
	cmd := &cobra.Command{
		Use:   "delete [flags] GROUP...",
		Short: "Delete groups, or what they have committed of a topic",
		Long: `delete deletes groups with all that they have committed, or with --topic only what
they have committed of these topics. There is no way back, but an import of what
'leat groups export' has written. A group whose members are consuming is not deleted.

On a terminal it says what there is of each group, and asks. Elsewhere it deletes
nothing without --yes. If one of the groups does not exist, none is deleted.`,
		Example: `  leat groups delete mailer
  leat groups delete mailer --topic orders --yes
  leat groups list --json | jq -r 'select(.group | test("-test$")).group' | xargs -r leat groups delete --yes`,
		Args:              someGroups,
		ValidArgsFunction: completeGroups,
	}
	dir := addDir(cmd)
	cmd.Flags().StringArrayVar(&topics, "topic", nil, "only what is committed of this `topic`; may come several times")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&ifExists, "if-exists", false, "be content if there is no such group")
	completeFlagTopics(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if !yes && !canAsk(cmd) {
			return failed(errors.New("nothing is deleted without --yes where there is no terminal to ask at"))
		}
		st, err := openExisting(storeDir(*dir), nil)
		if err != nil {
			return failed(err)
		}
		defer closing(st, &err)
		var groups []leat.GroupInfo
		seen := map[string]bool{}
		for _, name := range args {
			info, err := st.Groups().Describe(cmd.Context(), name)
			switch {
			case seen[name]:
			case ifExists && errors.Is(err, leat.ErrUnknownGroup):
				if err := say(cmd, "there is no group %s", name); err != nil {
					return err
				}
			case err != nil:
				return failed(err)
			default:
				groups = append(groups, info)
			}
			seen[name] = true
		}
		for i := range groups {
			if err := deleteGroup(cmd, st, &groups[i], topics, yes); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

func deleteGroup(cmd *cobra.Command, st *leat.Store, info *leat.GroupInfo, topics []string, yes bool) error {
	what := "group " + info.Group
	if len(topics) > 0 {
		what = fmt.Sprintf("offsets of group %s in %s", info.Group, strings.Join(topics, ", "))
	}
	if !yes {
		fmt.Fprintf(cmd.ErrOrStderr(), "Delete %s for good, with offsets in %s, %s behind? [y/N] ", what,
			plural(len(info.Partitions), "partition"), plural(info.Lag.Records, "record"))
		ok, err := answer(cmd.Context(), cmd.InOrStdin(), cmd.ErrOrStderr())
		if err != nil {
			return failed(err)
		}
		if !ok {
			return failed(fmt.Errorf("%s: not deleted", what))
		}
	}
	if err := removeGroup(cmd.Context(), st, info.Group, topics); err != nil {
		return failed(err)
	}
	return say(cmd, "deleted %s", what)
}

func removeGroup(ctx context.Context, st *leat.Store, group string, topics []string) error {
	if len(topics) == 0 {
		return st.Groups().Delete(ctx, group)
	}
	return st.Groups().DeleteOffsets(ctx, group, topics...)
}
