package leat

import (
	"cmp"
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
	name    string
	allowed string // values, in Kafka's notation, with their unit
	format  func(*TopicConfig) string
	// parse returns false for what is not allowed.
	parse func(*TopicConfig, string) bool
	// check refuses what a field cannot be, in Go's notation.
	check func(*TopicConfig) error
}

// properties are in order of their names.
var properties = []property{
	word("cleanup.policy", "Cleanup", func(c *TopicConfig) *Cleanup { return &c.Cleanup }, parseCleanup,
		CleanupDelete, CleanupCompact, CleanupCompactDelete),
	compressionType,
	span("delete.retention.ms", "Compaction.TombstoneRetain", func(c *TopicConfig) *time.Duration { return &c.Compaction.TombstoneRetain }, 0, never),
	span("flush.ms", "FlushInterval", func(c *TopicConfig) *time.Duration { return &c.FlushInterval }, 0, never),
	number("index.interval.bytes", "IndexInterval", func(c *TopicConfig) *int32 { return &c.IndexInterval }, 0, math.MaxInt32, limited),
	word("leat.durability", "Durability", func(c *TopicConfig) *Durability { return &c.Durability }, nil, Synced, Written),
	word("leat.external", "External", func(c *TopicConfig) *External { return &c.External }, nil,
		0, ExternalWatermark, ExternalEpochs, ExternalWatermark|ExternalEpochs),
	number("leat.flush.bytes", "FlushBytes", func(c *TopicConfig) *int64 { return &c.FlushBytes }, 1, math.MaxInt64, unlimited),
	retentionGroups,
	number("leat.retention.groups.bytes", "Retention.GroupsBytes", func(c *TopicConfig) *int64 { return &c.Retention.GroupsBytes }, 0, math.MaxInt64, unlimited),
	span("max.compaction.lag.ms", "Compaction.MaxLag", func(c *TopicConfig) *time.Duration { return &c.Compaction.MaxLag }, 1, never),
	number("max.message.bytes", "MaxBatchBytes", func(c *TopicConfig) *int32 { return &c.MaxBatchBytes }, 61, math.MaxInt32, limited),
	span("message.timestamp.after.max.ms", "TimestampAfter", func(c *TopicConfig) *time.Duration { return &c.TimestampAfter }, 0, never),
	span("message.timestamp.before.max.ms", "TimestampBefore", func(c *TopicConfig) *time.Duration { return &c.TimestampBefore }, 0, never),
	word("message.timestamp.type", "Timestamps", func(c *TopicConfig) *TimestampType { return &c.Timestamps }, nil, CreateTime, LogAppendTime),
	minDirtyRatio,
	span("min.compaction.lag.ms", "Compaction.MinLag", func(c *TopicConfig) *time.Duration { return &c.Compaction.MinLag }, 0, ""),
	number("retention.bytes", "Retention.Bytes", func(c *TopicConfig) *int64 { return &c.Retention.Bytes }, 0, math.MaxInt64, unlimited),
	span("retention.ms", "Retention.Age", func(c *TopicConfig) *time.Duration { return &c.Retention.Age }, 0, "-1"),
	number("segment.bytes", "SegmentBytes", func(c *TopicConfig) *int64 { return &c.SegmentBytes }, 1<<10, math.MaxInt32, limited),
	number("segment.index.bytes", "IndexBytes", func(c *TopicConfig) *int32 { return &c.IndexBytes }, 24, 1<<30, limited),
	span("segment.ms", "SegmentAge", func(c *TopicConfig) *time.Duration { return &c.SegmentAge }, 1, never),
}

// never is how Kafka writes a limit in milliseconds that is none: its largest
// long. Only retention.ms has -1.
const never = "9223372036854775807"

const (
	limited   = false
	unlimited = true
)

// useless are properties of Kafka's topics that mean nothing here, and why. They
// are refused, so that nobody believes that a setting copied from a broker holds.
var useless = map[string]string{
	"compression.gzip.level":                  "each codec has one level",
	"compression.lz4.level":                   "each codec has one level",
	"compression.zstd.level":                  "each codec has one level",
	"file.delete.delay.ms":                    "files are removed at once",
	"flush.messages":                          "use leat.flush.bytes or flush.ms",
	"follower.replication.throttled.replicas": "there are no replicas",
	"leader.replication.throttled.replicas":   "there are no replicas",
	"local.retention.bytes":                   "there is no remote storage",
	"local.retention.ms":                      "there is no remote storage",
	"message.downconversion.enable":           "there is one message format",
	"message.format.version":                  "there is one message format",
	"message.timestamp.difference.max.ms":     "use message.timestamp.before.max.ms and message.timestamp.after.max.ms",
	"min.insync.replicas":                     "there are no replicas",
	"preallocate":                             "space is always allocated ahead",
	"remote.log.copy.disable":                 "there is no remote storage",
	"remote.log.delete.on.disable":            "there is no remote storage",
	"remote.storage.enable":                   "there is no remote storage",
	"segment.jitter.ms":                       "segments are rolled without jitter",
	"unclean.leader.election.enable":          "there are no replicas",
}

