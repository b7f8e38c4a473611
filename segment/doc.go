// Package segment is one base offset of a partition: a .log file of record
// batches and the indexes beside it.
//
// A segment is active while it is appended to, and sealed ever after. The
// active one has a single writer (its log orders the appends) and any number
// of readers, which never wait for the writer nor for each other: the writer
// publishes the end of the last whole batch with one atomic store, and a
// reader looks only below it. Indexes of the active segment live in memory and
// are written when it is sealed; a log that was killed in between rebuilds them
// from the batches, as it does for any index that turns out to be wrong.
//
// Two writers stand behind the one type. The mapped one encodes into a shared
// map of really allocated pages, so that an append is a copy and a full disk is
// an error and not a signal; the other one writes with pwrite, for filesystems
// and systems on which such maps are not safe. Both leave the same bytes.
package segment
