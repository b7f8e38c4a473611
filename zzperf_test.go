package leat

import ("testing";"time";"runtime";"fmt";"github.com/stretchr/testify/require")

func TestZZPerf(t *testing.T) {
	dir := t.TempDir()
	st, err := Open(dir, nil)
	require.NoError(t, err)
	b := time.Now()
	_, err = st.CreateTopic(ctx, "many", TopicConfig{Partitions: 10000})
	require.NoError(t, err)
	fmt.Println("create", time.Since(b)); b = time.Now()
	tp, _ := st.Topic("many")
	for id := range int32(10000) { p, err := tp.Partition(id); require.NoError(t, err); _, err = p.AppendWith(ctx, AppendOptions{Durability: Written}, Record{Value: []byte("x")}); require.NoError(t, err) }
	fmt.Println("open and append each", time.Since(b)); b = time.Now()
	require.NoError(t, st.Close())
	fmt.Println("close", time.Since(b)); b = time.Now()
	var m0, m1 runtime.MemStats
	runtime.GC(); runtime.ReadMemStats(&m0)
	st, err = Open(dir, nil)
	require.NoError(t, err)
	fmt.Println("open", time.Since(b)); 
	tp, _ = st.Topic("many")
	for id := range int32(10000) { _, err := tp.Partition(id); require.NoError(t, err) }
	fmt.Println("open with all partitions", time.Since(b), runtime.NumGoroutine()); b = time.Now()
	runtime.GC(); runtime.ReadMemStats(&m1)
	fmt.Println("heap a partition", (m1.HeapAlloc-m0.HeapAlloc)/10000)
	require.NoError(t, st.Close())
	fmt.Println("close", time.Since(b)); b = time.Now()
}
