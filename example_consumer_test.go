package leat_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leatlog/leat"
)

// orders is a store in memory with a topic of one partition, and these records.
func orders(values ...string) *leat.Store {
	st := must(leat.OpenMem(nil))
	must(st.CreateTopic(context.Background(), "orders", leat.TopicConfig{}))
	add(st, values...)
	return st
}

// add produces records, one a minute from noon on.
func add(st *leat.Store, values ...string) {
	p := must(st.Producer(leat.ProducerConfig{}))
	defer p.Close()
	for i, v := range values {
		r := &leat.Record{Topic: "orders", Key: []byte("42"), Value: []byte(v), Timestamp: noon.Add(time.Duration(i) * time.Minute)}
		if err := p.Produce(context.Background(), r); err != nil {
			panic(err)
		}
	}
}

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// A member of a group reads, and commits what it is done with. Whoever joins the
// group later goes on there, also after the end of the process.
func ExampleConsumer() {
	ctx := context.Background()
	st := orders("ordered", "paid", "sent")
	defer st.Close()

	for range 2 {
		c, err := st.Consumer(leat.ConsumerConfig{Group: "mailer", Topics: []string{"orders"}})
		if err != nil {
			panic(err)
		}
		batches, err := c.Poll(ctx)
		if err != nil {
			panic(err)
		}
		for _, b := range batches {
			for rec, err := range b.Records() {
				fmt.Println(rec.Offset, string(rec.Value), err)
			}
		}
		if err := c.Commit(ctx); err != nil { // all that Poll gave
			panic(err)
		}
		fmt.Println("next:", c.Assignment(), "waiting:", c.Lag().Records)
		c.Close() // its partitions are free for others
		add(st, "returned")
	}
	// Output:
	// 0 ordered <nil>
	// 1 paid <nil>
	// 2 sent <nil>
	// next: [orders-0@3] waiting: 0
	// 3 returned <nil>
	// next: [orders-0@4] waiting: 0
}

// Records flattens the batches. Each record lives for one turn of the loop.
func ExampleConsumer_Records() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	st := orders("ordered", "paid", "sent")
	defer st.Close()

	c := must(st.Consumer(leat.ConsumerConfig{Group: "mailer", Topics: []string{"orders"}}))
	defer c.Close()
	for rec, err := range c.Records(ctx) {
		if errors.Is(err, context.Canceled) {
			break // it would wait for more
		}
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s-%d@%d %s\n", rec.Topic, rec.Partition, rec.Offset, rec.Value)
		if string(rec.Value) == "sent" {
			stop()
		}
	}
	fmt.Println(c.Commit(context.Background()), c.Assignment())
	// Output:
	// orders-0@0 ordered
	// orders-0@1 paid
	// orders-0@2 sent
	// <nil> [orders-0@3]
}

// Without a group, Assign says what is read, and the position is kept elsewhere, or
// nowhere.
func ExampleConsumer_Assign() {
	ctx := context.Background()
	st := orders("ordered", "paid", "sent")
	defer st.Close()

	c := must(st.Consumer(leat.ConsumerConfig{}))
	defer c.Close()
	if err := c.Assign(leat.Position{Topic: "orders", Partition: 0, Offset: 1}); err != nil {
		panic(err)
	}
	for _, b := range must(c.Poll(ctx)) {
		for rec, err := range b.Records() {
			fmt.Println(rec.Offset, string(rec.Value), err)
		}
	}
	fmt.Println("next:", c.Assignment())
	// Output:
	// 1 paid <nil>
	// 2 sent <nil>
	// next: [orders-0@3]
}

// Everything since half a minute past noon, once more: a replay.
func ExampleConsumer_SeekAll() {
	ctx := context.Background()
	st := orders("ordered", "paid", "sent")
	defer st.Close()

	c := must(st.Consumer(leat.ConsumerConfig{Topics: []string{"orders"}}))
	defer c.Close()
	read := func() {
		for _, b := range must(c.Poll(ctx)) {
			for rec := range b.Records() {
				fmt.Print(" ", string(rec.Value))
			}
		}
		fmt.Println()
	}
	read()
	if err := c.SeekAll(ctx, leat.AtTime(noon.Add(30*time.Second))); err != nil {
		panic(err)
	}
	read()
	// Output:
	//  ordered paid sent
	//  paid sent
}

