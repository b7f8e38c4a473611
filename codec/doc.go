// Package codec reads and writes Apache Kafka's record batch, version 2 (magic
// 2), byte for byte: the one form in which records lie in a segment file, cross
// a wire and reach a reader.
//
// A batch is looked at where it lies. [Batch] is a view of its bytes, [Decoder]
// gives its records one by one without copying or allocating, and the encoding
// functions ([PutRecords], [Header.Put], [Seal]) write into memory that the
// caller already has, a mapped file for instance, after [RecordsSize] said how
// much is needed.
//
// What a file or a client contains may be damaged or hostile. [Next], the
// checks of [Batch], [Unpack] and [Decoder] never panic, loop or allocate
// beyond a small multiple of their input, whatever the bytes; their errors say
// what is wrong and at which byte of the batch. The accessors of [Batch] only
// need the 61 bytes that Next promises.
//
// Nothing in this package starts a goroutine or keeps state between calls.
package codec
