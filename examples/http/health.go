package main

import (
	"fmt"
	"net/http"

	"github.com/leatlog/leat"
)

// health says whether all is well, for whoever restarts servers or wakes people:
// 503 when partitions have failed or are damaged, or the server is stopping.
func (s *server) health(w http.ResponseWriter, r *http.Request) error {
	if err := query(r).done(); err != nil {
		return err
	}
	if s.stopping.Err() != nil {
		return errStopping
	}
	st := s.store.Stats()
	if st.Failed+st.Damaged == 0 {
		return answerJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	}
	bad := sick{
		problem: problem{
			Error:  fmt.Sprintf("%d partitions have failed and %d are damaged", st.Failed, st.Damaged),
			Code:   "KAFKA_STORAGE_ERROR",
			status: http.StatusServiceUnavailable,
		},
		Status: "failed",
	}
	for i := range st.PerPartition {
		p := &st.PerPartition[i]
		if (p.Failed || p.Damaged) && len(bad.Partitions) < 100 { // enough to wake up for
			bad.Partitions = append(bad.Partitions, sickPartition{p.Topic, p.Partition, s.reason(p)})
		}
	}
	answerProblem(w, bad.problem, bad)
	return nil
}

type sick struct {
	problem
	Status     string          `json:"status"`
	Partitions []sickPartition `json:"partitions"`
}

type sickPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Error     string `json:"error"`
}

// reason is why a partition refuses appends.
func (s *server) reason(p *leat.PartitionStats) string {
	topic, err := s.store.Topic(p.Topic)
	if err != nil {
		return err.Error()
	}
	for _, i := range topic.Describe().Partitions {
		if i.Partition == p.Partition && i.Err != nil {
			return i.Err.Error()
		}
	}
	return "it has recovered meanwhile"
}