// Two members of a group share its partitions. They come and go within Poll: there
// the first member commits what it has done before it gives one up, and the second
// goes on from that.
func ExampleConsumerConfig() {
	ctx := context.Background()
	st := must(leat.OpenMem(nil))
	defer st.Close()
	must(st.CreateTopic(ctx, "orders", leat.TopicConfig{Partitions: 2}))
	p := must(st.Producer(leat.ProducerConfig{Partitioner: leat.FixedPartition}))
	defer p.Close()
	produce := func(value string) {
		for id := range int32(2) {
			if err := p.Produce(ctx, &leat.Record{Topic: "orders", Partition: id, Value: []byte(value)}); err != nil {
				panic(err)
			}
		}
	}
	join := func(name string) *leat.Consumer {
		return must(st.Consumer(leat.ConsumerConfig{
			Group:  "mailer",
			Member: name,
			Topics: []string{"orders"},
			OnAssign: func(_ context.Context, _ *leat.Consumer, parts []leat.Position) {
				fmt.Println(name, "gets", parts)
			},
			OnRevoke: func(ctx context.Context, c *leat.Consumer, parts []leat.Position) {
				fmt.Println(name, "gives up", parts, c.Commit(ctx, parts...))
			},
		}))
	}
	poll := func(name string, c *leat.Consumer) {
		for _, b := range must(c.Poll(ctx)) {
			for rec := range b.Records() {
				fmt.Printf("%s: %s-%d@%d %s\n", name, rec.Topic, rec.Partition, rec.Offset, rec.Value)
			}
		}
	}

	produce("ordered")
	a := join("a")
	poll("a", a)
	b := join("b")
	produce("paid")
	poll("a", a)
	poll("b", b)
	a.Close()
	b.Close()
	// Output:
	// a gets [orders-0@0 orders-1@0]
	// a: orders-0@0 ordered
	// a: orders-1@0 ordered
	// a gives up [orders-1@1] <nil>
	// a: orders-0@1 paid
	// b gets [orders-1@1]
	// b: orders-1@1 paid
	// a gives up [orders-0@2] <nil>
	// b gives up [orders-1@2] <nil>
}

// What a group has before it, and how it is moved: the records of the last two
// minutes once more.
func ExampleGroups() {
	ctx := context.Background()
	st := orders("ordered", "paid", "sent", "returned")
	defer st.Close()
	c := must(st.Consumer(leat.ConsumerConfig{Group: "mailer", Topics: []string{"orders"}}))
	must(c.Poll(ctx))
	if err := c.Commit(ctx, leat.Position{Topic: "orders", Partition: 0, Offset: 3, Metadata: "host a"}); err != nil {
		panic(err)
	}
	c.Close()

	groups := st.Groups()
	info := must(groups.Describe(ctx, "mailer"))
	for _, p := range info.Partitions {
		fmt.Printf("%s is %v, at %v, behind by %d record\n", info.Group, info.State, p.Position, p.Lag.Records)
	}
	to := leat.ResetOptions{To: leat.AtTime(noon.Add(time.Minute)), DryRun: true}
	fmt.Println("would be", must(groups.Reset(ctx, "mailer", to)))
	to.DryRun = false
	must(groups.Reset(ctx, "mailer", to))
	fmt.Println("is at", must(groups.Fetch(ctx, "mailer", true)))
	// Output:
	// mailer is Empty, at orders-0@3 "host a", behind by 1 record
	// would be [mailer orders-0: 3 to 1]
	// is at [orders-0@1]
}

// At most once: commit, then process. What a crash finds between the two is lost,
// and nothing is processed twice.
func ExampleConsumer_atMostOnce() {
	st := orders("ordered", "paid", "sent")
	defer st.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	crash := true
	process := func(rec *leat.Record) error {
		if crash && string(rec.Value) == "paid" {
			return errors.New("crash")
		}
		fmt.Println(string(rec.Value))
		if string(rec.Value) == "sent" {
			stop()
		}
		return nil
	}
	fmt.Println(atMostOnce(ctx, st, process))
	crash = false
	fmt.Println(atMostOnce(ctx, st, process))
	// Output:
	// ordered
	// crash
	// sent
	// context canceled
}

