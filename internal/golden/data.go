package golden

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Data is a key or a value. In the sidecars it is null, base64, or, if longer
// than 1024 bytes, {"len":n,"sha256":"..."}.
type Data struct {
	Null   bool
	Bytes  []byte // nil if only the hash is known
	Len    int64
	SHA256 string // hex; empty if Bytes are known
}

func (d *Data) UnmarshalJSON(b []byte) error {
	*d = Data{}
	switch {
	case string(b) == "null":
		d.Null = true
		return nil
	case len(b) > 0 && b[0] == '{':
		var long struct {
			Len    int64  `json:"len"`
			SHA256 string `json:"sha256"`
		}
		if err := json.Unmarshal(b, &long); err != nil {
			return err
		}
		d.Len, d.SHA256 = long.Len, long.SHA256
		return nil
	}
	if err := json.Unmarshal(b, &d.Bytes); err != nil {
		return err
	}
	d.Len = int64(len(d.Bytes))
	return nil
}

// Equal tells whether got is what the sidecar says. Null and empty differ: a
// null must be a nil slice, an empty one must not.
func (d Data) Equal(got []byte) bool {
	switch {
	case d.Null || got == nil:
		return d.Null && got == nil
	case d.SHA256 != "":
		return d.Len == int64(len(got)) && d.SHA256 == Hash(got)
	}
	return bytes.Equal(d.Bytes, got)
}

func (d Data) String() string {
	switch {
	case d.Null:
		return "null"
	case d.SHA256 != "":
		return fmt.Sprintf("%d bytes, sha256 %s", d.Len, d.SHA256)
	}
	return fmt.Sprintf("%q", d.Bytes)
}

// Hash is the SHA-256 of b in the form the sidecars have it.
func Hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Hex is a byte string given in hexadecimal.
type Hex []byte

func (h *Hex) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

// Pair is a list of two integers; the name of the field says which.
type Pair [2]int64

func (p *Pair) UnmarshalJSON(b []byte) error {
	var list []int64
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	if len(list) != 2 {
		return fmt.Errorf("%d numbers where two are expected", len(list))
	}
	p[0], p[1] = list[0], list[1]
	return nil
}
