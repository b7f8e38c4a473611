package main

import (
	"cmp"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/leatlog/leat/segment"
)

type kind uint8

// The order is that in which a folder's files of one offset are dumped.
const (
	unknown kind = iota
	textFile
	epochsFile
	offsetsFile
	logFile
	offsetIndex
	timeIndex
	txnIndex
	snapshotFile
)

type file struct {
	path string
	name string
	kind kind
	// base is the offset in the name, 0 if there is none.
	base  int64
	named bool // it has one
	size  int64
	// inFolder says that the file is one of several, so that its name matters.
	inFolder bool
}

// parseName tells what a file is by its name, as Kafka does. Only the end of the
// name must be right, so that a copy by another name can be looked at, too.
func parseName(path string) file {
	f := file{path: path, name: filepath.Base(path)}
	name := f.name
	if strings.HasPrefix(name, "leader-epoch-checkpoint") {
		f.kind = epochsFile
		return f
	}
	if strings.HasSuffix(name, "-offset-checkpoint") {
		f.kind = offsetsFile
		return f
	}
	if name == "partition.metadata" {
		f.kind = textFile
		return f
	}
	// What the cleaner, a deletion and a recovery leave behind.
	for _, s := range []string{".deleted", ".cleaned", ".swap"} {
		name = strings.TrimSuffix(name, s)
	}
	f.base, _, f.named = segment.ParseName(name)
	switch filepath.Ext(name) {
	case segment.LogSuffix, ".quarantine":
		f.kind = logFile
	case segment.IndexSuffix:
		f.kind = offsetIndex
	case segment.TimeSuffix:
		f.kind = timeIndex
	case segment.TxnSuffix:
		f.kind = txnIndex
	case segment.SnapshotSuffix:
		f.kind = snapshotFile
	}
	return f
}

// list picks the files of a partition's folder: the text files, then those of
// each offset. It also counts the segments, and names one folder in it, if there
// is any.
func list(path string, entries []fs.DirEntry) (files []file, segments int, folder string) {
	for _, e := range entries {
		f := parseName(filepath.Join(path, e.Name()))
		if e.IsDir() {
			i := strings.LastIndexByte(f.name, '-')
			if _, err := strconv.ParseInt(f.name[i+1:], 10, 32); err == nil && i > 0 && folder == "" {
				folder = f.name
			}
			continue
		}
		_, suffix, ok := segment.ParseName(f.name)
		switch {
		case ok && f.kind == logFile && suffix == segment.LogSuffix:
			segments++
		case ok && f.kind != unknown && f.kind != logFile && strings.Count(suffix, ".") == 1:
		case f.kind == textFile, f.name == "leader-epoch-checkpoint":
		default:
			continue // not part of the log, or no longer
		}
		f.inFolder = true
		files = append(files, f)
	}
	slices.SortStableFunc(files, func(a, b file) int {
		return cmp.Or(first(a.kind < logFile, b.kind < logFile), cmp.Compare(a.base, b.base), cmp.Compare(a.kind, b.kind))
	})
	return files, segments, folder
}

// first orders what has a property before what has not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
