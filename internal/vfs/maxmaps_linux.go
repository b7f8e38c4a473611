package vfs

import (
	"os"
	"strconv"
	"strings"
	"sync"
)

// MaxMaps is the number of OS maps the process may hold through this package:
// half of vm.max_map_count, for at that limit it is not the next mmap that
// fails but the Go runtime.
var MaxMaps = sync.OnceValue(func() int {
	b, err := os.ReadFile("/proc/sys/vm/max_map_count")
	if err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && n > 0 {
			return n / 2
		}
	}
	return 65530 / 2 // the kernel's default
})
