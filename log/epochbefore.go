package log

// EpochBefore is the leader epoch to be stored with a position: that of the record
// before it, or where that is no more, of the first that there is; -1 when it
// cannot be told. Asked where it ended, the log answers with that offset or a
// higher one, as long as no record below it was taken back.
func (l *Log) EpochBefore(offset int64) int32 {
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	if e, ok := l.epochs.At(offset - 1); ok {
		return e
	}
	if e, ok := l.epochs.At(max(offset, l.start.Load())); ok {
		return e
	}
	return -1
}
