package log

import (
	"context"
	"fmt"
	"slices"

	"github.com/leatlog/leat/compress"
	"github.com/leatlog/leat/segment"
)

// Leader epochs of appends. A new epoch is in leader-epoch-checkpoint, durable,
// before a batch that carries it is published: after a crash the file may name an
// epoch that has no batch, never the other way round.

// ExternalEpochs tells whether a wrapper says which leader epoch holds.
func (l *Log) ExternalEpochs() bool { return l.cfg().ExternalEpochs }

// AppendAt is Append with a leader epoch; 0 is the latest. An epoch above the
// latest begins with these records, one below it is ErrStaleEpoch.
func (l *Log) AppendAt(ctx context.Context, records []Record, epoch int32, d Durability) (int64, error) {
	if epoch == 0 {
		return l.Append(ctx, records, d)
	}
	if d == 0 {
		d = l.cfg().Durability
	}
	kind := l.cfg().Compression
	f, err := l.inspect(records, kind)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return 0, err
	}
	var (
		base int64
		s    stored
	)
	w := l.obs.watch()
	if kind != compress.None {
		base, s, err = l.appendCompressed(records, f, kind, epoch, d)
	} else {
		base, s, err = l.appendEpoch(records, f, epoch, d)
	}
	if err == nil && d == Synced {
		err = l.waitDurable(ctx, base+int64(len(records)))
	}
	l.appended(w, s, err)
	if err != nil {
		return 0, err
	}
	return base, nil
}

// appendEpoch is for records that are not compressed. They are not combined with
// others', which may have another epoch.
func (l *Log) appendEpoch(records []Record, f facts, epoch int32, d Durability) (base int64, s stored, err error) {
	l.writing.Lock()
	defer l.unlock()
	if err := l.refusing(); err != nil {
		return 0, s, err
	}
	if err := l.checkEpoch(epoch); err != nil {
		return 0, s, err
	}
	if err := l.beginEpoch(epoch, l.end.Load()); err != nil {
		return 0, s, l.appendError(err)
	}
	groups := [1][]Record{records}
	base, err = l.appendLocked(groups[:], len(records), f, d)
	return base, l.takeStored(base, len(records), err), err
}

// checkEpoch refuses an epoch that a later one has fenced. writing is held.
func (l *Log) checkEpoch(epoch int32) error {
	if epoch != 0 && epoch < l.w.epoch {
		return fmt.Errorf("%w: epoch %d, and %s has seen %d", ErrStaleEpoch, epoch, l.name(), l.w.epoch)
	}
	return nil
}

// beginEpoch makes an epoch that has passed checkEpoch the latest one, from
// offset start on. A log that has none yet begins with 0. writing is held.
func (l *Log) beginEpoch(epoch int32, start int64) error {
	if epoch <= l.w.epoch {
		return nil
	}
	next := Epochs{slices.Clone(l.epochs.list)}
	next.Assign(epoch, start)
	return l.setEpochs(next)
}

// followEpochs takes over the epochs that batches bring, as recovery would.
// writing is held.
func (l *Log) followEpochs(c *rawCall) error {
	var next Epochs
	latest := l.w.epoch
	for i := range c.batches {
		b := c.batches[i].batch()
		if e := b.LeaderEpoch(); e > latest {
			if len(next.list) == 0 {
				next.list = slices.Clone(l.epochs.list)
			}
			next.Assign(e, b.BaseOffset())
			latest = e
		}
	}
	if latest == l.w.epoch {
		return nil
	}
	return l.setEpochs(next)
}

// setEpochs replaces the epochs, durably. On an error the old ones hold.
func (l *Log) setEpochs(next Epochs) error {
	if err := WriteFile(l.env.fsys, segment.Join(l.dir, epochsName), next.Append(nil)); err != nil {
		return err
	}
	l.stateMu.Lock()
	l.epochs = next
	l.stateMu.Unlock()
	latest, _ := next.Latest()
	l.w.epoch = latest.Epoch
	return nil
}
