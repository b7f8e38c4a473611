package leat

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

func TestDescribe(t *testing.T) {
	m := vfs.NewCrashMem()
	st, err := openFS(m, nil)
	require.NoError(t, err)
	p := part(t, st, "orders", TopicConfig{Partitions: 2, Durability: Written, FlushInterval: Unlimited, SegmentBytes: 1 << 10, Compression: Zstd})
	for range 20 {
		_, err := p.Append(ctx, Record{Value: noise(200)})
		require.NoError(t, err)
	}
	open := p.Describe()
	require.Equal(t, PartitionInfo{Partition: 0, Open: true, LogStartOffset: 0, LastStableOffset: 20, HighWatermark: 20, LogEndOffset: 20,
		DurableEnd: open.DurableEnd, LeaderEpoch: 0, Segments: len(p.log.Load().Segments()), Bytes: p.log.Load().Size()}, open)
	require.Greater(t, open.Segments, 2)
	require.Greater(t, open.Bytes, int64(4000))
	info := p.Topic().Describe()
	require.Equal(t, "orders", info.Name)
	require.Equal(t, p.Topic().ID(), info.ID)
	require.Equal(t, p.Topic().Config(), info.Config)
	require.Len(t, info.Partitions, 2)
	require.False(t, info.Partitions[1].Open)
	require.Nil(t, info.Partitions[1].Err)
	require.Nil(t, p.Topic().handle(1).log.Load(), "describing opens nothing")
	require.NoError(t, st.Close())

	st = openStore(t, m, nil)
	tp, err := st.Topic("orders")
	require.NoError(t, err)
	info = tp.Describe()
	require.Equal(t, PartitionInfo{LogStartOffset: -1, LastStableOffset: -1, HighWatermark: 20, LogEndOffset: 20, DurableEnd: 20,
		LeaderEpoch: -1, Segments: -1, Bytes: -1}, info.Partitions[0], "from the checkpoints of a clean close")
	require.Equal(t, "orders id="+tp.ID().String()+" partitions=2 compression.type=zstd flush.ms=9223372036854775807 leat.durability=written segment.bytes=1024\n"+
		"  partition  start  stable  watermark  end  durable  epoch  segments  bytes\n"+
		"          0      -       -         20   20       20      -         -      -  not open\n"+
		"          1      -       -          -    -        -      -         -      -  not open\n", info.String())
	p, err = tp.Partition(0)
	require.NoError(t, err)
	f := &fault{op: vfs.OpSync, name: "orders-0/", err: syscall.EIO}
	m.SetHook(f.hook)
	f.on.Store(true)
	_, err = p.AppendWith(ctx, AppendOptions{Durability: Synced}, Record{Value: []byte("x")})
	require.ErrorIs(t, err, ErrFailed)
	f.on.Store(false)
	require.ErrorIs(t, p.Describe().Err, ErrFailed)
	require.Contains(t, p.Describe().String(), "partition=0 start=0 stable=21 watermark=21 end=21 durable=20 epoch=0 segments=")
	require.Contains(t, tp.Describe().String(), syscall.EIO.Error())
	require.NoError(t, p.Reopen(ctx))
	require.NoError(t, p.Describe().Err)
}
