package codec

import "hash/crc32"

// The standard library recognises this table by its address and then uses the
// CRC32 instructions of amd64, arm64, s390x, ppc64le and loong64.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// CRC is the CRC-32C (Castagnoli) of b, the checksum of a batch from byte 21.
func CRC(b []byte) uint32 { return crc32.Update(0, castagnoli, b) }
