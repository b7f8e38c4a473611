package leat

import (
	"context"
	"fmt"
	"io"
	"slices"
)

// Export writes what groups have committed, as text that Import and Kafka's
// kafka-consumer-groups --from-file read: of one group, a line "topic,partition,offset"
// for each partition; of several, or without any named of all, a line
// "group,topic,partition,offset", the group in quotes, as in any CSV, if it needs them.
// Metadata, times and leader epochs are not in it. ErrUnknownGroup: one that is named
// is not there.
func (g *Groups) Export(ctx context.Context, w io.Writer, groups ...string) error {
	named := len(groups) > 0
	for _, group := range groups {
		if err := checkGroup(group); err != nil {
			return err
		}
	}
	if !named {
		var err error
		if groups, err = g.List(ctx); err != nil {
			return err
		}
	}
	var text []byte
	for _, group := range groups {
		if err := ctx.Err(); err != nil {
			return err
		}
		all, err := g.offsets(ctx, group)
		if err != nil {
			return err
		}
		for i := range all {
			front := group
			if named && len(groups) == 1 {
				front = ""
			}
			text = appendOffsetLine(text, front, Position{Topic: all[i].tp.Topic, Partition: all[i].tp.Partition, Offset: all[i].offset})
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
		text = text[:0]
	}
	return nil
}

// ImportOptions are for Groups.Import.
type ImportOptions struct {
	// Group is whose the offsets are when the text names no group. It is an error if
	// it does.
	Group  string
	DryRun bool // check all, and change nothing
}

// Import commits what Export, or Kafka's tool, has written, and tells what changes,
// in the order of the text. All of it is checked before anything is committed: a line
// that is not of the form, a partition that comes twice or that there is not, an offset
// beyond the high watermark (*OffsetError) is an error that names the line, and a group
// that has members is ErrGroupNotEmpty. Offsets below the log start offset are allowed.
// What a group has committed elsewhere stays.
//
// The offsets of a group are one batch. An error that comes up while that is written,
// of a full disk for instance, leaves the groups before it done; the changes that are
// returned with it are theirs.
func (g *Groups) Import(ctx context.Context, r io.Reader, o ImportOptions) ([]OffsetChange, error) {
	if g.store.follow != nil && !o.DryRun {
		return nil, ErrReadOnly
	}
	if o.Group != "" {
		if err := checkGroup(o.Group); err != nil {
			return nil, err
		}
	}
	lines, err := readGroupLines(r, o.Group)
	if err != nil {
		return nil, err
	}
	byGroup := map[string][]OffsetChange{}
	var groups []string
	for _, x := range lines {
		if byGroup[x.group] == nil {
			groups = append(groups, x.group)
		}
		byGroup[x.group] = append(byGroup[x.group], OffsetChange{Group: x.group, Topic: x.position.Topic, Partition: x.position.Partition, To: x.position.Offset})
	}
	for _, group := range slices.Sorted(slices.Values(groups)) {
		release, err := g.holdUnless(ctx, group, o.DryRun)
		if err != nil {
			return nil, err
		}
		defer release()
	}
	done := make([]OffsetChange, 0, len(lines))
	for _, x := range lines {
		c, err := g.importOne(ctx, &x)
		if err != nil {
			return nil, onLine(x.line, err)
		}
		done = append(done, c)
	}
	if o.DryRun {
		return done, nil
	}
	for i, group := range groups {
		if err := g.store.commitOffsets(ctx, group, positionsOf(byGroup[group]), nil); err != nil {
			return slices.DeleteFunc(done, func(c OffsetChange) bool { return !slices.Contains(groups[:i], c.Group) }),
				within(err, "import of group %.300q, number %d of %d", group, i+1, len(groups))
		}
	}
	return done, nil
}

// importOne checks a line.
func (g *Groups) importOne(ctx context.Context, x *groupOffsetLine) (c OffsetChange, err error) {
	if err := ctx.Err(); err != nil {
		return c, err
	}
	p := x.position
	q, err := g.partition(p.Topic, p.Partition)
	if err != nil {
		return c, err
	}
	l, err := q.use()
	if err != nil {
		return c, err
	}
	if end := l.Visible(false); p.Offset > end {
		return c, &OffsetError{Topic: p.Topic, Partition: p.Partition, Offset: p.Offset, Start: l.LogStartOffset(), End: end}
	}
	at, err := g.Fetch(ctx, x.group, false, p)
	if err != nil {
		return c, fmt.Errorf("group %.300q: %w", x.group, err)
	}
	return OffsetChange{Group: x.group, Topic: p.Topic, Partition: p.Partition, From: at[0].Offset, To: p.Offset}, nil
}
