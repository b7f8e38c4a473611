package leat

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/log"
)

// requireKafkaLoads looks at a directory as Kafka's LogManager and LogLoader do
// when a broker is started on it after an orderly stop (KAFKA_RULES 4.2, 4.3,
// 4.5), and more closely: every index entry, snapshot and checkpoint line must be
// what the batches say. It shares no code with what wrote them.
func requireKafkaLoads(t testing.TB, dir string) {
	t.Helper()
	require.Equal(t, `{"version":0,"brokerEpoch":-1}`, textOf(t, dir, ".kafka_cleanshutdown"))
	require.Regexp(t, `(?m)^version=[01]$`, textOf(t, dir, "meta.properties"))
	recovery := kafkaOffsets(t, dir, "recovery-point-offset-checkpoint")
	start := kafkaOffsets(t, dir, "log-start-offset-checkpoint")
	watermark := kafkaOffsets(t, dir, "replication-offset-checkpoint")
	list, err := os.ReadDir(dir)
	require.NoError(t, err)
	folders := map[string]bool{}
	for _, e := range list {
		if !e.IsDir() {
			require.True(t, e.Type().IsRegular(), e.Name())
			require.NotContains(t, e.Name(), ".tmp")
			continue
		}
		// A broker does not start with a folder of another name.
		require.Regexp(t, `^[A-Za-z0-9._-]+-(0|[1-9][0-9]*)$`, e.Name())
		folders[e.Name()] = true
		p := kafkaPartition{t: t, dir: filepath.Join(dir, e.Name()), start: -1}
		if s, ok := start[e.Name()]; ok {
			p.start = s
		}
		p.load()
		if len(p.bases) == 0 {
			continue // made and never used: Kafka makes its first segment
		}
		require.Equal(t, p.end, recovery[e.Name()], "recovery point of %s", e.Name())
		require.LessOrEqual(t, watermark[e.Name()], p.end, "%s", e.Name())
		if p.start >= 0 {
			require.Greater(t, p.start, p.bases[0], "%s: listed only when above the first segment", e.Name())
			require.LessOrEqual(t, p.start, p.end)
		}
	}
	for _, lines := range []map[string]int64{recovery, start, watermark} {
		for name := range lines {
			require.True(t, folders[name], "a line for %s, which is not there", name)
		}
	}
}

func textOf(t testing.TB, dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return string(b)
}

// kafkaLines reads a checkpoint file: version, count, so many lines.
func kafkaLines(t testing.TB, dir, name string) [][]string {
	lines := strings.Split(strings.TrimSuffix(textOf(t, dir, name), "\n"), "\n")
	require.GreaterOrEqual(t, len(lines), 2, name)
	require.Equal(t, "0", lines[0], name)
	require.Equal(t, strconv.Itoa(len(lines)-2), lines[1], name)
	var out [][]string
	for _, l := range lines[2:] {
		out = append(out, strings.Split(l, " "))
	}
	return out
}

func kafkaOffsets(t testing.TB, dir, name string) map[string]int64 {
	out := map[string]int64{}
	for _, f := range kafkaLines(t, dir, name) {
		require.Len(t, f, 3)
		n, err := strconv.ParseInt(f[2], 10, 64)
		require.NoError(t, err)
		out[f[0]+"-"+f[1]] = n
	}
	return out
}

// kafkaBatch is what the checks need of a batch.
type kafkaBatch struct {
	base, last, pos, maxTime, pid int64
	epoch                         int32
	producerEpoch                 int16
	attributes                    uint16
	lastSeq, delta                int32
	abort, commit                 bool
}

type kafkaProducer struct {
	last, txn      int64 // offset of the last data; first of the open transaction, -1
	lastSeq, delta int32
	epoch          int16
}

// kafkaPartition is one folder, as it is walked.
type kafkaPartition struct {
	t          testing.TB
	dir        string
	start, end int64
	bases      []int64
	producers  map[int64]kafkaProducer
	epochs     [][2]int64
	seen       map[int64]bool // base offsets of batches
	aborted    map[int64]bool // markers of the segment that ended a transaction with data
}

var kafkaName = regexp.MustCompile(`^([0-9]{20})(\.log|\.index|\.timeindex|\.txnindex|\.snapshot)$`)

