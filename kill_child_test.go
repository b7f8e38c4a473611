//go:build unix

package leat

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// What the parent tells the child, in the environment.
const (
	killDirEnv    = "LEAT_KILL_DIR"
	killSeedEnv   = "LEAT_KILL_SEED"
	killCallsEnv  = "LEAT_KILL_CALLS"
	killRecordsAt = 3 // the pipe's descriptor in the child
)

// TestKillChild is not a test: it is the process that TestKill kills.
func TestKillChild(t *testing.T) {
	dir := os.Getenv(killDirEnv)
	if dir == "" {
		t.Skip("the other process of TestKill")
	}
	seed, _ := strconv.ParseUint(os.Getenv(killSeedEnv), 10, 64)
	calls, _ := strconv.Atoi(os.Getenv(killCallsEnv))
	c := &killChild{seed: seed, pipe: os.NewFile(killRecordsAt, "pipe")}
	c.run(dir, calls)
}

// killChild appends from several goroutines, and writes a line to the pipe for
// each thing that was acknowledged, and before each thing that cannot be undone.
// Each line is one write, so it is in the pipe whole or not at all:
//
//	open                               the store is open
//	create TOPIC PARTITIONS            the topic is there (said of all at open)
//	append TOPIC PARTITION BASE ID N   N records are there from BASE on
//	deleting TOPIC                     from now on the topic may be gone
//	deleted TOPIC                      it is
type killChild struct {
	seed uint64
	pipe *os.File

	mu     sync.Mutex
	topics []*Topic
}

func (c *killChild) say(format string, args ...any) {
	if _, err := fmt.Fprintf(c.pipe, format+"\n", args...); err != nil {
		os.Exit(4) // the parent is gone
	}
}

func (c *killChild) check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}

func (c *killChild) run(dir string, calls int) {
	st, err := Open(dir, &Options{Writer: Writer(c.seed % 3)})
	c.check(err)
	c.say("open")
	for tp := range st.Topics() {
		if !strings.HasPrefix(tp.Name(), "gone") {
			c.topics = append(c.topics, tp)
			c.say("create %s %d", tp.Name(), tp.Config().Partitions)
		}
	}
	if len(c.topics) == 0 {
		c.create(st, rand.New(rand.NewPCG(c.seed, 99)), "first")
	}
	const goroutines = 4
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() { c.appends(st, g, calls/goroutines) })
	}
	wg.Go(func() { c.deletes(st, 1+calls/1000) })
	wg.Wait()
	c.check(st.Close())
}

// appends appends to whatever partition comes up, at whatever level.
func (c *killChild) appends(st *Store, g, calls int) {
	r := rand.New(rand.NewPCG(c.seed, uint64(g)))
	level := func() Durability { return Durability(g) } // of some all the same: none waits for the other's disk
	if g == 0 || g > int(Written) {
		level = func() Durability { return Durability(r.IntN(3)) }
	}
	for i := range calls {
		if r.IntN(300) == 0 {
			c.create(st, r, fmt.Sprintf("topic-%d-%d-%d", c.seed, g, i))
		}
		c.mu.Lock()
		tp := c.topics[r.IntN(len(c.topics))]
		c.mu.Unlock()
		p, err := tp.Partition(r.Int32N(tp.Config().Partitions))
		c.check(err)
		c.append(p, r, level(), fmt.Sprintf("%d.%d.%d", c.seed, g, i))
		if g != int(Written) && r.IntN(100) == 0 {
			c.check(p.Sync(context.Background()))
		}
	}
}

func (c *killChild) append(p *Partition, r *rand.Rand, d Durability, id string) {
	n := 1
	switch {
	case r.IntN(3) == 0:
		n = 1 + r.IntN(20)
	case p.Topic().Config().SegmentBytes >= 128<<10 && r.IntN(4) == 0:
		id = killLarge + id // it takes a while to be written: more kills fall into it
	}
	base, err := p.AppendWith(context.Background(), AppendOptions{Durability: d}, killRecords(id, n)...)
	c.check(err)
	c.say("append %s %d %d %s %d", p.Topic().Name(), p.ID(), base, id, n)
}

// create makes a topic in which much happens: small segments, tiny indexes,
// frequent flushes.
func (c *killChild) create(st *Store, r *rand.Rand, name string) {
	c.mu.Lock()
	n := len(c.topics)
	c.mu.Unlock()
	if n >= 5 {
		return
	}
	tp, err := st.CreateTopic(context.Background(), name, TopicConfig{
		Partitions:    1 + r.Int32N(3),
		Durability:    Durability(1 + r.IntN(2)),
		Compression:   []Compression{None, None, Zstd, LZ4, Snappy, Gzip}[r.IntN(6)],
		SegmentBytes:  8192 << r.IntN(6),
		IndexBytes:    240 << r.IntN(8),
		IndexInterval: 512,
		FlushInterval: time.Duration(1+r.IntN(20)) * time.Millisecond,
	})
	c.check(err)
	c.say("create %s %d", name, tp.Config().Partitions)
	c.mu.Lock()
	c.topics = append(c.topics, tp)
	c.mu.Unlock()
}

// deletes makes topics and deletes them again.
func (c *killChild) deletes(st *Store, n int) {
	r := rand.New(rand.NewPCG(c.seed, 77))
	for i := range n {
		name := fmt.Sprintf("gone-%d-%d", c.seed, i)
		tp, err := st.CreateTopic(context.Background(), name, TopicConfig{Partitions: 2, SegmentBytes: 8192})
		c.check(err)
		c.say("create %s 2", name)
		for j := range 5 {
			p, err := tp.Partition(r.Int32N(2))
			c.check(err)
			c.append(p, r, 0, fmt.Sprintf("%d.gone%d.%d", c.seed, i, j))
		}
		c.say("deleting %s", name)
		c.check(st.DeleteTopic(context.Background(), name))
		c.say("deleted %s", name)
	}
}

const killLarge = "large-"

// killValue is the value of record k of the n that were appended together under
// an id. All of it follows from its first line, which it repeats up to a size of
// its own.
func killValue(id string, k, n int) []byte {
	head := fmt.Appendf(nil, "%s %d %d\n", id, k, n)
	h := fnv.New32a()
	_, _ = h.Write(head)
	size := int(h.Sum32() % 200)
	switch {
	case strings.HasPrefix(id, killLarge):
		size *= 500
	case n == 1 && size < 10:
		size *= 300
	}
	value := head
	for len(value) < size {
		value = append(value, head[:min(len(head), size-len(value))]...)
	}
	return value
}

func killRecords(id string, n int) []Record {
	list := make([]Record, n)
	for k := range list {
		list[k] = Record{Key: []byte(id), Value: killValue(id, k, n)}
	}
	return list
}
