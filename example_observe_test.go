package leat_test

import (
	"context"
	"fmt"

	"github.com/leatlog/leat"
)

// What a store is and has done, at any moment.
func ExampleStore_Stats() {
	ctx := context.Background()
	st, err := leat.OpenMem(nil)
	if err != nil {
		panic(err)
	}
	defer st.Close()
	orders, _ := st.CreateTopic(ctx, "orders", leat.TopicConfig{Partitions: 4})
	p, _ := orders.Partition(orders.PartitionFor([]byte("42")))
	p.Append(ctx, leat.Record{Value: []byte("paid")}, leat.Record{Value: []byte("sent")})

	s := st.Stats()
	fmt.Println(s.Partitions, "partitions,", s.Open, "open;", s.Appended)
	fmt.Println(s.Append.Count(), "append;", s.Append.Quantile(0.99) > 0)
	for _, p := range s.PerPartition {
		fmt.Printf("%s-%d ends at %d, unsynced %d\n", p.Topic, p.Partition, p.LogEndOffset, p.Unsynced())
	}
	// Output:
	// 4 partitions, 1 open; 1 batches, 2 records, 83 bytes
	// 1 append; true
	// orders-0 ends at 2, unsynced 0
}

// Each thing that a store does, as it does it.
func ExampleObserver() {
	ctx := context.Background()
	st, err := leat.OpenMem(&leat.Options{Observer: &leat.Observer{
		Append: func(e leat.Event) {
			fmt.Printf("%s-%d: %d records from offset %d\n", e.Topic, e.Partition, e.Records, e.Offset)
		},
		Background: func(err error) { fmt.Println("look at this:", err) },
	}})
	if err != nil {
		panic(err)
	}
	defer st.Close()
	orders, _ := st.CreateTopic(ctx, "orders", leat.TopicConfig{})
	p, _ := orders.Partition(0)
	p.Append(ctx, leat.Record{Value: []byte("paid")})
	p.Append(ctx, leat.Record{Value: []byte("sent")}, leat.Record{Value: []byte("thanked")})
	// Output:
	// orders-0: 1 records from offset 0
	// orders-0: 2 records from offset 1
}
