//go:build unix

package leat

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/bits"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What the parent tells the children, in the environment.
const (
	followDirEnv  = "LEAT_FOLLOW_DIR"
	followRoleEnv = "LEAT_FOLLOW_ROLE" // write or read
	followSeedEnv = "LEAT_FOLLOW_SEED"
)

// The topics that stay. Others come and go.
var followTopics = map[string]TopicConfig{
	"raw":    {SegmentBytes: 64 << 10, Durability: Written, FlushInterval: 5 * time.Millisecond},
	"packed": {SegmentBytes: 32 << 10, Compression: Zstd},
	"large":  {SegmentBytes: 1 << 20, Durability: Written, IndexInterval: 512},
	"cut":    {SegmentBytes: 16 << 10, Durability: Written}, // it is truncated, and its records are deleted
}

// followValue is what is at an offset of a topic: all of it follows from these, so
// that a record that is torn, repeated or missing shows.
func followValue(topic string, offset int64) []byte {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s@%d", topic, offset)
	r := rand.New(rand.NewPCG(h.Sum64(), 1))
	size := 20 + r.IntN(200)
	if topic == "large" && r.IntN(10) == 0 {
		size = r.IntN(100 << 10)
	}
	b := fmt.Appendf(make([]byte, 0, size+40), "%s@%d:", topic, offset)
	for len(b) < size {
		b = strconv.AppendUint(b, r.Uint64(), 36)
	}
	return b
}

// TestFollowChild is not a test: it is the other processes of TestFollowers.
func TestFollowChild(t *testing.T) {
	dir := os.Getenv(followDirEnv)
	if dir == "" {
		t.Skip("the other processes of TestFollowers")
	}
	seed, _ := strconv.ParseUint(os.Getenv(followSeedEnv), 10, 64)
	parent := make(chan struct{}) // closed when the parent is gone, or wants the end
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		close(parent)
	}()
	var err error
	if os.Getenv(followRoleEnv) == "write" {
		err = followWrite(dir, seed, parent)
	} else {
		c, cancel := context.WithCancel(ctx)
		go func() {
			<-parent
			cancel()
		}()
		err = new(followCount).run(c, dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}

// followWrite appends until it is killed or told to end.
func followWrite(dir string, seed uint64, end <-chan struct{}) error {
	r := rand.New(rand.NewPCG(seed, 2))
	for n := 0; ; n++ {
		st, err := Open(dir, &Options{Writer: Writer(r.IntN(3)), LockWait: time.Second})
		if err != nil {
			return err
		}
		for name, c := range followTopics {
			if _, err := st.Topic(name); err != nil {
				if _, err := st.CreateTopic(ctx, name, c); err != nil {
					return err
				}
			}
		}
		over, err := followAppend(st, r, end)
		if err = errors.Join(err, st.Close()); err != nil || over {
			return err
		}
	}
}

func followAppend(st *Store, r *rand.Rand, end <-chan struct{}) (over bool, err error) {
	temp := ""
	for range 500 + r.IntN(2000) {
		select {
		case <-end:
			return true, nil
		default:
		}
		name := []string{"raw", "raw", "packed", "large", "cut"}[r.IntN(5)]
		switch {
		case r.IntN(50) == 0 && temp == "":
			name, temp = "temp", "temp"
			if _, err := st.Topic(temp); err == nil {
				break // a killed one left it
			}
			if _, err := st.CreateTopic(ctx, temp, TopicConfig{SegmentBytes: 4096, Durability: Written}); err != nil {
				return false, err
			}
		case temp != "" && r.IntN(20) == 0:
			if err := st.DeleteTopic(ctx, temp); err != nil {
				return false, err
			}
			temp = ""
		case temp != "" && r.IntN(3) == 0:
			name = temp
		}
		tp, err := st.Topic(name)
		if err != nil {
			return false, err
		}
		p, err := tp.Partition(0)
		if err != nil {
			return false, err
		}
		// Without mapped words a follower may be late to learn of it: see
		// docs/durability.md.
		if name == "cut" && bits.UintSize == 64 {
			start, end := p.LogStartOffset(), p.LogEndOffset()
			switch r.IntN(10) {
			case 0:
				err = p.TruncateTo(end - min(r.Int64N(50), end-start))
			case 1:
				err = p.DeleteRecords(ctx, start+r.Int64N(end-start+1))
			}
			if err != nil {
				return false, err
			}
		}
		records := make([]Record, 1+r.IntN(10))
		for i := range records {
			records[i].Value = followValue(name, p.LogEndOffset()+int64(i))
		}
		if _, err := p.Append(ctx, records...); err != nil {
			return false, err
		}
	}
	return false, nil
}

// followCount is how far the readers of one follower have come.
type followCount struct {
	raw, packed, large, cut, temp, gone atomic.Int64
}

func (c *followCount) of(topic string) *atomic.Int64 {
	return map[string]*atomic.Int64{"raw": &c.raw, "packed": &c.packed, "large": &c.large, "cut": &c.cut, "temp": &c.temp}[topic]
}

// run follows all topics, until ctx ends or something is wrong.
func (c *followCount) run(ctx context.Context, dir string) error {
	st, err := OpenReadOnly(dir, nil)
	for errors.Is(err, os.ErrNotExist) && ctx.Err() == nil {
		<-time.After(time.Millisecond) // the first writer has not come yet
		st, err = OpenReadOnly(dir, nil)
	}
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make(chan error, len(followTopics)+1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for name := range followTopics {
		wg.Go(func() { errs <- c.follow(ctx, st, name) })
	}
	wg.Go(func() {
		for {
			err := c.follow(ctx, st, "temp")
			if !errors.Is(err, ErrUnknownTopic) || ctx.Err() != nil {
				if ctx.Err() != nil && errors.Is(err, ErrUnknownTopic) {
					err = nil
				}
				errs <- err
				return
			}
			c.gone.Add(1)
		}
	})
	var first error
	for range cap(errs) {
		if err := <-errs; err != nil && !errors.Is(err, context.Canceled) && first == nil {
			first = err
			cancel()
		}
	}
	wg.Wait()
	return errors.Join(first, st.Close())
}

// follow reads one topic on and on.
func (c *followCount) follow(ctx context.Context, st *Store, name string) error {
	tp, err := st.Topic(name)
	for errors.Is(err, ErrUnknownTopic) && ctx.Err() == nil {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
		}
		tp, err = st.Topic(name)
	}
	if err != nil {
		return err
	}
	p, err := tp.Partition(0)
	if err != nil {
		return err
	}
	rd, err := p.Reader(ReaderOptions{})
	if err != nil {
		return err
	}
	defer rd.Close()
	next := rd.Offset()
	late := 0
again:
	for rec, err := range rd.Records(ctx) {
		var gone *OffsetError
		if name == "cut" && errors.As(err, &gone) {
			next = min(max(p.LogStartOffset(), next), p.LogEndOffset())
			if err = rd.SeekTo(next); err == nil || errors.Is(err, ErrOffsetOutOfRange) {
				c.cut.Store(next)
				goto again
			}
		}
		if bits.UintSize == 32 && errors.Is(err, ErrCorrupt) && late < 1000 {
			// Without mapped words it may be late to learn that a recovery has begun,
			// and reading again helps: docs/durability.md.
			late++
			<-time.After(time.Millisecond)
			goto again
		}
		if err != nil {
			return fmt.Errorf("%s at %d: %w", name, next, err)
		}
		late = 0
		if rec.Offset != next || !bytes.Equal(rec.Value, followValue(name, next)) {
			return fmt.Errorf("%s at %d: offset %d is %.60q", name, next, rec.Offset, rec.Value)
		}
		next++
		c.of(name).Store(next)
	}
	return nil
}

// followChild starts another process.
func followChild(t *testing.T, dir, role string, seed uint64) (cmd *exec.Cmd, end func() error) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd = exec.Command(self, "-test.run=^TestFollowChild$", "-test.timeout=10m")
	cmd.Env = append(os.Environ(), followDirEnv+"="+dir, followRoleEnv+"="+role, fmt.Sprintf("%s=%d", followSeedEnv, seed))
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	return cmd, func() error {
		_ = in.Close()
		err := cmd.Wait()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", role, err, output.Bytes())
		}
		return nil
	}
}

