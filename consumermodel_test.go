package leat

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// consumerModel is a consumer by hand beside what it must see: partitions as
// slices, and positions.
type consumerModel struct {
	t     *testing.T
	rng   *rand.Rand
	st    *Store
	c     *Consumer
	parts []*modelPart
	kept  map[*Batch]string
	made  int
	got   int
}

type modelPart struct {
	p        *Partition
	values   []string // by offset
	start    int64
	assigned bool
	paused   bool
	pos      int64
	cut      bool // the log was cut below pos, which is where
}

// overtaken tells whether retention has overtaken the position.
func (p *modelPart) overtaken() bool { return p.pos < p.start }

// at is where the position leads when it is looked at.
func (p *modelPart) at(policy OutOfRange) int64 {
	switch {
	case !p.overtaken():
		return p.pos
	case p.cut: // nothing of what has come since is left out
		return p.start
	case policy == OutOfRangeLatest:
		return int64(len(p.values))
	}
	return p.start
}

func TestConsumerModel(t *testing.T) {
	seeds := 12
	if os.Getenv("LEAT_LONG") != "" {
		seeds = 500
	}
	for _, mapped := range []bool{true, false} {
		for _, policy := range []OutOfRange{OutOfRangeError, OutOfRangeEarliest, OutOfRangeLatest} {
			t.Run(fmt.Sprintf("mapped=%v/%v", mapped, policy), func(t *testing.T) {
				got := 0
				for seed := range seeds {
					m := newConsumerModel(t, uint64(seed), mapped, policy)
					for range 300 {
						m.step()
					}
					m.end()
					got += m.got
				}
				require.Greater(t, got, 100*seeds)
			})
		}
	}
}

func newConsumerModel(t *testing.T, seed uint64, mapped bool, policy OutOfRange) *consumerModel {
	m := &consumerModel{t: t, rng: rand.New(rand.NewPCG(seed, 6)), kept: map[*Batch]string{}}
	mem := vfs.NewMem()
	mem.SetMapped(mapped)
	var err error
	m.st, err = openFS(mem, nil)
	require.NoError(t, err)
	for _, name := range []string{"a", "b"} {
		c := TopicConfig{Partitions: 2, SegmentBytes: 2 << 10, Durability: Written}
		if m.rng.IntN(2) == 0 {
			c.Compression = LZ4
		}
		tp, err := m.st.CreateTopic(ctx, name, c)
		require.NoError(t, err)
		for p := range tp.Partitions() {
			m.parts = append(m.parts, &modelPart{p: p})
		}
	}
	m.c, err = m.st.Consumer(ConsumerConfig{OutOfRange: policy, MaxBytes: 1 << m.rng.IntN(14)})
	require.NoError(t, err)
	m.assign()
	return m
}

func (m *consumerModel) end() {
	for b, want := range m.kept {
		require.Equal(m.t, want, contents(m.t, b))
		b.Release()
	}
	require.NoError(m.t, errors.Join(m.c.Close(), m.st.Close()))
}

func (m *consumerModel) part() *modelPart { return m.parts[m.rng.IntN(len(m.parts))] }

func (m *consumerModel) step() {
	p := m.part()
	end := int64(len(p.values))
	switch n := m.rng.IntN(100); {
	case n < 30:
		m.append(p)
	case n < 60:
		m.poll()
	case n < 80:
		m.records(m.rng.IntN(8))
	case n < 84 && p.assigned:
		to := p.start + m.rng.Int64N(end-p.start+1)
		require.NoError(m.t, m.c.Seek(pos(p.p.topic.name, p.p.id, to)))
		p.pos, p.cut = to, false
	case n < 89 && p.assigned:
		p.paused = !p.paused
		do := m.c.Resume
		if p.paused {
			do = m.c.Pause
		}
		do(pos(p.p.topic.name, p.p.id, 0))
	case n < 94 && end > p.start:
		before := p.start + m.rng.Int64N(end-p.start+1)
		require.NoError(m.t, p.p.DeleteRecords(ctx, before))
		p.start = p.p.LogStartOffset()
	case n < 98:
		require.NoError(m.t, p.p.TruncateTo(p.start+m.rng.Int64N(end-p.start+1)))
		end = p.p.LogEndOffset()
		p.values = p.values[:end]
		p.start = p.p.LogStartOffset()
		if p.pos > end {
			p.pos, p.cut = end, true
		}
	case n == 98:
		m.assign()
	}
	m.positions()
}

