package leat_test

import (
	"context"
	"fmt"

	"github.com/leatlog/leat"
)

// A producer puts records into batches, and each into the partition of its key.
func ExampleProducer() {
	ctx := context.Background()
	store, err := leat.OpenMem(nil)
	if err != nil {
		panic(err)
	}
	defer store.Close()
	if _, err := store.CreateTopic(ctx, "orders", leat.TopicConfig{Partitions: 4}); err != nil {
		panic(err)
	}
	producer, err := store.Producer(leat.ProducerConfig{Compression: leat.Zstd})
	if err != nil {
		panic(err)
	}
	defer producer.Close() // before the store

	// Produce returns when the record is durable, and says where it is.
	r := &leat.Record{Topic: "orders", Key: []byte("42"), Value: []byte("placed")}
	if err := producer.Produce(ctx, r); err != nil {
		panic(err)
	}
	fmt.Println("partition", r.Partition, "offset", r.Offset)

	// ProduceAsync goes on, and tells later. One key's records stay in order.
	for _, v := range []string{"paid", "sent"} {
		r := &leat.Record{Topic: "orders", Key: []byte("42"), Value: []byte(v)}
		producer.ProduceAsync(ctx, r, func(r *leat.Record, err error) {
			fmt.Println(string(r.Value), "at offset", r.Offset, err)
		})
	}
	if err := producer.Flush(ctx); err != nil {
		panic(err)
	}
	// Output:
	// partition 0 offset 0
	// paid at offset 1 <nil>
	// sent at offset 2 <nil>
}