// ParseTopicConfig makes a configuration of Kafka's property names and values
// ("retention.ms": "86400000"), and of Leat's own, which begin with "leat.". What
// is not named is left to the defaults. A name that is not known or means nothing
// here, or a value that is not allowed, is ErrInvalidConfig and says what is.
func ParseTopicConfig(props map[string]string) (TopicConfig, error) {
	var c TopicConfig
	for _, name := range slices.Sorted(maps.Keys(props)) {
		if err := c.set(name, props[name]); err != nil {
			return TopicConfig{}, err
		}
	}
	_, err := c.complete(TopicConfig{})
	return c, err
}

// ParseProperties takes a text of lines "name=value" apart, for ParseTopicConfig
// and Topic.SetProperties. Empty lines, and lines that begin with '#', are left
// out. A line without '=', or a name that comes twice, is ErrInvalidConfig.
func ParseProperties(text string) (map[string]string, error) {
	props := map[string]string{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, invalidConfig("line %d is %.80q: wanted is name=value", n, line)
		}
		if _, twice := props[name]; twice {
			return nil, invalidConfig("line %d: %s is there twice", n, name)
		}
		props[name] = strings.TrimSpace(value)
	}
	return props, nil
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

// findProperty is the property of a name, nil if there is none.
func findProperty(name string) *property {
	i, found := slices.BinarySearchFunc(properties, name, func(p property, name string) int {
		return strings.Compare(p.name, name)
	})
	if !found {
		return nil
	}
	return &properties[i]
}

// set sets one field from its property. The value is all that is looked at.
func (c *TopicConfig) set(name, value string) error {
	p := findProperty(name)
	if p == nil {
		return unknownProperty(name)
	}
	if !p.parse(c, strings.TrimSpace(value)) {
		return invalidConfig("%s is %.80q: allowed are %s", name, value, p.allowed)
	}
	return nil
}

// unknownProperty says what was meant, if that can be guessed.
func unknownProperty(name string) error {
	if why, ok := useless[name]; ok {
		return invalidConfig("%s is Kafka's and has no meaning here: %s", name, why)
	}
	names := make([]string, len(properties))
	for i, p := range properties {
		names[i] = p.name
	}
	nearest := slices.MinFunc(names, func(a, b string) int { return cmp.Compare(distance(name, a), distance(name, b)) })
	if distance(name, nearest) <= 1+min(len(name), len(nearest))/4 {
		return invalidConfig("there is no property %.80q; %s is one", name, nearest)
	}
	return invalidConfig("there is no property %.80q; there are %s", name, strings.Join(names, ", "))
}