// TestFollowers: a writer in a process of its own appends, rolls, deletes topics,
// closes and opens again and is killed many times. Followers here and in other
// processes, some of which are killed too, see every record once, whole and in
// order, and end where the writer did.
func TestFollowers(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 5
	}
	if os.Getenv("LEAT_LONG") != "" {
		kills = 1500
	}
	r := killRand(t, 5)
	dir := t.TempDir()
	following, cancel := context.WithCancel(ctx)
	defer cancel()
	counts := make([]followCount, 2)
	errs := make(chan error, len(counts))
	for i := range counts {
		go func() { errs <- counts[i].run(following, dir) }()
	}
	var reader *exec.Cmd
	var endReader func() error
	for n := range kills {
		w, endWriter := followChild(t, dir, "write", r.Uint64())
		if reader == nil {
			reader, endReader = followChild(t, dir, "read", 0)
		}
		select {
		case <-time.After(time.Duration(20+r.IntN(200)) * time.Millisecond):
		case err := <-errs:
			t.Fatal(err)
		}
		if n+1 < kills {
			_ = w.Process.Kill()
		}
		require.NoError(t, endWriter())
		if n%4 == 3 {
			_ = reader.Process.Kill()
			require.NoError(t, endReader())
			reader = nil
		}
	}
	if reader != nil {
		require.NoError(t, endReader())
	}
	// What the writer says now is what all have seen, or see soon.
	st, err := Open(dir, nil)
	require.NoError(t, err)
	for name := range followTopics {
		end := reopened(t, st, name).LogEndOffset()
		for i := range counts {
			for n := counts[i].of(name); n.Load() < end || name == "cut" && n.Load() > end; {
				select {
				case <-time.After(time.Millisecond):
				case err := <-errs:
					t.Fatal(err)
				}
			}
			require.Equal(t, end, counts[i].of(name).Load())
		}
	}
	require.NoError(t, st.Close())
	cancel()
	for i := range counts {
		require.NoError(t, <-errs)
		t.Logf("follower %d: raw %d, packed %d, large %d records, %d deletions seen", i,
			counts[i].raw.Load(), counts[i].packed.Load(), counts[i].large.Load(), counts[i].gone.Load())
		require.Positive(t, counts[i].raw.Load())
		require.Positive(t, counts[i].packed.Load())
	}
	fresh := new(followCount)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := fresh.run(short, dir); !errors.Is(err, context.DeadlineExceeded) {
		require.NoError(t, err)
	}
}