func (p *kafkaPartition) load() {
	t := p.t
	list, err := os.ReadDir(p.dir)
	require.NoError(t, err)
	files := map[string][]int64{}
	for _, e := range list {
		m := kafkaName.FindStringSubmatch(e.Name())
		switch {
		case m != nil:
			base, err := strconv.ParseInt(m[1], 10, 64)
			require.NoError(t, err)
			files[m[2]] = append(files[m[2]], base)
		case e.Name() == "leader-epoch-checkpoint", e.Name() == "partition.metadata":
		default: // Leat's own, which Kafka leaves alone
			require.Regexp(t, `^segments\.sum$|\.quarantine$`, e.Name(), p.dir)
		}
		require.True(t, e.Type().IsRegular())
	}
	require.Regexp(t, `^version: 0\ntopic_id: [A-Za-z0-9_-]{22}$`, textOf(t, p.dir, "partition.metadata"))
	p.bases = files[".log"]
	if len(p.bases) == 0 {
		return
	}
	require.Equal(t, p.bases, files[".index"], "%s: an index without a log is deleted, a log without one recovered", p.dir)
	require.Equal(t, p.bases, files[".timeindex"], p.dir)
	p.loadEpochs()
	p.producers, p.seen, p.aborted = map[int64]kafkaProducer{}, map[int64]bool{}, map[int64]bool{}
	next := p.bases[0]
	for _, base := range p.bases {
		require.GreaterOrEqual(t, base, next, "%s: segments overlap", p.dir)
		next = base
		if slices.Contains(files[".snapshot"], base) {
			p.snapshot(base)
		}
		batches := p.segment(base)
		if n := len(batches); n > 0 { // compaction may leave none
			next = batches[n-1].last + 1
		}
		if slices.Contains(files[".txnindex"], base) {
			p.txnIndex(base, batches)
		} else {
			require.Empty(t, p.aborted, "%s: transactions were aborted in segment %d, and it has no index of them", p.dir, base)
		}
		clear(p.aborted)
	}
	for _, base := range files[".txnindex"] {
		require.Contains(t, p.bases, base)
	}
	p.end = next
	for _, s := range files[".snapshot"] {
		require.True(t, s == p.end || slices.Contains(p.bases, s), "%s: stray snapshot %d", p.dir, s)
		require.Greater(t, s, int64(0))
	}
	if p.end > max(p.start, p.bases[0]) {
		require.Contains(t, files[".snapshot"], p.end, "%s: a clean stop leaves one at the end", p.dir)
		p.snapshot(p.end)
	}
	if n := len(p.epochs); n > 0 {
		require.LessOrEqual(t, p.epochs[n-1][1], p.end)
	}
	p.sums()
}

func (p *kafkaPartition) loadEpochs() {
	last := [2]int64{-1, -1}
	for _, f := range kafkaLines(p.t, p.dir, "leader-epoch-checkpoint") {
		require.Len(p.t, f, 2)
		epoch, err := strconv.ParseInt(f[0], 10, 32)
		require.NoError(p.t, err)
		start, err := strconv.ParseInt(f[1], 10, 64)
		require.NoError(p.t, err)
		require.Greater(p.t, epoch, last[0], p.dir)
		require.Greater(p.t, start, last[1], p.dir)
		last = [2]int64{epoch, start}
		p.epochs = append(p.epochs, last)
	}
}

func (p *kafkaPartition) epochAt(offset int64) int64 {
	e := int64(-1)
	for _, x := range p.epochs {
		if x[1] <= offset {
			e = x[0]
		}
	}
	return e
}

func (p *kafkaPartition) file(base int64, suffix string) ([]byte, string) {
	name := filepath.Join(p.dir, strings.Repeat("0", 20-len(strconv.FormatInt(base, 10)))+strconv.FormatInt(base, 10)+suffix)
	b, err := os.ReadFile(name)
	require.NoError(p.t, err)
	return b, name
}