func (m *consumerModel) append(p *modelPart) {
	var records []Record
	for range 1 + m.rng.IntN(6) {
		m.made++
		v := fmt.Sprintf("%s#%d", p.p, m.made)
		p.values = append(p.values, v)
		records = append(records, Record{Value: []byte(v)})
	}
	_, err := p.p.Append(ctx, records...)
	require.NoError(m.t, err)
}

// assign gives the consumer other partitions, at random places.
func (m *consumerModel) assign() {
	var at []Position
	for _, p := range m.parts {
		was := p.assigned
		if p.assigned = m.rng.IntN(4) > 0; !p.assigned {
			p.paused = false
			continue
		}
		if !was {
			p.paused = false
		}
		p.pos, p.cut = p.start+m.rng.Int64N(int64(len(p.values))-p.start+1), false
		at = append(at, pos(p.p.topic.name, p.p.id, p.pos))
	}
	require.NoError(m.t, m.c.Assign(at...))
}

// ready tells whether a Poll would return, and fails whether it may with an error.
func (m *consumerModel) ready() (ready, fails bool) {
	for _, p := range m.parts {
		if !p.assigned || p.paused {
			continue
		}
		if m.c.config.OutOfRange == OutOfRangeError && (p.cut || p.overtaken()) {
			ready, fails = true, true
		} else if p.at(m.c.config.OutOfRange) < int64(len(p.values)) {
			ready = true
		}
	}
	return ready, fails
}

// failed sees whether an error is the one of a partition, and leads around it.
func (m *consumerModel) failed(err error) {
	var gone *OffsetError
	require.ErrorAs(m.t, err, &gone)
	for _, p := range m.parts {
		if p.p.topic.name == gone.Topic && p.p.id == gone.Partition {
			require.True(m.t, p.assigned && !p.paused && (p.cut || p.overtaken()), "%v", err)
			require.Equal(m.t, p.start, gone.Start)
			p.pos, p.cut = p.at(OutOfRangeEarliest), false
			require.NoError(m.t, m.c.Seek(pos(gone.Topic, gone.Partition, p.pos)))
			return
		}
	}
	m.t.Fatal(err)
}

func (m *consumerModel) poll() {
	ready, fails := m.ready()
	if !ready {
		return
	}
	batches, err := m.c.Poll(ctx)
	if err != nil {
		require.True(m.t, fails, "%v", err)
		m.failed(err)
		return
	}
	require.NotEmpty(m.t, batches)
	for _, b := range batches {
		m.take(b.Topic(), b.Partition(), func(yield func(*Record)) {
			for rec, err := range b.Records() {
				require.NoError(m.t, err)
				yield(rec)
			}
		})
		if m.rng.IntN(20) == 0 {
			m.kept[b.Retain()] = contents(m.t, b)
		}
	}
}

// records takes n records in a loop, and leaves it.
func (m *consumerModel) records(n int) {
	for i := 0; i < n; i++ {
		ready, fails := m.ready()
		if !ready {
			return
		}
		for rec, err := range m.c.Records(ctx) {
			if err != nil {
				require.True(m.t, fails, "%v", err)
				m.failed(err)
				break
			}
			m.take(rec.Topic, rec.Partition, func(yield func(*Record)) { yield(rec) })
			i++
			if ready, _ := m.ready(); i >= n || !ready {
				break
			}
		}
	}
}

