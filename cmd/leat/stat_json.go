package main

import "github.com/leatlog/leat"

// stateJSON is the state of a partition for programs, in the words of Kafka's
// classes.
func stateJSON(t *leat.Topic, p *leat.PartitionState) any {
	type batch struct {
		FirstSeq    int32 `json:"firstSeq"`
		LastSeq     int32 `json:"lastSeq"`
		FirstOffset int64 `json:"firstOffset"`
		LastOffset  int64 `json:"lastOffset"`
		Timestamp   int64 `json:"timestamp"`
	}
	type producer struct {
		ProducerID            int64   `json:"producerId"`
		ProducerEpoch         int16   `json:"producerEpoch"`
		CoordinatorEpoch      int32   `json:"coordinatorEpoch"`
		LastTimestamp         int64   `json:"lastTimestamp"`
		CurrentTxnFirstOffset *int64  `json:"currentTxnFirstOffset"`
		CachedBatches         []batch `json:"cachedBatches"`
	}
	type epoch struct {
		Epoch       int32 `json:"epoch"`
		StartOffset int64 `json:"startOffset"`
	}
	type aborted struct {
		Version          int16 `json:"version"`
		ProducerID       int64 `json:"producerId"`
		FirstOffset      int64 `json:"firstOffset"`
		LastOffset       int64 `json:"lastOffset"`
		LastStableOffset int64 `json:"lastStableOffset"`
	}
	type segment struct {
		BaseOffset  int64 `json:"baseOffset"`
		SizeInBytes int64 `json:"sizeInBytes"`
	}
	i := &p.Info
	out := struct {
		Topic               string     `json:"topic"`
		TopicID             string     `json:"topicId"`
		Partition           int32      `json:"partition"`
		LogStartOffset      *int64     `json:"logStartOffset"`
		LogEndOffset        *int64     `json:"logEndOffset"`
		HighWatermark       *int64     `json:"highWatermark"`
		LastStableOffset    *int64     `json:"lastStableOffset"`
		FirstUnstableOffset *int64     `json:"firstUnstableOffset"`
		LatestEpoch         int32      `json:"latestEpoch"`
		SizeInBytes         *int64     `json:"sizeInBytes"`
		SegmentBaseOffsets  []int64    `json:"segmentBaseOffsets"`
		Segments            []segment  `json:"segments"`
		Producers           []producer `json:"producers"`
		LeaderEpochs        []epoch    `json:"leaderEpochs"`
		AbortedTransactions []aborted  `json:"abortedTransactions"`
		Error               string     `json:"error,omitempty"`
	}{
		Topic: t.Name(), TopicID: t.ID().String(), Partition: i.Partition,
		LogStartOffset: known(i.LogStartOffset), LogEndOffset: known(i.LogEndOffset), HighWatermark: known(i.HighWatermark),
		LastStableOffset: known(i.LastStableOffset), FirstUnstableOffset: known(p.FirstUnstableOffset),
		LatestEpoch: i.LeaderEpoch, SizeInBytes: known(i.Bytes), Error: words(i.Err),
		// Empty lists, not null.
		SegmentBaseOffsets: []int64{}, Segments: []segment{}, Producers: []producer{}, LeaderEpochs: []epoch{}, AbortedTransactions: []aborted{},
	}
	for _, s := range p.Segments {
		out.SegmentBaseOffsets = append(out.SegmentBaseOffsets, s.BaseOffset)
		out.Segments = append(out.Segments, segment{s.BaseOffset, s.Size})
	}
	for _, s := range p.Producers {
		o := producer{s.ProducerID, s.ProducerEpoch, s.CoordinatorEpoch, s.LastTimestamp, known(s.CurrentTxnFirstOffset), []batch{}}
		for _, b := range s.Batches {
			o.CachedBatches = append(o.CachedBatches, batch{b.FirstSequence, b.LastSequence, b.FirstOffset, b.LastOffset, b.Timestamp})
		}
		out.Producers = append(out.Producers, o)
	}
	for _, e := range p.LeaderEpochs {
		out.LeaderEpochs = append(out.LeaderEpochs, epoch{e.Epoch, e.StartOffset})
	}
	for _, a := range p.AbortedTxns {
		out.AbortedTransactions = append(out.AbortedTransactions, aborted{0, a.ProducerID, a.FirstOffset, a.LastOffset, a.LastStableOffset})
	}
	return out
}
