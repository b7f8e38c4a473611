package main

import (
	"fmt"
	"net/http"

	"github.com/leatlog/leat"
)

// newTopic is the body of a request that creates a topic. The configuration is in
// Kafka's property names.
type newTopic struct {
	Name       string            `json:"name"`
	Partitions int32             `json:"partitions"` // 0: 1
	Config     map[string]string `json:"config"`
}

func (s *server) createTopic(w http.ResponseWriter, r *http.Request) error {
	if err := query(r).done(); err != nil {
		return err
	}
	body, err := s.body(w, r, s.limits.config)
	if err != nil {
		return err
	}
	var n newTopic
	if err := strictly(body, &n); err != nil {
		return badRequest(`a topic is like {"name": "orders", "partitions": 3, "config": {"retention.ms": "60000"}}: %v`, err)
	}
	if int(n.Partitions) > s.limits.created {
		return refuse(http.StatusBadRequest, "INVALID_PARTITIONS", fmt.Sprintf("a topic that is created here may have %d partitions", s.limits.created))
	}
	c, err := leat.ParseTopicConfig(n.Config)
	if err != nil {
		return err
	}
	c.Partitions = n.Partitions
	topic, err := s.store.CreateTopic(r.Context(), n.Name, c)
	if err != nil {
		return err
	}
	return answerJSON(w, http.StatusCreated, describe(topic, nil))
}

func (s *server) listTopics(w http.ResponseWriter, r *http.Request) error {
	if err := query(r).done(); err != nil {
		return err
	}
	list := []topicSummary{}
	for t := range s.store.Topics() {
		list = append(list, topicSummary{Name: t.Name(), Partitions: t.Config().Partitions})
	}
	return answerJSON(w, http.StatusOK, map[string]any{"topics": list})
}

type topicSummary struct {
	Name       string `json:"name"`
	Partitions int32  `json:"partitions"`
}

// topicInfo describes a topic.
type topicInfo struct {
	Name       string            `json:"name"`
	ID         string            `json:"id"`
	Adopted    bool              `json:"adopted"`
	Config     map[string]string `json:"config"`
	Partitions []partitionInfo   `json:"partitions"`
}

// partitionInfo describes a partition; numbers that are not known are -1.
type partitionInfo struct {
	Partition        int32  `json:"partition"`
	Open             bool   `json:"open"`
	LogStartOffset   int64  `json:"log_start_offset"`
	LastStableOffset int64  `json:"last_stable_offset"`
	HighWatermark    int64  `json:"high_watermark"`
	LogEndOffset     int64  `json:"log_end_offset"`
	DurableEnd       int64  `json:"durable_end"`
	LeaderEpoch      int32  `json:"leader_epoch"`
	Segments         int    `json:"segments"`
	Bytes            int64  `json:"bytes"`
	Appended         int64  `json:"appended"` // records, since it was opened
	Read             int64  `json:"read"`
	Error            string `json:"error,omitempty"` // why appends are refused
}

// describeTopic tells of a topic. Partitions are opened when they are first used,
// and little is known of them before: with open they are opened now.
func (s *server) describeTopic(w http.ResponseWriter, r *http.Request) error {
	topic, err := s.store.Topic(r.PathValue("topic"))
	if err != nil {
		return err
	}
	q := query(r)
	open := q.flag("open")
	if err := q.done(); err != nil {
		return err
	}
	if open && int(topic.Config().Partitions) <= s.limits.partitions {
		for p := range topic.Partitions() {
			p.LogEndOffset() // what went wrong is in the description
		}
	}
	st := s.store.Stats()
	return answerJSON(w, http.StatusOK, describe(topic, &st))
}

func describe(t *leat.Topic, st *leat.Stats) topicInfo {
	i := t.Describe()
	info := topicInfo{Name: i.Name, ID: i.ID.String(), Adopted: i.Adopted, Config: i.Config.Properties(), Partitions: []partitionInfo{}}
	counts := countsOf(st, i.Name)
	for n := range i.Partitions {
		p := &i.Partitions[n]
		info.Partitions = append(info.Partitions, describeOne(p, counts[p.Partition]))
	}
	return info
}

// countsOf are the counts of a topic's open partitions.
func countsOf(st *leat.Stats, topic string) map[int32]*leat.PartitionStats {
	counts := map[int32]*leat.PartitionStats{}
	if st == nil {
		return counts
	}
	for n := range st.PerPartition {
		if p := &st.PerPartition[n]; p.Topic == topic {
			counts[p.Partition] = p
		}
	}
	return counts
}

func describeOne(p *leat.PartitionInfo, c *leat.PartitionStats) partitionInfo {
	d := partitionInfo{
		Partition: p.Partition, Open: p.Open,
		LogStartOffset: p.LogStartOffset, LastStableOffset: p.LastStableOffset, HighWatermark: p.HighWatermark,
		LogEndOffset: p.LogEndOffset, DurableEnd: p.DurableEnd, LeaderEpoch: p.LeaderEpoch,
		Segments: p.Segments, Bytes: p.Bytes,
	}
	if p.Err != nil {
		d.Error = p.Err.Error()
	}
	if c != nil {
		d.Appended, d.Read = c.Appended.Records, c.Read.Records
	}
	return d
}
