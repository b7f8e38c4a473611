package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/leatlog/leat"
)

// from is where printing begins.
type from struct {
	leat.Start
	last int64 // so many records before the end, not offsets; 0: Start holds
}

// resolve is the place in a partition, and how many of the records from there on
// are to be left out.
func (f from) resolve(ctx context.Context, p *leat.Partition, i leat.Isolation) (start leat.Start, skip int64, err error) {
	if f.last == 0 {
		return f.Start, 0, nil
	}
	// Where offsets are missing there are fewer records than offsets: look
	// farther back until there are enough.
	for n := f.last; ; n *= 2 {
		r, err := p.Reader(leat.ReaderOptions{From: leat.LastN(n), UntilEnd: true, Isolation: i})
		if err != nil {
			return leat.Start{}, 0, err
		}
		first := r.Offset()
		at, have, err := lastBatches(ctx, r, f.last)
		if cerr := r.Close(); err == nil {
			err = cerr
		}
		switch {
		case err != nil:
			return leat.Start{}, 0, err
		case have >= f.last:
			return leat.At(at), have - f.last, nil
		case first <= p.LogStartOffset() || n > 1<<61:
			return leat.At(first), 0, nil
		}
	}
}

// lastBatches is the offset of the first of the last batches of r that together
// have n records, or of all that there are, and how many they have.
func lastBatches(ctx context.Context, r *leat.Reader, n int64) (offset, have int64, err error) {
	type count struct{ offset, records int64 }
	var window []count
	for {
		from := r.Offset()
		b, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, 0, err
		}
		// Of the first batch some records may lie before the place.
		c := count{max(from, b.BaseOffset()), int64(b.RecordCount())}
		if b.BaseOffset() < from {
			c.records = 0
			for _, err := range b.Records() {
				if err != nil {
					return 0, 0, err
				}
				c.records++
			}
		}
		window, have = append(window, c), have+c.records
		for have-window[0].records >= n {
			have -= window[0].records
			window = window[1:]
		}
	}
	if len(window) == 0 {
		return r.Offset(), 0, nil
	}
	return window[0].offset, have, nil
}

// parseTime reads what --time takes.
func parseTime(s string) (time.Time, error) {
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.UnixMilli(ms), nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return time.Now().Add(-d), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is neither a time like 2026-01-31T08:00:00Z, nor milliseconds since 1970, nor a duration ago like 5m", s)
}
