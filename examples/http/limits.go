package main

import "time"

// limits keep one client, or many, from using up the server. At the worst all
// connections send the largest batch at once: that is 512 MiB here.
type limits struct {
	conns    int // connections; more wait until one is closed
	streams  int // that follow topics at the same time
	searches int // at the same time: each may keep a processor busy

	header int   // bytes of a request's header
	value  int64 // bytes of a record's value
	batch  int64 // bytes of a batch in JSON
	config int64 // bytes of the description of a new topic

	batchRecords int // in a batch
	partitions   int // that one stream or search looks at
	created      int // partitions of a topic that is created: each is a folder

	records  int   // in an answer
	response int   // bytes of records in an answer; the first comes whole if it is not larger
	scan     int64 // bytes that a search looks at, about, before it looks at the clock
	raw      int   // bytes of raw batches in an answer; the first comes whole

	readHeader time.Duration // for a request's header
	readBody   time.Duration // for its body
	writeChunk time.Duration // for each chunk of an answer: a slow client is cut off, a long answer is not
	idle       time.Duration // between requests on a connection
	wait       time.Duration // of a long poll
	search     time.Duration // after which a search says how far it got
	heartbeat  time.Duration // between signs of life on a stream
	grace      time.Duration // for what is under way when the server stops
}

var defaultLimits = limits{
	conns:    128,
	streams:  48,
	searches: 4,

	header: 16 << 10,
	value:  1 << 20,
	batch:  4 << 20,
	config: 64 << 10,

	batchRecords: 10_000,
	partitions:   256,
	created:      1000,

	records:  1000,
	response: 4 << 20,
	scan:     16 << 20,
	raw:      8 << 20,

	readHeader: 5 * time.Second,
	readBody:   30 * time.Second,
	writeChunk: 10 * time.Second,
	idle:       time.Minute,
	wait:       30 * time.Second,
	search:     2 * time.Second,
	heartbeat:  15 * time.Second,
	grace:      10 * time.Second,
}
