package leat

// Consumer reads the partitions that it is assigned.
type Consumer struct{}
