package golden

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Murmur2 is murmur2.json.
type Murmur2 struct {
	PartitionCounts []int32      `json:"partitionCounts"`
	Keys            []Murmur2Key `json:"keys"`
}

// Murmur2Key is a key with its hash, the same with the sign bit cleared, and
// that modulo each of the PartitionCounts.
type Murmur2Key struct {
	Key        Hex     `json:"key"`
	Murmur2    int32   `json:"murmur2"`
	ToPositive int32   `json:"toPositive"`
	Partitions []int32 `json:"partitions"`
}

// CRC32C is one member of crc32c.json, which is a list.
type CRC32C struct {
	Bytes Hex    `json:"bytes"`
	Sum   uint32 `json:"crc32c"`
}

// Varints is varint.json. Varint and Varlong are zig-zag encoded.
type Varints struct {
	Varint         []Varint     `json:"varint_value_bytes"`
	Varlong        []Varint     `json:"varlong_value_bytes"`
	UnsignedVarint []Varint     `json:"unsignedVarint_value_bytes"`
	Edge           []VarintEdge `json:"edge"`
}

// Varint is a value and its encoding. An unsigned varint of 32 bits is given as
// its value in 0..2^32-1, or as the int32 of the same bits.
type Varint struct {
	Value int64
	Bytes Hex
}

func (v *Varint) UnmarshalJSON(b []byte) error {
	var value Result
	list := []any{&value, &v.Bytes}
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	if len(list) != 2 || value.Err != "" {
		return fmt.Errorf("not a value and its bytes: %s", b)
	}
	v.Value = value.Value
	return nil
}

// VarintEdge is an odd input (overlong, cut, too many bits) with what Kafka's
// readers of each kind make of it.
type VarintEdge struct {
	Bytes          Hex    `json:"bytes"`
	Varint         Result `json:"varint"`
	Varlong        Result `json:"varlong"`
	UnsignedVarint Result `json:"unsignedVarint"`
}

// Result is a number, given as such or as a string, or the name of Kafka's
// exception (BufferUnderflowException: cut; IllegalArgumentException: too long).
type Result struct {
	Value int64
	Err   string
}

func (r *Result) UnmarshalJSON(b []byte) error {
	*r = Result{}
	text := string(b)
	if len(b) > 0 && b[0] == '"' {
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
	}
	if name, failed := strings.CutPrefix(text, "error:"); failed {
		r.Err = name
		return nil
	}
	var err error
	r.Value, err = strconv.ParseInt(text, 10, 64)
	return err
}