// segment walks the batches of a log file, which must fill it exactly, and
// compares both indexes with them.
func (p *kafkaPartition) segment(base int64) (batches []kafkaBatch) {
	t := p.t
	b, name := p.file(base, ".log")
	next := base
	for pos := 0; pos < len(b); {
		require.GreaterOrEqual(t, len(b)-pos, 61, "%s at %d", name, pos)
		h := b[pos:]
		n := int(int32(binary.BigEndian.Uint32(h[8:]))) + 12
		require.True(t, n >= 61 && n <= len(h), "%s at %d: %d bytes", name, pos, n)
		require.Equal(t, byte(2), h[16], name)
		require.Equal(t, binary.BigEndian.Uint32(h[17:]), crc32.Checksum(h[21:n], crc32.MakeTable(crc32.Castagnoli)), "%s at %d", name, pos)
		k := kafkaBatch{base: int64(binary.BigEndian.Uint64(h)), pos: int64(pos), epoch: int32(binary.BigEndian.Uint32(h[12:])),
			attributes: binary.BigEndian.Uint16(h[21:]), delta: int32(binary.BigEndian.Uint32(h[23:])),
			maxTime: int64(binary.BigEndian.Uint64(h[35:])), pid: int64(binary.BigEndian.Uint64(h[43:])), producerEpoch: int16(binary.BigEndian.Uint16(h[51:]))}
		k.last = k.base + int64(k.delta)
		if seq := int32(binary.BigEndian.Uint32(h[53:])); seq >= 0 {
			k.lastSeq = int32(uint32(seq) + uint32(k.delta)&math.MaxInt32)
		}
		require.GreaterOrEqual(t, k.base, next, name)
		require.LessOrEqual(t, k.last-base, int64(math.MaxInt32))
		if k.epoch >= 0 && k.base >= p.epochs[0][1] {
			require.Equal(t, p.epochAt(k.base), int64(k.epoch), "%s: epoch of the batch at %d", name, k.base)
		}
		if k.attributes&0x20 != 0 && binary.BigEndian.Uint32(h[57:]) == 1 {
			typ := binary.BigEndian.Uint16(h[61+5+2:]) // behind length, attributes, two deltas, the key's length and version
			k.abort, k.commit = typ == 0, typ == 1
		}
		p.seen[k.base] = true
		p.produced(k)
		next = k.last + 1
		pos += n
		batches = append(batches, k)
	}
	p.offsetIndex(base, batches)
	p.timeIndex(base, batches)
	return batches
}

// produced keeps what a snapshot must say of a producer.
func (p *kafkaPartition) produced(k kafkaBatch) {
	if k.pid < 0 {
		return
	}
	s, ok := p.producers[k.pid]
	if !ok {
		s = kafkaProducer{last: -1, txn: -1}
	}
	switch {
	case k.attributes&0x20 != 0 && !k.abort && !k.commit:
		return // a marker that compaction emptied, with all of its transaction
	case k.attributes&0x20 != 0:
		if k.abort && s.txn >= 0 {
			p.aborted[k.base] = true
		}
		s.txn = -1
		if k.producerEpoch > s.epoch {
			s.last = -1 // it begins anew
		}
	default:
		s.last, s.lastSeq, s.delta = k.last, k.lastSeq, k.delta
		if k.attributes&0x10 != 0 && s.txn < 0 {
			s.txn = k.base
		}
	}
	s.epoch = k.producerEpoch
	p.producers[k.pid] = s
}

func (p *kafkaPartition) offsetIndex(base int64, batches []kafkaBatch) {
	b, name := p.file(base, ".index")
	require.Zero(p.t, len(b)%8, name)
	last := int64(-1)
	for ; len(b) > 0; b = b[8:] {
		offset, pos := base+int64(binary.BigEndian.Uint32(b)), int64(binary.BigEndian.Uint32(b[4:]))
		require.Greater(p.t, offset, last, name)
		require.Greater(p.t, pos, int64(0), name)
		last = offset
		require.True(p.t, slices.ContainsFunc(batches, func(k kafkaBatch) bool { return k.pos == pos && k.last == offset }),
			"%s: (%d, %d) is no batch", name, offset, pos)
	}
}

