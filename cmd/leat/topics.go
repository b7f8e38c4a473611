package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leatlog/leat"
)

// newTopics is what Kafka's kafka-topics.sh and kafka-configs.sh do with topics.
func newTopics() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "topics",
		Short: "List, describe, create, alter and delete topics",
		Long: `topics does with the topics of a store what Kafka's kafka-topics.sh and
kafka-configs.sh do, with Kafka's names of properties.

list and describe change nothing and work beside a process that has the store
open. The others need the store for themselves, and say which process has it if
they cannot. The first of them that opens a directory of a stopped Kafka broker
adopts it: it makes Leat's own files there, and changes no partition.`,
		Example: `  leat topics create orders --partitions 4 --config retention.ms=604800000
  leat topics list
  leat topics describe orders
  leat topics alter orders --config retention.ms=60000 --delete-config segment.bytes
  leat topics delete orders`,
	}
	cmd.AddCommand(newTopicsList(), newTopicsDescribe(), newTopicsCreate(), newTopicsAlter(), newTopicsDelete())
	return cmd
}

// isInternal tells of a topic in which Leat or Kafka keep what they have to
// remember.
func isInternal(topic string) bool { return strings.HasPrefix(topic, "__") }

// addInternal gives a command that shows all topics the flag for internal ones.
func addInternal(cmd *cobra.Command, internal *bool) {
	cmd.Flags().BoolVar(internal, "internal", false, "internal topics, too")
}

// noTopics says that there is nothing to show.
func noTopics(cmd *cobra.Command, st *leat.Store, dir string) {
	but := ""
	for range st.Topics() {
		but = " but internal ones, which --internal shows"
		break
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "leat: no topics in %s%s\n", storeDir(dir), but)
}

// oneTopic is for commands that work on one topic.
func oneTopic(_ *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return errors.New("which topic?")
	case 1:
		return nil
	}
	return fmt.Errorf("one topic at a time, not %d", len(args))
}

// addConfig gives a command Kafka's flag for properties. It is no list with
// commas, because values have commas in them.
func addConfig(cmd *cobra.Command) *[]string {
	list := cmd.Flags().StringArray("config", nil, "a property, `name=value` as Kafka writes it; may come several times")
	_ = cmd.RegisterFlagCompletionFunc("config", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		names := propertyNames()
		for i := range names {
			names[i] += "="
		}
		return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	})
	return list
}

func propertyNames() []string { return slices.Sorted(maps.Keys(leat.TopicConfig{}.Properties())) }

// propertiesHelp lists what --config takes, with the defaults.
func propertiesHelp() string {
	props := leat.TopicConfig{}.Properties()
	var b strings.Builder
	b.WriteString("The properties and their defaults are:\n")
	for _, name := range slices.Sorted(maps.Keys(props)) {
		fmt.Fprintf(&b, "  %s=%s\n", name, props[name])
	}
	return b.String()
}

// parseConfig takes the values of --config apart.
func parseConfig(list []string) (map[string]string, error) {
	props := map[string]string{}
	for _, c := range list {
		name, value, ok := strings.Cut(c, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, fmt.Errorf("--config %q: wanted is name=value", c)
		}
		if _, twice := props[name]; twice {
			return nil, fmt.Errorf("--config: %s is there twice", name)
		}
		props[name] = value
	}
	return props, nil
}

// refused is an error of administration: where a name or a value is not allowed
// the command line is wrong, and nothing has changed.
func refused(err error) error {
	if errors.Is(err, leat.ErrInvalidConfig) || errors.Is(err, leat.ErrInvalidTopic) {
		return errors.New(words(err))
	}
	return failed(err)
}

// overrides are the properties that differ from the defaults, by name.
func overrides(c leat.TopicConfig) []string {
	var list []string
	standard := leat.TopicConfig{}.Properties()
	props := c.Properties()
	for _, name := range slices.Sorted(maps.Keys(props)) {
		if props[name] != standard[name] {
			list = append(list, name+"="+props[name])
		}
	}
	return list
}

// plural is a number of things.
func plural[T int | int32 | int64](n T, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
