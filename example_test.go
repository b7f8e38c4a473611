package leat_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/leatlog/leat"
)

// A store in a directory: records are appended, survive, and are read.
func ExampleOpen() {
	ctx := context.Background()
	tmp, _ := os.MkdirTemp("", "leat")
	defer os.RemoveAll(tmp)
	dir := filepath.Join(tmp, "data")

	st, err := leat.Open(dir, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	orders, err := st.CreateTopic(ctx, "orders", leat.TopicConfig{Partitions: 4, Compression: leat.Zstd})
	if err != nil {
		fmt.Println(err)
		return
	}
	key := []byte("42")
	part, _ := orders.Partition(orders.PartitionFor(key))
	for _, what := range []string{"ordered", "paid", "sent"} {
		offset, err := part.Append(ctx, leat.Record{Key: key, Value: []byte(what)})
		fmt.Println(offset, err) // on stable storage when it returns
	}
	st.Close()

	st, _ = leat.Open(dir, nil)
	defer st.Close()
	orders, _ = st.Topic("orders")
	part, _ = orders.Partition(orders.PartitionFor(key))
	rd, _ := part.Reader(leat.ReaderOptions{UntilEnd: true})
	defer rd.Close()
	for rec, err := range rd.Records(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s-%d offset %d: %s %s\n", rec.Topic, rec.Partition, rec.Offset, rec.Key, rec.Value)
	}
	// Output:
	// 0 <nil>
	// 1 <nil>
	// 2 <nil>
	// orders-0 offset 0: 42 ordered
	// orders-0 offset 1: 42 paid
	// orders-0 offset 2: 42 sent
}

// example is an open store in memory, with a topic of one partition.
func example() (*leat.Store, *leat.Partition) {
	st, err := leat.OpenMem(nil)
	if err != nil {
		panic(err)
	}
	topic, err := st.CreateTopic(context.Background(), "events", leat.TopicConfig{})
	if err != nil {
		panic(err)
	}
	part, err := topic.Partition(0)
	if err != nil {
		panic(err)
	}
	return st, part
}

// A reader without Until or UntilEnd waits for records that are yet to come.
func ExampleReader_Records_follow() {
	st, part := example()
	defer st.Close()
	ctx, cancel := context.WithCancel(context.Background())

	rd, _ := part.Reader(leat.ReaderOptions{From: leat.Latest})
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer rd.Close()
		for rec, err := range rd.Records(ctx) {
			if errors.Is(err, context.Canceled) {
				fmt.Println("told to stop")
				return
			}
			fmt.Printf("%s\n", rec.Value)
			if string(rec.Value) == "third" {
				cancel()
			}
		}
	}()
	for _, v := range []string{"first", "second", "third"} {
		part.Append(context.Background(), leat.Record{Value: []byte(v)})
	}
	<-done
	// Output:
	// first
	// second
	// third
	// told to stop
}

// Reading can begin anywhere, and end anywhere.
func ExampleReaderOptions() {
	st, part := example()
	defer st.Close()
	ctx := context.Background()
	noon := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	for i := range 10 {
		part.Append(ctx, leat.Record{Timestamp: noon.Add(time.Duration(i) * time.Minute)})
	}
	for _, o := range []leat.ReaderOptions{
		{From: leat.Earliest, Until: 3},
		{From: leat.At(7), UntilEnd: true},
		{From: leat.LastN(2), UntilEnd: true},
		{From: leat.AtTime(noon.Add(270 * time.Second)), UntilEnd: true},
		{From: leat.Latest, UntilEnd: true},
	} {
		rd, err := part.Reader(o)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("from %v:", o.From)
		for rec := range rd.Records(ctx) {
			fmt.Print(" ", rec.Offset)
		}
		fmt.Println()
		rd.Close()
	}
	_, err := part.Reader(leat.ReaderOptions{From: leat.At(11)})
	var out *leat.OffsetError
	if errors.As(err, &out) {
		fmt.Printf("there are offsets %d to %d\n", out.Start, out.End)
	}
	// Output:
	// from earliest: 0 1 2
	// from offset 7: 7 8 9
	// from last 2: 8 9
	// from time 2026-06-01T12:04:30Z: 5 6 7 8 9
	// from latest:
	// there are offsets 0 to 10
}

// A batch is read without a copy; Retain keeps it beyond the reader's next call.
func ExampleBatch_Retain() {
	st, part := example()
	defer st.Close()
	ctx := context.Background()
	part.Append(ctx, leat.Record{Value: []byte("a")}, leat.Record{Value: []byte("b")})
	part.Append(ctx, leat.Record{Value: []byte("c")})

	rd, _ := part.Reader(leat.ReaderOptions{})
	first, _ := rd.Next(ctx)
	kept := first.Retain()
	second, _ := rd.Next(ctx) // first is over, kept is not
	for _, b := range []*leat.Batch{kept, second} {
		for rec := range b.Records() {
			fmt.Printf("%d %s\n", rec.Offset, rec.Value)
		}
	}
	kept.Release()
	rd.Close()
	// Output:
	// 0 a
	// 1 b
	// 2 c
}

// Durability is the topic's, or of one append.
func ExamplePartition_AppendWith() {
	st, _ := example()
	defer st.Close()
	ctx := context.Background()
	clicks, _ := st.CreateTopic(ctx, "clicks", leat.TopicConfig{Durability: leat.Written})
	part, _ := clicks.Partition(0)
	part.Append(ctx, leat.Record{Value: []byte("in the page cache")})
	part.AppendWith(ctx, leat.AppendOptions{Durability: leat.Synced}, leat.Record{Value: []byte("on the disk, and the one before too")})
	fmt.Println(part.HighWatermark())
	// Output: 2
}

// Configurations can be written as Kafka's properties.
func ExampleParseTopicConfig() {
	c, err := leat.ParseTopicConfig(map[string]string{
		"cleanup.policy": "compact",
		"segment.bytes":  "104857600",
		"retention.ms":   "-1",
	})
	fmt.Println(c, err)
	_, err = leat.ParseTopicConfig(map[string]string{"segment.bytes": "12"})
	fmt.Println(err)
	// Output:
	// partitions=1 cleanup.policy=compact retention.ms=-1 segment.bytes=104857600 <nil>
	// leat: value not allowed in configuration: segment.bytes is "12": allowed are 1024 to 2147483647 bytes
}

// A server answers a fetch: it waits until there is something, and the batches go
// to the connection as they lie on the disk.
func ExamplePartition_Fetch() {
	ctx := context.Background()
	st, err := leat.OpenMem(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer st.Close()
	orders, _ := st.CreateTopic(ctx, "orders", leat.TopicConfig{})
	part, _ := orders.Partition(0)
	go part.Append(ctx, leat.Record{Value: []byte("ordered")}, leat.Record{Value: []byte("paid")})

	at := leat.Position{Topic: "orders", Offset: 0}
	if err := st.Wait(ctx, []leat.Position{at}, 1, leat.ReadCommitted); err != nil {
		fmt.Println(err)
		return
	}
	f, err := part.Fetch(leat.FetchOptions{Offset: at.Offset, MaxBytes: 1 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Release()
	n, err := f.WriteTo(io.Discard) // a *net.TCPConn gets it by sendfile
	fmt.Println(n == int64(f.Len()), err)
	at.Offset = f.NextOffset()
	fmt.Println("next:", at)
	// Output:
	// true <nil>
	// next: orders-0@2
}
