package leat

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the parent of TestSendfileChild tells it, in the environment.
const (
	sendfileDirEnv    = "LEAT_SENDFILE_DIR"
	sendfileWriterEnv = "LEAT_SENDFILE_WRITER"
)

// sendfileBytes is what the child sends, at least.
const sendfileBytes = 6 << 20

// TestSendfileChild is not a test: it is the process that TestSendfile looks at.
func TestSendfileChild(t *testing.T) {
	dir := os.Getenv(sendfileDirEnv)
	if dir == "" {
		t.Skip("the other process of TestSendfile")
	}
	w, _ := strconv.Atoi(os.Getenv(sendfileWriterEnv))
	st, err := Open(dir, &Options{Writer: Writer(w)})
	require.NoError(t, err)
	defer st.Close()
	p := part(t, st, "sent", TopicConfig{SegmentBytes: 1 << 20})
	for p.log.Load().Size() < sendfileBytes {
		_, err := p.AppendWith(ctx, AppendOptions{Durability: Written}, Record{Value: make([]byte, 100_000)})
		require.NoError(t, err)
	}
	require.NoError(t, p.Sync(ctx))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	to, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	from, err := l.Accept()
	require.NoError(t, err)
	got := make(chan int64, 1)
	go func() {
		n, _ := io.Copy(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{from})
		got <- n
	}()
	for offset := int64(0); offset < p.HighWatermark(); {
		f, err := p.Fetch(FetchOptions{Offset: offset, MaxBytes: Unlimited})
		require.NoError(t, err)
		_, err = f.WriteTo(to)
		require.NoError(t, err)
		offset = f.NextOffset()
		f.Release()
	}
	require.NoError(t, to.Close())
	require.Equal(t, p.log.Load().Size(), <-got)
}

// TestSendfile counts the system calls of a process that sends a partition over
// a TCP connection: sendfile moves every byte, and no call that copies moves more
// than what else such a process has to write.
func TestSendfile(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not there:", err)
	}
	if out, err := exec.Command(strace, "-f", "-qq", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("strace cannot run: %v: %s", err, out)
	}
	for _, w := range []Writer{WriterMapped, WriterPwrite} {
		t.Run(w.String(), func(t *testing.T) {
			trace := filepath.Join(t.TempDir(), "trace")
			cmd := exec.Command(strace, "-f", "-qq", "-o", trace,
				"-e", "trace=?sendfile,?sendfile64,?write,?writev,?pwritev,?sendto,?sendmsg,?sendmmsg,?splice,?vmsplice",
				os.Args[0], "-test.run=^TestSendfileChild$")
			cmd.Env = append(os.Environ(), sendfileDirEnv+"="+t.TempDir(), fmt.Sprintf("%s=%d", sendfileWriterEnv, w))
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			calls, moved := countCalls(t, trace)
			t.Log(calls, moved)
			sent := moved["sendfile"] + moved["sendfile64"]
			require.GreaterOrEqual(t, sent, int64(sendfileBytes))
			rest := -sent
			for _, n := range moved {
				rest += n
			}
			require.Less(t, rest, int64(64<<10), "%v", moved)
		})
	}
}

// countCalls reads how often each system call was made, and how many bytes it
// moved in all, from strace's lines:
//
//	12 sendfile(9, 10, [0] => [4096], 4096) = 4096
//	12 <... sendfile resumed>, 4096)        = 4096
func countCalls(t *testing.T, trace string) (calls, moved map[string]int64) {
	f, err := os.Open(trace)
	require.NoError(t, err)
	defer f.Close()
	line := regexp.MustCompile(`^\d+ +(?:<\.\.\. )?([a-z0-9]+)(?:\(| resumed>).*\) += (\d+)$`)
	calls, moved = map[string]int64{}, map[string]int64{}
	for s := bufio.NewScanner(f); s.Scan(); {
		if m := line.FindStringSubmatch(s.Text()); m != nil {
			n, err := strconv.ParseInt(m[2], 10, 64)
			require.NoError(t, err)
			calls[m[1]]++
			moved[m[1]] += n
		}
	}
	return calls, moved
}
