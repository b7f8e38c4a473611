package main

import (
	"bytes"
	"os"
	"strconv"
)

// resident is the memory that the process has for itself, in bytes: RssAnon. What
// ps and top show counts the pages of mapped files, too. Those are the system's
// page cache, which it takes back when it needs the memory.
func resident() (int64, bool) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, false
	}
	_, rest, ok := bytes.Cut(status, []byte("RssAnon:"))
	if !ok {
		return 0, false
	}
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0, false
	}
	kib, err := strconv.ParseInt(string(fields[0]), 10, 64)
	return kib << 10, err == nil
}
