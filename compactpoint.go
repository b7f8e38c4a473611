package leat

import (
	"bytes"
	"context"

	"github.com/leatlog/leat/log"
)

// How far each partition was cleaned is in cleaner-offset-checkpoint, Kafka's
// file: below that offset, of each key only the latest record is there, as of
// then. Too low costs time. Too high would be a fault: a tombstone in what was
// never cleaned could go before the records that it deletes. So it goes down
// before records are taken back (Store.checkpoint is called then), and up only
// when none have been since the cleaning began.

// cleaned is the first offset of an open log that was never cleaned, -1 if that is
// not known. What lies beyond the log's end, or below its start, is not believed.
func (c *checkpoints) cleaned(tp log.TopicPartition, l *log.Log) int64 {
	c.Lock()
	defer c.Unlock()
	point, ok := c.cleaner[tp]
	if !ok || point > l.LogEndOffset() || point < l.LogStartOffset() {
		return -1
	}
	return point
}

// forgetCleaned drops what is said of a log that was opened just now, if it ends
// before that.
func (c *checkpoints) forgetCleaned(tp log.TopicPartition, l *log.Log) {
	c.Lock()
	defer c.Unlock()
	if point, ok := c.cleaner[tp]; ok && point > l.LogEndOffset() {
		delete(c.cleaner, tp)
	}
}

// saveCleaned writes down that a partition was cleaned up to an offset, unless
// records were taken back meanwhile: generation is the log's before the cleaning.
// If that cannot be written it is cleaned again some day, no more.
func (s *Store) saveCleaned(ctx context.Context, c *cleaning, generation, to int64) error {
	select {
	case s.admin <- struct{}{}: // without which nothing is truncated or reset
	case <-ctx.Done():
		return nil
	}
	defer func() { <-s.admin }()
	f := &s.found
	f.Lock()
	if c.topic.deleted.Load() || !c.current() || c.log.Generation() != generation {
		f.Unlock()
		return nil
	}
	f.cleaner[c.key()] = to
	text := log.AppendOffsetCheckpoint(nil, f.cleaner)
	f.Unlock()
	if bytes.Equal(text, f.text[cleanerText]) {
		return nil
	}
	if err := log.WriteFile(s.fsys, cleanerName, text); err != nil {
		return within(err, "%s not written", cleanerName)
	}
	f.text[cleanerText] = text
	return nil
}