// take compares records with what comes next in their partition.
func (m *consumerModel) take(topic string, id int32, each func(func(*Record))) {
	for _, p := range m.parts {
		if p.p.topic.name != topic || p.p.id != id {
			continue
		}
		require.True(m.t, p.assigned && !p.paused)
		require.False(m.t, m.c.config.OutOfRange == OutOfRangeError && (p.cut || p.overtaken()))
		p.pos, p.cut = p.at(m.c.config.OutOfRange), false
		each(func(rec *Record) {
			require.Equal(m.t, p.pos, rec.Offset, "%s: start %d, end %d", p.p, p.start, len(p.values))
			require.Equal(m.t, p.values[p.pos], string(rec.Value))
			p.pos++
			m.got++
		})
		return
	}
	m.t.Fatal(topic, id)
}

// positions compares positions. One that is out of range is adjusted when its turn
// has come.
func (m *consumerModel) positions() {
	seen := map[string]bool{}
	for _, at := range m.c.Assignment() {
		for _, p := range m.parts {
			if p.p.topic.name != at.Topic || p.p.id != at.Partition {
				continue
			}
			seen[p.p.String()] = true
			switch {
			case p.cut:
				require.GreaterOrEqual(m.t, at.Offset, p.pos)
				if at.Offset == p.pos && m.c.config.OutOfRange != OutOfRangeError {
					p.cut = false
				}
			case p.overtaken():
				if at.Offset != p.pos {
					require.Equal(m.t, p.at(m.c.config.OutOfRange), at.Offset)
					p.pos = at.Offset
				}
			default:
				require.Equal(m.t, p.pos, at.Offset, "%v", p.p)
			}
		}
	}
	want := map[string]bool{}
	for _, p := range m.parts {
		if p.assigned {
			want[p.p.String()] = true
		}
	}
	require.Equal(m.t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(seen)))
}

// TestConsumersShareWhileWritten: members come and go while records are appended,
// and each record is read, in its partition's order, and again only where a member
// has not committed what it had.
func TestConsumersShareWhileWritten(t *testing.T) {
	const records, members = 2000, 4
	st := memStore(t)
	topic, err := st.CreateTopic(ctx, "orders", TopicConfig{Partitions: 6, Durability: Written, SegmentBytes: 8 << 10})
	require.NoError(t, err)
	type read struct {
		partition int32
		offset    int64
	}
	done, finished := make(chan read, 100), make(chan error, members)
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	for i := range members {
		go func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			finished <- func() error {
				for stop.Err() == nil {
					c, err := st.Consumer(ConsumerConfig{Group: "g", Topics: []string{"orders"}, MaxBytes: 500})
					if err != nil {
						return err
					}
					for range 1 + rng.IntN(20) {
						batches, err := c.Poll(stop)
						if err != nil {
							break
						}
						for _, b := range batches {
							for rec, err := range b.Records() {
								if err != nil {
									return err
								}
								done <- read{rec.Partition, rec.Offset}
							}
						}
						if err := c.Commit(ctx); err != nil && !errors.Is(err, ErrRebalanced) {
							return err
						}
					}
					if err := c.Close(); err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	go func() {
		for i := range records {
			p, err := topic.Partition(int32(i % 6))
			if err == nil {
				_, err = p.Append(ctx, Record{Value: fmt.Appendf(nil, "%d", i)})
			}
			if err != nil {
				finished <- err
			}
		}
	}()
	seen, again := map[read]bool{}, 0
	next := map[int32]int64{}
	for len(seen) < records {
		r := <-done
		if seen[r] {
			again++
			continue
		}
		require.Equal(t, next[r.partition], r.offset)
		seen[r] = true
		next[r.partition]++
	}
	cancel()
	for range members {
		for over := false; !over; {
			select {
			case <-done:
				again++
			case err := <-finished:
				require.NoError(t, err)
				over = true
			}
		}
	}
	require.Zero(t, again, "what was given up was committed before")
}
