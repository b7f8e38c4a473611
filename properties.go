package leat

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leatlog/leat/compress"
)

// property is one setting of a topic under the name, and in the notation, that
// Kafka has for it. Settings that Kafka does not have begin with "leat.". This
// is how configurations are stored in __metadata, so a name never changes.
type property struct {
	name   string
	format func(*TopicConfig) string
	parse  func(*TopicConfig, string) error
}

var properties = []property{
	word("cleanup.policy", func(c *TopicConfig) *Cleanup { return &c.Cleanup }, parseCleanup),
	{"compression.type", formatCompression, parseCompression},
	span("delete.retention.ms", func(c *TopicConfig) *time.Duration { return &c.Compaction.TombstoneRetain }, never),
	span("flush.ms", func(c *TopicConfig) *time.Duration { return &c.FlushInterval }, never),
	number("index.interval.bytes", func(c *TopicConfig) *int32 { return &c.IndexInterval }),
	word("leat.durability", func(c *TopicConfig) *Durability { return &c.Durability }, oneOf(Synced, Written)),
	word("leat.external", func(c *TopicConfig) *External { return &c.External },
		oneOf(0, ExternalWatermark, ExternalEpochs, ExternalWatermark|ExternalEpochs)),
	number("leat.flush.bytes", func(c *TopicConfig) *int64 { return &c.FlushBytes }),
	{"leat.retention.groups",
		func(c *TopicConfig) string { return strings.Join(c.Retention.Groups, ",") },
		func(c *TopicConfig, v string) error {
			if v != "" {
				c.Retention.Groups = strings.Split(v, ",")
			}
			return nil
		}},
	span("max.compaction.lag.ms", func(c *TopicConfig) *time.Duration { return &c.Compaction.MaxLag }, never),
	number("max.message.bytes", func(c *TopicConfig) *int32 { return &c.MaxBatchBytes }),
	span("message.timestamp.after.max.ms", func(c *TopicConfig) *time.Duration { return &c.TimestampAfter }, never),
	span("message.timestamp.before.max.ms", func(c *TopicConfig) *time.Duration { return &c.TimestampBefore }, never),
	word("message.timestamp.type", func(c *TopicConfig) *TimestampType { return &c.Timestamps }, oneOf(CreateTime, LogAppendTime)),
	{"min.cleanable.dirty.ratio",
		func(c *TopicConfig) string {
			return strconv.FormatFloat(max(c.Compaction.MinDirtyRatio, 0), 'g', -1, 64)
		},
		func(c *TopicConfig, v string) (err error) {
			c.Compaction.MinDirtyRatio, err = strconv.ParseFloat(v, 64)
			if c.Compaction.MinDirtyRatio == 0 {
				c.Compaction.MinDirtyRatio = Unlimited // zero is taken for the default
			}
			return err
		}},
	span("min.compaction.lag.ms", func(c *TopicConfig) *time.Duration { return &c.Compaction.MinLag }, ""),
	number("retention.bytes", func(c *TopicConfig) *int64 { return &c.Retention.Bytes }),
	span("retention.ms", func(c *TopicConfig) *time.Duration { return &c.Retention.Age }, "-1"),
	number("segment.bytes", func(c *TopicConfig) *int64 { return &c.SegmentBytes }),
	number("segment.index.bytes", func(c *TopicConfig) *int32 { return &c.IndexBytes }),
	span("segment.ms", func(c *TopicConfig) *time.Duration { return &c.SegmentAge }, never),
}

// never is how Kafka writes a limit in milliseconds that is none: its largest
// long. Only retention.ms has -1.
const never = "9223372036854775807"

// ParseTopicConfig makes a configuration of Kafka's property names and values
// ("retention.ms": "86400000"), and of Leat's own, which begin with "leat.". What
// is not named is left to the defaults. A name that is not known, or a value out
// of range, is ErrInvalidConfig.
func ParseTopicConfig(props map[string]string) (TopicConfig, error) {
	var c TopicConfig
	for _, name := range slices.Sorted(maps.Keys(props)) {
		known, err := c.setProperty(name, props[name])
		if err != nil {
			return TopicConfig{}, err
		}
		if !known {
			return TopicConfig{}, invalidConfig("there is no property %q", name)
		}
	}
	full := c.withDefaults(TopicConfig{})
	return c, full.check()
}