func (p *kafkaPartition) timeIndex(base int64, batches []kafkaBatch) {
	b, name := p.file(base, ".timeindex")
	require.Zero(p.t, len(b)%12, name)
	lastTime, lastOffset := int64(-1), base
	for ; len(b) > 0; b = b[12:] {
		ms, offset := int64(binary.BigEndian.Uint64(b)), base+int64(binary.BigEndian.Uint32(b[8:]))
		require.Greater(p.t, ms, lastTime, name)
		require.GreaterOrEqual(p.t, offset, lastOffset, name)
		lastTime, lastOffset = ms, offset
		largest := int64(-1)
		for _, k := range batches {
			if k.last <= offset {
				largest = max(largest, k.maxTime)
			}
		}
		require.Equal(p.t, largest, ms, "%s: entry of offset %d", name, offset)
	}
	largest := int64(-1)
	for _, k := range batches {
		largest = max(largest, k.maxTime)
	}
	require.Equal(p.t, largest, lastTime, "%s: its last entry has the largest timestamp", name)
}

func (p *kafkaPartition) txnIndex(base int64, batches []kafkaBatch) {
	b, name := p.file(base, ".txnindex")
	require.NotEmpty(p.t, b, "%s: it exists only when there are some", name)
	require.Zero(p.t, len(b)%34, name)
	last := int64(-1)
	for ; len(b) > 0; b = b[34:] {
		require.Zero(p.t, binary.BigEndian.Uint16(b), name)
		pid, first, marker := int64(binary.BigEndian.Uint64(b[2:])), int64(binary.BigEndian.Uint64(b[10:])), int64(binary.BigEndian.Uint64(b[18:]))
		require.Greater(p.t, marker, last, name)
		require.Less(p.t, first, marker, name)
		last = marker
		require.True(p.t, slices.ContainsFunc(batches, func(k kafkaBatch) bool { return k.base == marker && k.pid == pid && k.abort }),
			"%s: no abort marker of producer %d at %d", name, pid, marker)
		delete(p.aborted, marker)
	}
	require.Empty(p.t, p.aborted, "%s: aborted transactions that it does not list", name)
}

// snapshot compares a snapshot with the producers seen so far.
func (p *kafkaPartition) snapshot(offset int64) {
	t := p.t
	b, name := p.file(offset, ".snapshot")
	require.GreaterOrEqual(t, len(b), 10, name)
	require.Equal(t, uint16(1), binary.BigEndian.Uint16(b), name)
	require.Equal(t, binary.BigEndian.Uint32(b[2:]), crc32.Checksum(b[6:], crc32.MakeTable(crc32.Castagnoli)), name)
	n := int(binary.BigEndian.Uint32(b[6:]))
	require.Len(t, b, 10+46*n, name)
	seen := map[int64]bool{}
	for b = b[10:]; len(b) > 0; b = b[46:] {
		pid := int64(binary.BigEndian.Uint64(b))
		require.False(t, seen[pid], name)
		seen[pid] = true
		lastSeq, last := int32(binary.BigEndian.Uint32(b[10:])), int64(binary.BigEndian.Uint64(b[14:]))
		delta, txn := int32(binary.BigEndian.Uint32(b[22:])), int64(binary.BigEndian.Uint64(b[38:]))
		require.Less(t, last, offset, name)
		if s := p.producers[pid]; last >= p.bases[0] && s.last == last { // else it was deleted or compacted away
			require.Equal(t, s.delta, delta, "%s: producer %d", name, pid)
			require.Equal(t, s.lastSeq, lastSeq, "%s: producer %d", name, pid)
			if s.txn != txn { // it began in a batch that was deleted or compacted away
				require.True(t, txn >= 0 && !p.seen[txn], "%s: transaction of producer %d is %d, not %d", name, pid, txn, s.txn)
			}
		}
		if s, ok := p.producers[pid]; ok {
			require.GreaterOrEqual(t, last, s.last, "%s: producer %d", name, pid)
		}
	}
	for pid, s := range p.producers {
		require.True(t, seen[pid] || s.txn < 0, "%s: the open transaction of producer %d is missing", name, pid)
	}
}

// sums compares Leat's checksums of sealed files with the files.
func (p *kafkaPartition) sums() {
	b, err := os.ReadFile(filepath.Join(p.dir, "segments.sum"))
	require.NoError(p.t, err)
	for name, sum := range log.ParseSums(b).Files {
		b, err := os.ReadFile(filepath.Join(p.dir, name))
		if os.IsNotExist(err) && sum.Size == 0 {
			continue
		}
		require.NoError(p.t, err)
		require.Equal(p.t, sum.Size, int64(len(b)), name)
		require.Equal(p.t, sum.CRC, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)), name)
	}
}
