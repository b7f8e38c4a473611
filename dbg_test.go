package leat

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

func TestDbg(t *testing.T) {
	for _, mapped := range []bool{true, false} {
		for _, d := range []Durability{Synced, Written} {
			for _, first := range []int{0, 5} {
				t.Run(fmt.Sprint(mapped, d, first), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						m := vfs.NewMem()
						m.SetMapped(mapped)
						st, err := openFS(m, &Options{Cleaner: Cleaner{Off: true}})
						require.NoError(t, err)
						c := compacted
						c.Durability = d
						p := part(t, st, "orders", c)
						f, err := openFollower(m, nil)
						require.NoError(t, err)
						q := reopened(t, f, "orders")
						r, err := q.Reader(ReaderOptions{})
						require.NoError(t, err)
						puts(t, p, 100, 7)
						read := func() {
							for {
								soon, cancel := context.WithTimeout(ctx, time.Second)
								_, err := r.Next(soon)
								cancel()
								if err != nil {
									t.Log(r.Offset(), err, q.Describe())
									break
								}
							}
						}
						if first > 0 {
							read()
						}
						require.NoError(t, p.Compact(ctx, nil))
						read()
						puts(t, p, 100, 7)
						read()
						require.NoError(t, p.Compact(ctx, nil))
						read()
						r.Close()
						require.NoError(t, f.Close())
						require.NoError(t, st.Close())
					})
				})
			}
		}
	}
}
