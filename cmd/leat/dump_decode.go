package main

import (
	"path/filepath"
	"strings"

	"github.com/leatlog/leat/internal/coordination"
)

// decoder tells what is in the records of an internal topic.
type decoder func(key, value []byte) (coordination.Description, error)

// decoders are those of Kafka's topics that are known, and the flags by which a
// file that lies elsewhere is said to be of one: those of kafka-dump-log.
var decoders = []struct {
	topic, flag, usage string
	decode             decoder
}{
	{"__consumer_offsets", "offsets-decoder", "decode records as those of __consumer_offsets", coordination.DescribeOffset},
	{"__transaction_state", "transaction-log-decoder", "decode records as those of __transaction_state", coordination.DescribeTransaction},
}

// decoderOf is the decoder for a partition's folder, or a file in one, by the
// folder's name. It is nil for the topics of users.
func decoderOf(path string, isFolder bool) decoder {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if !isFolder {
		path = filepath.Dir(path)
	}
	folder := filepath.Base(path)
	for _, d := range decoders {
		if n, ok := strings.CutPrefix(folder, d.topic+"-"); ok && n != "" && strings.Trim(n, "0123456789") == "" {
			return d.decode
		}
	}
	return nil
}
