package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// ledger is the smallest database that exactlyOnce can do with: a file of
// transactions, one a line, that holds what each has added to the table and where
// it has moved a position. A transaction is there when its line is whole, which
// its checksum tells; what a crash leaves of a line is cut off when the ledger is
// opened. So the lines and the position are stored by one write, made durable by
// one sync, and read by one rule.
//
//	5f0c1e9a {"partition":2,"from":30,"next":33,"lines":["91 4711","97 4711","101 4711"]}
type ledger struct {
	file  *os.File
	end   int64
	next  map[int32]int64
	lines []string // the table
	err   error    // of a store that may have happened or not: opening again tells
}

type transaction struct {
	Partition int32    `json:"partition"`
	From      int64    `json:"from"`
	Next      int64    `json:"next"`
	Lines     []string `json:"lines"`
}

func openLedger(path string) (l *ledger, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	l = &ledger{file: file, next: map[int32]int64{}}
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	for rest := text; len(rest) > 0; {
		one, after, whole := bytes.Cut(rest, []byte("\n"))
		var t transaction
		if err := decode(one, &t); !whole || err != nil && len(after) == 0 {
			break // torn
		} else if err != nil {
			return nil, fmt.Errorf("%s: at %d: %w", path, l.end, err)
		}
		if err := l.apply(&t); err != nil {
			return nil, fmt.Errorf("%s: at %d: %w", path, l.end, err)
		}
		l.end += int64(len(one)) + 1
		rest = after
	}
	if err := file.Truncate(l.end); err != nil {
		return nil, err
	}
	// What was read may not have been synced by who wrote it, and it is built upon.
	return l, file.Sync()
}

func (l *ledger) position(partition int32) int64 { return l.next[partition] }

func (l *ledger) store(partition int32, from, next int64, lines []string) error {
	if l.err != nil {
		return l.err
	}
	t := transaction{partition, from, next, lines}
	text, err := encode(&t)
	if err != nil {
		return err
	}
	if err := l.check(&t); err != nil {
		return err
	}
	if _, err := l.file.WriteAt(text, l.end); err != nil {
		l.err = err
		return err
	}
	if err := l.file.Sync(); err != nil {
		l.err = err
		return err
	}
	l.end += int64(len(text))
	return l.apply(&t)
}

// check refuses what does not begin where the last transaction has ended.
func (l *ledger) check(t *transaction) error {
	if is := l.next[t.Partition]; t.From != is || t.Next < is {
		return fmt.Errorf("partition %d is at %d: it cannot go from %d to %d", t.Partition, is, t.From, t.Next)
	}
	return nil
}

func (l *ledger) apply(t *transaction) error {
	if err := l.check(t); err != nil {
		return err
	}
	l.next[t.Partition] = t.Next
	l.lines = append(l.lines, t.Lines...)
	return nil
}

func (l *ledger) close() error { return l.file.Close() }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encode(t *transaction) ([]byte, error) {
	text, err := json.Marshal(t)
	return fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(text, castagnoli), text), err
}

func decode(line []byte, t *transaction) error {
	sum, text, _ := bytes.Cut(line, []byte(" "))
	if string(sum) != fmt.Sprintf("%08x", crc32.Checksum(text, castagnoli)) {
		return errors.New("the checksum is another one")
	}
	return json.Unmarshal(text, t)
}
