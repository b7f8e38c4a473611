package leat

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/leatlog/leat/internal/coordination"
	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
)

// BenchmarkCommit commits one offset a call, synced: one group, and 16 that share
// their syncs. The floor writes the bytes of one commit and syncs them.
func BenchmarkCommit(b *testing.B) {
	for _, groups := range []int{1, 16} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) { benchCommit(b, groups) })
	}
	b.Run("floor", floorCommit)
}

func benchCommit(b *testing.B, groups int) {
	ctx := context.Background()
	s := must[*Store](b)(Open(benchDir(b), nil))
	b.Cleanup(func() { s.Close() })
	must[*Topic](b)(s.CreateTopic(ctx, "orders", TopicConfig{}))
	if err := s.commitOffsets(ctx, "group-0", []Position{{Topic: "orders"}}, nil); err != nil {
		b.Fatal(err)
	}
	t := must[*Topic](b)(s.Topic(offsetsTopic))
	l := must[*Partition](b)(t.Partition(0)).log.Load()
	var (
		work  sync.WaitGroup
		calls = make(chan struct{}, groups)
	)
	for i := range groups {
		name, at := fmt.Sprintf("group-%d", i), []Position{{Topic: "orders"}}
		work.Go(func() {
			for range calls {
				if err := s.commitOffsets(ctx, name, at, nil); err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.ReportAllocs()
	syncs := l.Syncs()
	if groups == 1 {
		at := []Position{{Topic: "orders"}}
		for b.Loop() {
			if err := s.commitOffsets(ctx, "group-0", at, nil); err != nil {
				b.Fatal(err)
			}
		}
	} else {
		for b.Loop() {
			calls <- struct{}{}
		}
	}
	close(calls)
	work.Wait()
	b.ReportMetric(float64(b.N)/float64(l.Syncs()-syncs), "commits/sync")
}

// commitBatch is one commit as it is stored.
func commitBatch(b *testing.B) []byte {
	key := must[[]byte](b)(coordination.AppendOffsetKey(nil, coordination.OffsetKey{Version: 1, Group: "group-0", Topic: "orders"}))
	value := must[[]byte](b)(coordination.AppendOffsetValue(nil, coordination.OffsetValue{Version: 3, LeaderEpoch: -1, ExpireTimestamp: -1}))
	return make([]byte, 61+10+len(key)+len(value))
}

func floorCommit(b *testing.B) {
	fsys := must[vfs.FS](b)(vfs.OS(benchDir(b), vfs.Options{}))
	f := must[vfs.File](b)(fsys.Create("floor"))
	defer f.Close()
	if err := f.Allocate(0, benchFile); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	src, pos := commitBatch(b), int64(0)
	b.ReportAllocs()
	for b.Loop() {
		if pos+int64(len(src)) > benchFile {
			pos = 0
		}
		if _, err := f.WriteAt(src, pos); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		pos += int64(len(src))
	}
}

// BenchmarkReplayGroups opens a store with 100,000 committed offsets, of 1,000
// groups with a hundred partitions each and of 100,000 with one, and asks for one.
// heap-B/offset is what is held of each afterwards.
func BenchmarkReplayGroups(b *testing.B) {
	for _, groups := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) { benchReplayGroups(b, groups) })
	}
}

func benchReplayGroups(b *testing.B, groups int) {
	const all = 100_000
	ctx := context.Background()
	dir := benchDir(b)
	s := must[*Store](b)(Open(dir, nil))
	if err := s.makeOffsetsTopic(ctx); err != nil {
		b.Fatal(err)
	}
	t := must[*Topic](b)(s.Topic(offsetsTopic))
	l := must[*Partition](b)(t.Partition(0)).log.Load()
	parts := all / groups
	name := func(i int) string { return fmt.Sprintf("group-%d", i) }
	for i := range groups {
		records := make([]log.Record, parts)
		for p := range records {
			records[p].Key = must[[]byte](b)(coordination.AppendOffsetKey(nil, coordination.OffsetKey{
				Version: 1, Group: name(i), Topic: fmt.Sprint("orders-", p%3), Partition: int32(p)}))
			records[p].Value = must[[]byte](b)(coordination.AppendOffsetValue(nil, coordination.OffsetValue{
				Version: 3, Offset: int64(i), LeaderEpoch: 1, ExpireTimestamp: -1}))
		}
		if _, err := l.Append(ctx, records, log.Written); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	var heap uint64
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		before := heapInUse()
		b.StartTimer()
		s := must[*Store](b)(Open(dir, nil))
		o := must[*offsets](b)(s.committedOffsets(ctx))
		if c, ok, err := o.fetch(name(groups-1), log.TopicPartition{Topic: "orders-0"}); err != nil || !ok || c.offset != int64(groups-1) {
			b.Fatal(c, ok, err)
		}
		b.StopTimer()
		heap = heapInUse() - before
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(heap)/all, "heap-B/offset")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/all, "ns/offset")
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
