package leat

import (
	"io"

	"github.com/leatlog/leat/log"
)

// FetchOptions are for one fetch.
type FetchOptions struct {
	Offset int64
	// MaxBytes is how many bytes are asked for (max.partition.fetch.bytes). 0:
	// 1 MiB; Unlimited: what the segment has. The first batch comes whole all the
	// same.
	MaxBytes int
	// Isolation says where the run ends: at the last stable offset, or at the
	// high watermark. Raw batches hold the records of aborted transactions too:
	// Fetched.Aborted names them for whoever decodes.
	Isolation Isolation
	// Follower is for replicas, whatever Isolation says: the run ends at the log
	// end offset, and aborted transactions are not asked for.
	Follower bool
	// Verify checks every batch, as a Reader does, and ends the run before one
	// that is damaged. Without it only headers near the ends of the run are looked
	// at, as in Kafka: whoever decodes the batches checks them.
	Verify bool
}

// Fetched is a run of whole batches as they lie in one segment, pinned until
// Release: it stays readable whatever happens to the partition meanwhile. Its
// methods may be called from many goroutines.
type Fetched struct {
	// The partition's offsets at the time of the fetch, consistent with the run
	// and with each other: LogStartOffset <= LastStableOffset <= HighWatermark.
	HighWatermark, LastStableOffset, LogStartOffset int64
	// Aborted are the aborted transactions that records of the run may belong to,
	// in Kafka's order, with ReadCommitted; there may be more than needed. A batch
	// is left out when it is transactional, of such a producer id, and neither
	// before FirstOffset nor behind the producer's next abort marker.
	Aborted []AbortedTxn

	run   log.Fetched
	debug debugRun
}

// AbortedTxn is an aborted transaction: its producer, and the offset of its first
// record in the partition.
type AbortedTxn struct{ ProducerID, FirstOffset int64 }

// Fetch returns the batches from the one that holds the offset on, raw, for
// servers. It does not wait: without anything to read yet the run is empty (see
// Store.Wait). As in Kafka a run ends with its segment, so the next fetch may
// find more at once.
//
// Errors: *OffsetError, when the offset is below the log start offset or beyond
// the log end offset (OFFSET_OUT_OF_RANGE); *CorruptError, when the run would
// begin with damage (CORRUPT_MESSAGE); ErrUnsupported; ErrFailed and
// *CorruptError also where a failed or damaged partition has nothing more to
// read; ErrUnknownTopic (deleted); ErrInvalidConfig; ErrClosed.
func (p *Partition) Fetch(o FetchOptions) (*Fetched, error) {
	switch {
	case o.Isolation > ReadUncommitted:
		return nil, invalidConfig("FetchOptions.Isolation is %v", o.Isolation)
	case o.MaxBytes < Unlimited:
		return nil, invalidConfig("FetchOptions.MaxBytes is %d", o.MaxBytes)
	}
	l, err := p.use()
	if err != nil {
		return nil, err
	}
	f := new(Fetched)
	begin := l.BeginFetch()
	if err := l.Fetch(log.FetchOptions{
		Offset:    o.Offset,
		MaxBytes:  int64(o.MaxBytes),
		Committed: o.Isolation == ReadCommitted,
		Follower:  o.Follower,
		Verify:    o.Verify,
	}, &f.run); err != nil {
		return nil, p.fail(l.Corrupt(err))
	}
	l.EndFetch(begin, min(f.Len(), 1), int(f.run.Next-f.run.First), f.Len())
	f.HighWatermark, f.LastStableOffset, f.LogStartOffset = f.run.HighWatermark, f.run.LastStableOffset, f.run.LogStartOffset
	if n := len(f.run.Aborted); n > 0 {
		f.Aborted = make([]AbortedTxn, n)
		for i, t := range f.run.Aborted {
			f.Aborted[i] = AbortedTxn{t.ProducerID, t.FirstOffset}
		}
		f.run.Aborted = nil
	}
	return f, nil
}

// Len is the number of bytes of the run; 0: there is nothing yet.
func (f *Fetched) Len() int { return int(f.run.Len()) }

// BaseOffset is that of the first batch, which may lie below the offset asked for.
// Of an empty run it is the offset asked for.
func (f *Fetched) BaseOffset() int64 { return f.run.First }

// NextOffset is the offset behind the run, to go on with. Of an empty run it is
// the offset asked for.
func (f *Fetched) NextOffset() int64 { return f.run.Next }

// Bytes are the batches in Kafka's format. They are read-only, and live until
// Release; to keep them, copy them. They lie in a memory map where there is one
// (for what that means see Batch); else they are read at the first call, and nil
// if they cannot be, with the reason in Err.
func (f *Fetched) Bytes() []byte {
	if debugSlices {
		return f.debug.copy(&f.run)
	}
	return f.run.Bytes()
}

// Err is why Bytes gave nil though Len is not 0: a *CorruptError.
func (f *Fetched) Err() error { return f.run.Err() }

// WriteTo writes the batches to w and returns how many bytes it wrote. To a
// *net.TCPConn or *net.UnixConn on Linux the kernel sends them from the page cache
// (sendfile), without a copy; deadlines of the connection hold. It may be called
// again, and a part that was not written can be had from Bytes.
//
// Errors: w's; *CorruptError, where the file cannot be read or has become shorter;
// ErrClosed after Release.
func (f *Fetched) WriteTo(w io.Writer) (int64, error) { return f.run.WriteTo(w) }

// Release ends the life of the bytes. Until then the segment's memory and disk
// space stay in use, even when the segment is deleted. A second Release does
// nothing.
func (f *Fetched) Release() {
	if debugSlices {
		f.debug.end()
	}
	f.run.Release()
}

var _ io.WriterTo = (*Fetched)(nil)