// Properties is the configuration under Kafka's property names, the reverse of
// ParseTopicConfig. Defaults are filled in. Partitions are not a property.
func (c TopicConfig) Properties() map[string]string {
	full := c.withDefaults(TopicConfig{})
	props := make(map[string]string, len(properties))
	for _, p := range properties {
		props[p.name] = p.format(&full)
	}
	return props
}

// setProperty sets one field; known is false when there is none of that name.
func (c *TopicConfig) setProperty(name, value string) (known bool, err error) {
	i, found := slices.BinarySearchFunc(properties, name, func(p property, name string) int {
		return strings.Compare(p.name, name)
	})
	if !found {
		return false, nil
	}
	if err := properties[i].parse(c, strings.TrimSpace(value)); err != nil {
		return true, invalidConfig("%s is %q: %v", name, value, err)
	}
	return true, nil
}

func number[T int32 | int64](name string, field func(*TopicConfig) *T) property {
	return property{name,
		func(c *TopicConfig) string { return strconv.FormatInt(int64(*field(c)), 10) },
		func(c *TopicConfig, v string) error {
			n, err := strconv.ParseInt(v, 10, 64)
			if err == nil && int64(T(n)) != n {
				err = strconv.ErrRange
			}
			*field(c) = atLeastOne(T(n))
			return err
		}}
}

// span is a duration in milliseconds; unlimited is how Kafka writes none.
func span(name string, field func(*TopicConfig) *time.Duration, unlimited string) property {
	return property{name,
		func(c *TopicConfig) string {
			if d := *field(c); d >= 0 {
				return strconv.FormatInt(d.Milliseconds(), 10)
			}
			return unlimited
		},
		func(c *TopicConfig, v string) error {
			ms, err := strconv.ParseInt(v, 10, 64)
			switch {
			case err != nil:
				return err
			case v == unlimited || ms > math.MaxInt64/int64(time.Millisecond):
				// Three centuries, and what does not fit a Duration, are no limit.
				*field(c) = Unlimited
			case ms < 0:
				return fmt.Errorf("negative")
			case ms == 0 && name == "min.compaction.lag.ms":
				*field(c) = 0
			default:
				*field(c) = time.Duration(atLeastOne(ms)) * time.Millisecond
			}
			return nil
		}}
}

// atLeastOne keeps a zero of Kafka's, which means zero, from being taken for
// Leat's, which means the default.
func atLeastOne[T int32 | int64](n T) T {
	if n == 0 {
		return 1
	}
	return n
}

func word[T fmt.Stringer](name string, field func(*TopicConfig) *T, parse func(string) (T, error)) property {
	return property{name,
		func(c *TopicConfig) string { return (*field(c)).String() },
		func(c *TopicConfig, v string) (err error) {
			*field(c), err = parse(v)
			return err
		}}
}

func oneOf[T fmt.Stringer](values ...T) func(string) (T, error) {
	return func(s string) (T, error) {
		for _, v := range values {
			if v.String() == s {
				return v, nil
			}
		}
		var zero T
		return zero, fmt.Errorf("allowed are %v", values)
	}
}

// parseCleanup takes the two policies in either order, with spaces, as Kafka's
// lists may be written.
func parseCleanup(s string) (Cleanup, error) {
	s = strings.ReplaceAll(s, " ", "")
	if s == "compact,delete" || s == "delete,compact" {
		return CleanupCompactDelete, nil
	}
	return oneOf(CleanupDelete, CleanupCompact)(s)
}

// formatCompression calls None "producer", which is Kafka's name for keeping what
// the producer chose: what Leat does with raw batches always.
func formatCompression(c *TopicConfig) string {
	if c.Compression == None {
		return "producer"
	}
	return c.Compression.String()
}

func parseCompression(c *TopicConfig, s string) (err error) {
	if s == "producer" || s == "uncompressed" {
		c.Compression = None
		return nil
	}
	c.Compression, err = compress.Parse(s)
	return err
}
