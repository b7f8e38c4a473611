package segment

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// The suffixes of a segment's files (Kafka's LogFileUtils).
const (
	LogSuffix      = ".log"
	IndexSuffix    = ".index"
	TimeSuffix     = ".timeindex"
	TxnSuffix      = ".txnindex"
	SnapshotSuffix = ".snapshot"
)

// maxRelative is the largest offset above a segment's base, and the largest
// position within it, that the four bytes of an index entry can hold.
const maxRelative = math.MaxInt32

// FileName is the name of a segment's file: twenty digits and the suffix.
func FileName(base int64, suffix string) string {
	return fmt.Sprintf("%020d%s", base, suffix)
}

// ParseName takes a file name apart. ok is false for a name that FileName would
// not make.
func ParseName(name string) (base int64, suffix string, ok bool) {
	dot := strings.IndexByte(name, '.')
	if dot != 20 {
		return 0, "", false
	}
	for _, c := range []byte(name[:dot]) {
		if c < '0' || c > '9' {
			return 0, "", false
		}
	}
	base, err := strconv.ParseInt(name[:dot], 10, 64)
	if err != nil {
		return 0, "", false
	}
	return base, name[dot:], true
}

// Join puts a partition folder and a file name together.
func Join(dir, name string) string {
	if dir == "" || dir == "." {
		return name
	}
	return dir + "/" + name
}
