package leat_test

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/leatlog/leat"
)

// A mirror appends the batches of another partition as they are, and asks later
// whether they are durable.
func ExamplePartition_AppendBatches() {
	st, part := example()
	defer st.Close()
	ctx := context.Background()
	for i := range 3 {
		part.Append(ctx, leat.Record{Value: fmt.Append(nil, "record ", i)})
	}
	copies, _ := st.CreateTopic(ctx, "copies", leat.TopicConfig{External: leat.ExternalEpochs})
	mirror, _ := copies.Partition(0)

	rd, _ := part.Reader(leat.ReaderOptions{UntilEnd: true})
	defer rd.Close()
	var results []*leat.AppendResult
	for {
		b, err := rd.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		r, err := mirror.AppendBatches(b.Bytes(), leat.AppendOptions{Follower: true})
		if err != nil {
			fmt.Println(err)
			return
		}
		results = append(results, r)
	}
	for _, r := range results {
		fmt.Println(r.BaseOffset, r.Wait(ctx))
	}
	_, err := mirror.AppendBatches([]byte("not a batch, of course"), leat.AppendOptions{})
	fmt.Println(errors.Is(err, leat.ErrCorrupt))
	// Output:
	// 0 <nil>
	// 1 <nil>
	// 2 <nil>
	// true
}
