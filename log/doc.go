// Package log is one partition: its segments in order, and everything that is
// known about them. It appends, reads, rolls, syncs and recovers; it knows
// nothing of topics beyond a name for its errors.
//
// State and who owns it:
//
//   - The writing lock orders appends. Whoever holds it encodes at the tail of
//     the active segment and publishes the new end with one atomic store;
//     callers that come meanwhile hand their records over and are appended
//     together with others by the holder (append.go).
//   - The segment list is immutable and swapped whole (list.go): readers take
//     what they find and never wait.
//   - The durable end is moved by one sync at a time, on which all waiters
//     share (sync.go). Nothing is held while the disk works.
//   - Sealing, flushing by time and preparing the road run on goroutines of the
//     store's Env, which end with their work or with the store.
//
// On disk a log is a folder of Apache Kafka's files. Its acknowledged end after
// a crash follows from the batches and two marks, see recover.go.
package log
