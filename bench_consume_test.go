package leat

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"
)

// BenchmarkConsume reads 100 B records in batches of 100, warm, and ends when all
// is read. Its floor, in the same run, is a Reader of the same log: /reader.
func BenchmarkConsume(b *testing.B) {
	b.Run("reader", func(b *testing.B) { benchConsumeFloor(b, false) })
	b.Run("reader/records", func(b *testing.B) { benchConsumeFloor(b, true) })
	for _, partitions := range []int32{1, 4} {
		name := fmt.Sprintf("assign/partitions=%d", partitions)
		b.Run(name, func(b *testing.B) { benchConsume(b, partitions, 0, false) })
		b.Run(name+"/records", func(b *testing.B) { benchConsume(b, partitions, 0, true) })
	}
	b.Run("group/members=1", func(b *testing.B) { benchConsume(b, 4, 1, false) })
	b.Run("group/members=1/records", func(b *testing.B) { benchConsume(b, 4, 1, true) })
	b.Run("group/members=4", func(b *testing.B) { benchConsumeMembers(b, 4) })
}

// benchConsumed is a topic with as much in it, in all its partitions together, as
// one reader's benchmark has.
func benchConsumed(b *testing.B, partitions int32) (*Store, int64) {
	b.Helper()
	s := must[*Store](b)(Open(benchDir(b), nil))
	b.Cleanup(func() { s.Close() })
	topic := must[*Topic](b)(s.CreateTopic(context.Background(), "filled", TopicConfig{Durability: Written, Partitions: partitions}))
	rs := benchRecords(100, 100)
	records := int64(0)
	for id := range partitions {
		p := must[*Partition](b)(topic.Partition(id))
		for p.log.Load().Size() < benchFile/int64(partitions) {
			if _, err := p.Append(context.Background(), rs...); err != nil {
				b.Fatal(err)
			}
			records += 100
		}
		if err := p.Sync(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	return s, records
}

func benchConsumeFloor(b *testing.B, each bool) {
	ctx := context.Background()
	s, records := benchConsumed(b, 1)
	topic := must[*Topic](b)(s.Topic("filled"))
	p := must[*Partition](b)(topic.Partition(0))
	r := must[*Reader](b)(p.Reader(ReaderOptions{UntilEnd: true}))
	defer r.Close()
	run := func() (n int64) {
		if err := r.SeekTo(0); err != nil {
			b.Fatal(err)
		}
		if each {
			for rec, err := range r.Records(ctx) {
				if err != nil {
					b.Fatal(err)
				}
				sink += uint32(len(rec.Value))
				n++
			}
			return n
		}
		for {
			batch, err := r.Next(ctx)
			if err == io.EOF {
				return n
			}
			if err != nil {
				b.Fatal(err)
			}
			n += int64(batch.RecordCount())
		}
	}
	benchRounds(b, records, run)
}

// benchRounds runs rounds of records each, the first of them for warmth.
func benchRounds(b *testing.B, records int64, run func() int64) {
	run()
	b.ReportAllocs()
	b.SetBytes(100 * records)
	total := int64(0)
	for b.Loop() {
		total += run()
	}
	if total != records*int64(b.N) {
		b.Fatalf("%d records instead of %d", total, records*int64(b.N))
	}
	perRecord(b, int(total))
}

// benchConsume is one consumer, of a group or by hand.
func benchConsume(b *testing.B, partitions int32, members int, each bool) {
	ctx := context.Background()
	s, records := benchConsumed(b, partitions)
	c := ConsumerConfig{}
	if members > 0 {
		c = ConsumerConfig{Group: "bench", Topics: []string{"filled"}}
	}
	r := must[*Consumer](b)(s.Consumer(c))
	defer r.Close()
	if members == 0 {
		at := make([]Position, partitions)
		for i := range at {
			at[i] = Position{Topic: "filled", Partition: int32(i)}
		}
		if err := r.Assign(at...); err != nil {
			b.Fatal(err)
		}
	} else if _, err := r.Poll(ctx); err != nil {
		b.Fatal(err)
	}
	benchRounds(b, records, func() int64 {
		if err := r.SeekAll(ctx, Earliest); err != nil {
			b.Fatal(err)
		}
		return consumeN(b, r, records, each)
	})
}

// consumeN takes n records.
func consumeN(b *testing.B, r *Consumer, n int64, each bool) (got int64) {
	ctx := context.Background()
	if each {
		for rec, err := range r.Records(ctx) {
			if err != nil {
				b.Fatal(err)
			}
			sink += uint32(len(rec.Value))
			if got++; got == n {
				break
			}
		}
		return got
	}
	for got < n {
		batches, err := r.Poll(ctx)
		if err != nil {
			b.Fatal(err)
		}
		for _, batch := range batches {
			got += int64(batch.RecordCount())
		}
	}
	return got
}

// benchConsumeMembers is a group whose members have a partition and a goroutine
// each.
func benchConsumeMembers(b *testing.B, members int) {
	ctx := context.Background()
	s, records := benchConsumed(b, int32(members))
	rs := make([]*Consumer, members)
	for i := range rs {
		rs[i] = must[*Consumer](b)(s.Consumer(ConsumerConfig{Group: "bench", Topics: []string{"filled"}}))
		defer rs[i].Close()
	}
	// Until everyone has one: a Poll that has nothing to give waits, so they take turns.
	for settled := false; !settled; {
		settled = true
		for _, r := range rs {
			soon, cancel := context.WithTimeout(ctx, time.Millisecond)
			_, _ = r.Poll(soon)
			cancel()
			settled = settled && len(r.Assignment()) == 1
		}
	}
	begin := make([]chan int64, members)
	over := make(chan int64)
	for i, r := range rs {
		begin[i] = make(chan int64)
		go func() {
			for n := range begin[i] {
				if r.SeekAll(ctx, Earliest) != nil {
					b.Error("seek")
				}
				over <- consumeN(b, r, n, false)
			}
		}()
	}
	benchRounds(b, records, func() (n int64) {
		for i := range begin {
			begin[i] <- records / int64(members)
		}
		for range begin {
			n += <-over
		}
		return n
	})
	for i := range begin {
		close(begin[i])
	}
}
