package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/leatlog/leat"
)

const (
	topicName = "organisation"
	first     = 10095 // the next after 10094, which was the last to be applied
	last      = 10099
)

// change is what the HR system says has happened to a unit of the organisation.
type change struct {
	ID     int64  `json:"id"`
	Unit   string `json:"unit"`
	Name   string `json:"name,omitempty"`
	Parent string `json:"parent,omitempty"`
	Closed bool   `json:"closed,omitempty"`
}

// changeOf is the change of that number: five that were told, and as many more as a
// test wants.
func changeOf(id int64) change {
	told := [...]change{
		{Unit: "D-210", Name: "Logistics", Parent: "D-2"},
		{Unit: "D-211", Name: "Warehouse North", Parent: "D-210"},
		{Unit: "D-210", Name: "Supply Chain", Parent: "D-2"}, // renamed
		{Unit: "D-212", Name: "Fleet", Parent: "D-210"},
		{Unit: "D-211", Closed: true},
	}
	n := id - first
	c := told[n%int64(len(told))]
	c.ID = id
	if n >= int64(len(told)) {
		c.Name = fmt.Sprintf("%s (%d)", c.Name, id)
	}
	return c
}

// parse reads a change from its record. Its number is the record's offset: that is
// what makes the position a number that people of the HR system can use.
func parse(rec *leat.Record) (c change, err error) {
	if err := json.Unmarshal(rec.Value, &c); err != nil {
		return c, fmt.Errorf("change at offset %d: %w", rec.Offset, err)
	}
	if c.ID != rec.Offset {
		return c, fmt.Errorf("change at offset %d says that it is %d", rec.Offset, c.ID)
	}
	return c, nil
}

// feed does the HR system's part: it puts the changes up to last into the topic,
// those that are not in it.
func feed(ctx context.Context, dir string, last int64) (err error) {
	st, err := openStore(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	topic, err := st.Topic(topicName)
	if errors.Is(err, leat.ErrUnknownTopic) {
		topic, err = st.CreateTopic(ctx, topicName, leat.TopicConfig{Retention: leat.Retention{Age: leat.Unlimited}})
	}
	if err != nil {
		return err
	}
	p, err := topic.Partition(0)
	if err != nil {
		return err
	}
	if p.LogEndOffset() == 0 {
		// It was decided to begin with 10095: as with a log that was restored, or is
		// mirrored, there is nothing before.
		if err := p.ResetTo(first); err != nil {
			return err
		}
	}
	var records []leat.Record
	for id := p.LogEndOffset(); id <= last; id++ {
		c := changeOf(id)
		value, err := json.Marshal(c)
		if err != nil {
			return err
		}
		records = append(records, leat.Record{Key: []byte(c.Unit), Value: value})
	}
	if len(records) == 0 {
		return nil
	}
	_, err = p.Append(ctx, records...)
	return err
}
