package leat

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/internal/vfs"
)

// FuzzCheck checks directories of any files: an archive of names and contents. It
// must end, without a panic, and without memory that the files do not account for.
func FuzzCheck(f *testing.F) {
	add := func(m *vfs.Mem) {
		var b []byte
		for _, folder := range []string{".", "orders-0", "__metadata-0"} {
			list, err := m.ReadDir(folder)
			require.NoError(f, err)
			for _, e := range list {
				name := inFolder(folder, e.Name)
				if e.IsDir() || name == stateName {
					continue
				}
				data, err := readSmall(m, name)
				require.NoError(f, err)
				b = append(b, byte(len(name)))
				b = append(b, name...)
				b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
				b = append(b, data...)
			}
		}
		f.Add(b)
	}
	add(flipStore(f, false))
	m := flipStore(f, true)
	require.NoError(f, m.Remove(cleanName))
	add(m)
	f.Add([]byte("\x21orders-0/00000000000000000000.log\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := vfs.NewMem()
		m.SetMapped(false)
		size := 0
		for len(b) > 0 && size < 200 {
			n := min(int(b[0]), len(b)-1)
			name := string(b[1 : 1+n])
			b = b[1+n:]
			if len(b) < 2 {
				break
			}
			n = min(int(binary.BigEndian.Uint16(b)), len(b)-2)
			data := b[2 : 2+n]
			b = b[2+n:]
			size++
			if dir, _, ok := strings.Cut(name, "/"); ok {
				_ = m.Mkdir(dir)
			}
			file, err := m.Create(name)
			if err != nil {
				continue
			}
			_, err = file.WriteAt(data, 0)
			require.NoError(t, err)
			require.NoError(t, file.Close())
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, folder := range []string{"", "orders-0", "."} {
			n := 0
			checkFS(ctx, m, folder, nil, func(f Finding, err error) bool {
				n++
				if err == nil {
					require.NotEmpty(t, f.String())
				}
				return true
			})
			require.Less(t, n, 1<<20)
		}
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<30))
		require.Zero(t, m.OpenFiles())
	})
}

// TestCheckManyPartitions: a thousand of them, as many files as the process may
// have open notwithstanding, in the order of their folders.
func TestCheckManyPartitions(t *testing.T) {
	m := vfs.NewMem()
	m.SetMapped(false)
	st, err := openFS(m, nil)
	require.NoError(t, err)
	const n = 1000
	tp, err := st.CreateTopic(ctx, "many", TopicConfig{Partitions: n, Durability: Written})
	require.NoError(t, err)
	for p := range tp.Partitions() {
		_, err := p.Append(ctx, Record{Value: fmt.Append(nil, p.String())})
		require.NoError(t, err)
	}
	require.NoError(t, st.Close())
	list, errs := checkAll(t, m, "")
	require.Empty(t, errs)
	require.Empty(t, list)

	damaged := []string{"many-0", "many-10", "many-100", "many-500", "many-999"} // as the folders are sorted
	for _, folder := range damaged {
		name := folder + "/00000000000000000000.log"
		b, err := readSmall(m, name)
		require.NoError(t, err)
		b[70] ^= 1
		putRoot(t, m, name, b)
	}
	list, errs = checkAll(t, m, "")
	require.Empty(t, errs)
	require.Len(t, list, len(damaged))
	for i, f := range list {
		require.Equal(t, damaged[i], fmt.Sprintf("%s-%d", f.Topic, f.Partition))
	}
}
