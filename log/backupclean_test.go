package log

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// hooked tells of calls before they are done; nil: nobody.
type hooked struct {
	vfs.FS
	call func()
}

func (h *hooked) told() {
	if f := h.call; f != nil {
		f()
	}
}

func (h *hooked) Create(name string) (vfs.File, error) { h.told(); return h.FS.Create(name) }

func (h *hooked) Open(name string, m vfs.Mode) (vfs.File, error) {
	h.told()
	return h.FS.Open(name, m)
}

func (h *hooked) ReadDir(name string) ([]vfs.Info, error) { h.told(); return h.FS.ReadDir(name) }

// TestBackupWhileCleaned: a cleaning drops what records behind the end that a
// backup settled on before have replaced. A copy from which something was dropped
// has what replaced it: it is the log of one moment, whenever the cleaning comes.
func TestBackupWhileCleaned(t *testing.T) {
	ctx := context.Background()
	for _, sealed := range []int{20, 200} { // records that are there before: one segment, or several
		// Segments of later records are as large, so that a cleaning merges or keeps them.
		for _, more := range []int{59, 150} {
			reached := true
			for at := 1; reached; at++ {
				if at > 12 && os.Getenv("LEAT_LONG") == "" {
					at += 5 // what lies behind is alike
				}
				reached = false
				t.Run(fmt.Sprint(sealed, "+", more, "/", at), func(t *testing.T) {
					c := Config{Topic: "t", SegmentBytes: 1500, IndexInterval: 100}
					from, to := &hooked{FS: vfs.NewMem()}, &hooked{FS: vfs.NewMem()}
					env := NewEnv(EnvOptions{FS: from, Writer: WriterPwrite})
					defer env.Close()
					require.NoError(t, from.Mkdir("t-0"))
					l, _, err := Open(env, "t-0", c, OpenState{New: true, RecoveryPoint: -1, StartOffset: -1, HighWatermark: -1})
					require.NoError(t, err)
					defer l.Abandon()
					fillKeys(t, l, sealed, 60, 3)
					require.NoError(t, l.RollLarge(1))
					fillKeys(t, l, 10, 60, 3)
					_, err = l.Append(ctx, []Record{{Key: []byte("last"), Value: []byte("stays")}}, Synced)
					require.NoError(t, err)
					require.NoError(t, l.awaitSealed(ctx, l.segments.Load().segs)) // nothing works behind its back
					history := readAllRecords(t, l, 0)
					calls := 0
					call := func() {
						if calls++; calls != at {
							return
						}
						reached = true
						from.call, to.call = nil, nil
						fillKeys(t, l, more, 60, 3)
						history = append(history, readAllRecords(t, l, int64(len(history)))...)
						require.NoError(t, l.RollLarge(1))
						_, err := l.Compact(ctx, CleanOptions{Now: time.Now(), From: 0, MaxLag: -1, TombstoneRetain: time.Hour, MapBytes: 1 << 20})
						require.NoError(t, err)
					}
					require.NoError(t, to.Mkdir("t-0"))
					from.call, to.call = call, call
					b, err := l.Backup(ctx, to, "t-0", BackupOptions{})
					from.call, to.call = nil, nil
					require.NoError(t, err)
					copies := NewEnv(EnvOptions{FS: to.FS, Writer: WriterPwrite})
					defer copies.Close()
					copied, _, err := Open(copies, "t-0", c, OpenState{RecoveryPoint: b.RecoveryPoint, StartOffset: b.Start, HighWatermark: -1})
					require.NoError(t, err)
					defer copied.Abandon()
					require.Equal(t, b.End, copied.LogEndOffset())
					want := map[string]string{}
					for _, r := range history {
						if r.Offset < b.End {
							want[string(r.Key)] = fmt.Sprintf("%s at %d", r.Value, r.Offset)
						}
					}
					require.Equal(t, want, newest(t, copied))
				})
			}
		}
	}
}