// distance is how many characters have to be put in, left out or replaced to
// make b of a (Levenshtein). Only the beginning of a long name is looked at.
func distance(a, b string) int {
	a, b = a[:min(len(a), 64)], b[:min(len(b), 64)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// number is a number of bytes. Zero, where Kafka allows it, is one: a zero field
// would be the default.
func number[T int32 | int64](name, field string, get func(*TopicConfig) *T, low, high T, unlimited bool) property {
	allowed := fmt.Sprintf("%d to %d bytes", low, high)
	if unlimited {
		allowed += ", or -1 for no limit"
	}
	least := atLeastOne(low)
	return property{name, allowed,
		func(c *TopicConfig) string { return strconv.FormatInt(int64(*get(c)), 10) },
		func(c *TopicConfig, v string) bool {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil || (n < int64(low) || n > int64(high)) && !(unlimited && n == Unlimited) {
				return false
			}
			*get(c) = atLeastOne(T(n))
			return true
		},
		func(c *TopicConfig) error {
			if n := *get(c); (n < least || n > high) && !(unlimited && n == Unlimited) {
				return invalidConfig("%s is %d: allowed are %d to %d%s", field, n, least, high, orUnlimited(unlimited))
			}
			return nil
		}}
}

// span is a duration in milliseconds; none is how Kafka writes that there is no
// limit, empty where there must be one.
func span(name, field string, get func(*TopicConfig) *time.Duration, low int64, none string) property {
	allowed := fmt.Sprintf("whole milliseconds from %d", low)
	if none != "" {
		allowed += ", or " + none + " for no limit"
	}
	least := time.Duration(atLeastOne(low)) * time.Millisecond
	if none == "" {
		least = 0 // the default as well
	}
	return property{name, allowed,
		func(c *TopicConfig) string {
			if d := *get(c); d >= 0 {
				return strconv.FormatInt(d.Milliseconds(), 10)
			}
			return none
		},
		func(c *TopicConfig, v string) bool {
			ms, err := strconv.ParseInt(v, 10, 64)
			switch {
			case err != nil:
				return false
			case none != "" && (v == none || ms > math.MaxInt64/int64(time.Millisecond)):
				// Three centuries, and what does not fit a Duration, are no limit.
				*get(c) = Unlimited
			case ms < low || ms > math.MaxInt64/int64(time.Millisecond):
				return false
			default:
				*get(c) = max(time.Duration(ms)*time.Millisecond, least)
			}
			return true
		},
		func(c *TopicConfig) error {
			if d := *get(c); (d < least || d%time.Millisecond != 0) && !(none != "" && d == Unlimited) {
				return invalidConfig("%s is %v: allowed are whole milliseconds from %v%s", field, d, least, orUnlimited(none != ""))
			}
			return nil
		}}
}

func orUnlimited(allowed bool) string {
	if allowed {
		return ", or Unlimited (-1)"
	}
	return ""
}

// atLeastOne keeps a zero of Kafka's, which means zero, from being taken for
// Leat's, which means the default.
func atLeastOne[T int32 | int64](n T) T {
	if n == 0 {
		return 1
	}
	return n
}

// word is one of a few values. parse, if it is there, comes before their names.
func word[T interface {
	~uint8
	fmt.Stringer
}](name, field string, get func(*TopicConfig) *T, parse func(string) (T, bool), values ...T) property {
	texts := make([]string, len(values))
	for i, v := range values {
		if texts[i] = v.String(); texts[i] == "" {
			texts[i] = "nothing"
		}
	}
	allowed := strings.Join(texts, "; ")
	return property{name, allowed,
		func(c *TopicConfig) string { return (*get(c)).String() },
		func(c *TopicConfig, s string) bool {
			if parse != nil {
				if v, ok := parse(s); ok {
					*get(c) = v
					return true
				}
			}
			for _, v := range values {
				if v.String() == s {
					*get(c) = v
					return true
				}
			}
			return false
		},
		func(c *TopicConfig) error {
			if v := *get(c); !slices.Contains(values, v) {
				return invalidConfig("%s is %d: allowed are %s", field, uint8(v), allowed)
			}
			return nil
		}}
}

// parseCleanup takes the two policies in either order, with spaces, as Kafka's
// lists may be written.
func parseCleanup(s string) (Cleanup, bool) {
	s = strings.ReplaceAll(s, " ", "")
	return CleanupCompactDelete, s == "compact,delete" || s == "delete,compact"
}

// compressionType calls None "producer", which is Kafka's name for keeping what
// the producer chose: what Leat does with raw batches always. Kafka's
// "uncompressed", which takes batches apart that came compressed, is not to be
// had.
var compressionType = property{"compression.type",
	"producer (raw batches stay as they are, others are not compressed), gzip, snappy, lz4, zstd",
	func(c *TopicConfig) string {
		if c.Compression == None {
			return "producer"
		}
		return c.Compression.String()
	},
	func(c *TopicConfig, s string) bool {
		if s == "producer" {
			c.Compression = None
			return true
		}
		codec, err := compress.Parse(s)
		if err != nil || codec == None {
			return false
		}
		c.Compression = codec
		return true
	},
	func(c *TopicConfig) error {
		if !c.Compression.Valid() {
			return invalidConfig("Compression is %d: allowed are %d to %d", c.Compression, None, Zstd)
		}
		return nil
	}}

var minDirtyRatio = property{"min.cleanable.dirty.ratio", "0 to 1",
	func(c *TopicConfig) string {
		return strconv.FormatFloat(max(c.Compaction.MinDirtyRatio, 0), 'g', -1, 64)
	},
	func(c *TopicConfig, v string) bool {
		r, err := strconv.ParseFloat(v, 64)
		if err != nil || !(r >= 0 && r <= 1) {
			return false
		}
		if r == 0 {
			r = Unlimited // zero is taken for the default
		}
		c.Compaction.MinDirtyRatio = r
		return true
	},
	func(c *TopicConfig) error {
		if r := c.Compaction.MinDirtyRatio; r != Unlimited && !(r >= 0 && r <= 1) {
			return invalidConfig("Compaction.MinDirtyRatio is %v: allowed are 0 to 1%s", r, orUnlimited(true))
		}
		return nil
	}}

var retentionGroups = property{"leat.retention.groups", "names of groups, with commas between them, or nothing",
	func(c *TopicConfig) string { return strings.Join(c.Retention.Groups, ",") },
	func(c *TopicConfig, v string) bool {
		c.Retention.Groups = nil
		if v == "" {
			return true
		}
		for group := range strings.SplitSeq(v, ",") {
			if group = strings.TrimSpace(group); group == "" {
				return false
			}
			c.Retention.Groups = append(c.Retention.Groups, group)
		}
		return true
	},
	func(c *TopicConfig) error {
		for _, g := range c.Retention.Groups {
			if g == "" || strings.ContainsRune(g, ',') || g != strings.TrimSpace(g) {
				return invalidConfig("Retention.Groups has %q: a name, without a comma and outer spaces, is needed", g)
			}
		}
		return nil
	}}
