// Package leat is an embeddable, durable, partitioned log with Apache Kafka's
// words, files and guarantees, and no network.
//
// A [Store] is a directory of topics. A [Topic] is a set of partitions. A
// [Partition] is a log: records are appended at its end, each gets the next
// offset, and any number of readers walk it from wherever they like, at their
// own pace.
//
//	st, err := leat.Open("data", nil)
//	defer st.Close()
//
//	orders, err := st.CreateTopic(ctx, "orders", leat.TopicConfig{Partitions: 4})
//	part, err := orders.Partition(orders.PartitionFor([]byte("42")))
//	offset, err := part.Append(ctx, leat.Record{Key: []byte("42"), Value: []byte("paid")})
//
//	rd, err := part.Reader(leat.ReaderOptions{UntilEnd: true})
//	defer rd.Close()
//	for rec, err := range rd.Records(ctx) {
//		...
//	}
//
// # What is promised
//
// An append that has returned nil survives a power cut, unless the topic or the
// call asked for [Written], which survives the end of the process. Its records
// are there whole or not at all. Nothing is ever lost in silence: what a crash
// left half written is cut off, kept in a .quarantine file and reported to
// [Options.Logger]; damage to what was durable is a [CorruptError] with path,
// position and offset, never a shorter log.
//
// The files are Apache Kafka's, byte for byte: a partition folder can come from
// a broker and go back to one.
//
// Old records go: by default, as in Kafka, those older than seven days, whole
// segments at a time. [TopicConfig.Retention] says otherwise, with [Unlimited]
// that nothing goes.
//
// # Producing and consuming
//
// A [Producer] chooses partitions by key and makes batches of what many goroutines
// hand over. A [Consumer] reads many partitions, alone or as a member of a group
// that shares them, and commits the positions up to which it is done. [Groups]
// lists groups, says how far behind they are, and moves their positions.
//
//	p, err := st.Producer(leat.ProducerConfig{Linger: 5 * time.Millisecond})
//	err = p.Produce(ctx, &leat.Record{Topic: "orders", Key: []byte("42"), Value: []byte("paid")})
//
//	c, err := st.Consumer(leat.ConsumerConfig{Group: "mailer", Topics: []string{"orders"}})
//	for {
//		batches, err := c.Poll(ctx)
//		...
//		err = c.Commit(ctx)
//	}
//
// docs/consuming.md says what is promised, and how records are processed at most
// once, at least once, and exactly once.
//
// # Servers and other processes
//
// [Partition.Fetch], [Partition.AppendBatches], [Store.Wait] and what replication
// needs ([Partition.TruncateTo], [TopicConfig.External]) are for those who wrap a
// store. [OpenReadOnly] follows a store that another process writes.
//
// # Slices
//
// Reading does not copy. The slices of a record, and [Batch.Bytes], point into
// the log's memory map, or into a buffer of the reader's. They are read-only and
// live until the next turn of the loop, or the next call of [Reader.Next].
// [Record.Clone] and [Batch.Retain] keep them. Under the race detector, and with
// the build tag leatdebug, the slices are copies that are overwritten with 0xDB
// when their life is over, so that a slice that was kept shows in tests.
//
// Appending copies: what was given to [Partition.Append] is the caller's again
// when it returns.
package leat