// Page begins
func atMostOnce(ctx context.Context, st *leat.Store, process func(*leat.Record) error) error {
	c, err := st.Consumer(leat.ConsumerConfig{Group: "worker", Topics: []string{"orders"}})
	if err != nil {
		return err
	}
	defer c.Close()
	for rec, err := range c.Records(ctx) {
		if err != nil {
			return err
		}
		err = c.Commit(ctx) // it counts as done, whatever comes now
		if errors.Is(err, leat.ErrRebalanced) {
			continue // somebody else has the partition, and does it
		}
		if err != nil {
			return err
		}
		if err := process(rec); err != nil {
			return err
		}
	}
	return nil
}

// Page ends

// At least once: process, then commit. What a crash finds between the two is
// processed again, and nothing is lost.
func ExampleConsumer_atLeastOnce() {
	st := orders("ordered", "paid", "sent")
	defer st.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	crash := true
	process := func(rec *leat.Record) error {
		if crash && string(rec.Value) == "sent" {
			return errors.New("crash")
		}
		fmt.Println(string(rec.Value))
		if string(rec.Value) == "sent" {
			stop()
		}
		return nil
	}
	fmt.Println(atLeastOnce(ctx, st, process))
	crash = false
	fmt.Println(atLeastOnce(ctx, st, process))
	// Output:
	// ordered
	// paid
	// crash
	// ordered
	// paid
	// sent
	// context canceled
}

// Page begins
func atLeastOnce(ctx context.Context, st *leat.Store, process func(*leat.Record) error) error {
	c, err := st.Consumer(leat.ConsumerConfig{Group: "worker", Topics: []string{"orders"}})
	if err != nil {
		return err
	}
	defer c.Close()
	for {
		batches, err := c.Poll(ctx)
		if err != nil {
			return err
		}
		for _, b := range batches {
			for rec, err := range b.Records() {
				if err != nil {
					return err
				}
				if err := process(rec); err != nil {
					return err
				}
			}
		}
		err = c.Commit(context.WithoutCancel(ctx)) // all that Poll gave
		// ErrRebalanced: somebody else has some of it, and does it again.
		if err != nil && !errors.Is(err, leat.ErrRebalanced) {
			return err
		}
	}
}

// Page ends

// Exactly once, into a database: the position is written in the same transaction
// as what the records do. Nobody else's word is needed on where to go on.
func ExampleConsumer_exactlyOnce() {
	st := orders("ordered", "paid", "sent")
	defer st.Close()
	db := &database{next: leat.Position{Topic: "orders", Partition: 0, Offset: 0}}
	db.crash = true
	fmt.Println(exactlyOnce(context.Background(), st, db))
	fmt.Println(db.rows, db.next)

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	db.crash, db.committed = false, stop
	fmt.Println(exactlyOnce(ctx, st, db))
	fmt.Println(db.rows, db.next)
	// Output:
	// crash
	// [] orders-0@0
	// context canceled
	// [ordered paid sent] orders-0@3
}

// Page begins
func exactlyOnce(ctx context.Context, st *leat.Store, db *database) error {
	c, err := st.Consumer(leat.ConsumerConfig{}) // of no group: the database has the position
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Assign(db.position()); err != nil {
		return err
	}
	for {
		batches, err := c.Poll(ctx)
		if err != nil {
			return err
		}
		err = db.transaction(func(tx *transaction) error {
			for _, b := range batches {
				for rec, err := range b.Records() {
					if err != nil {
						return err
					}
					if err := tx.apply(rec); err != nil {
						return err
					}
				}
			}
			return tx.setPosition(c.Assignment()[0]) // all of it, or nothing
		})
		if err != nil {
			return err
		}
	}
}

// Page ends

// database stands for one that has transactions. examples/hrsync has SQLite.
type database struct {
	rows      []string
	next      leat.Position
	crash     bool
	committed func()
}

type transaction struct{ database }

func (db *database) position() leat.Position { return db.next }

// transaction keeps what fn has changed only when it returns nil.
func (db *database) transaction(fn func(*transaction) error) error {
	tx := &transaction{*db}
	if err := fn(tx); err != nil {
		return err
	}
	*db = tx.database
	db.committed()
	return nil
}

func (tx *transaction) apply(rec *leat.Record) error {
	if tx.crash && string(rec.Value) == "paid" {
		return errors.New("crash")
	}
	tx.rows = append(tx.rows, string(rec.Value))
	return nil
}

func (tx *transaction) setPosition(next leat.Position) error {
	tx.next = next
	return nil
}
