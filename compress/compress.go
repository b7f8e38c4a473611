// Package compress encodes and decodes what follows the header of a record
// batch, in the four codecs and the framings that Kafka has:
//
//	gzip    RFC 1952; several members are read as one
//	snappy  xerial framing: a header, then length-prefixed blocks of 32 KiB; a bare block is read too
//	lz4     one LZ4 frame of independent blocks of 64 KiB
//	zstd    RFC 8878; several frames are read as one
//
// The calls append to a slice and may be made from many goroutines. What they
// need beyond it is pooled in a Coders, of which each store has its own: coders
// must not outlive the store, nor be shared with another one. No goroutine is
// ever started.
//
// Decoders are written for hostile input: they append no more than the limit
// they are given, and a size that the input merely declares is checked against
// what its bytes could possibly decode to before memory is set aside for it.
package compress

import (
	"errors"
	"fmt"
)

// Codec is a compression codec; its number is the one that a batch has in bits 0
// to 2 of its attributes.
type Codec uint8

const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

var (
	// ErrTooLarge says that the data decodes to more than the limit.
	ErrTooLarge = errors.New("compress: decompressed data is larger than the limit")
	// ErrCorrupt says that the data is not what its codec writes, or is cut.
	ErrCorrupt = errors.New("compress: corrupt data")
	// ErrUnknown says that there is no such codec.
	ErrUnknown = errors.New("compress: unknown codec")
	// ErrClosed says that the Coders were closed.
	ErrClosed = errors.New("compress: closed")
)

var names = [...]string{None: "none", Gzip: "gzip", Snappy: "snappy", LZ4: "lz4", Zstd: "zstd"}

// Valid tells whether c is one of the five. Attributes can also hold 5 to 7.
func (c Codec) Valid() bool { return int(c) < len(names) }

func (c Codec) String() string {
	if !c.Valid() {
		return fmt.Sprintf("codec(%d)", uint8(c))
	}
	return names[c]
}

// Parse is the codec of a name that String returns.
func Parse(name string) (Codec, error) {
	for c, n := range names {
		if n == name {
			return Codec(c), nil
		}
	}
	return None, fmt.Errorf("%w %q", ErrUnknown, name)
}

func (c Codec) MarshalText() ([]byte, error) {
	if !c.Valid() {
		return nil, c.unknown()
	}
	return []byte(names[c]), nil
}

func (c *Codec) UnmarshalText(text []byte) (err error) {
	*c, err = Parse(string(text))
	return err
}

func (c Codec) unknown() error { return fmt.Errorf("%w %d", ErrUnknown, uint8(c)) }

// corrupt is an ErrCorrupt that says what is wrong.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}
