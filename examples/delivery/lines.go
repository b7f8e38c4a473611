package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/leatlog/leat"
)

// line is what is written of an application: the id, and who did it. Both end up in
// FORM.out, for others to count.
func line(rec *leat.Record) string { return fmt.Sprintf("%s %d", rec.Key, os.Getpid()) }

// lineFile is a file that lines are added to. A line is in it whole, or not at all:
// what a process left of one that was killed while it wrote is no line.
type lineFile struct {
	file *os.File
	end  int64
}

func openLines(path string) (*lineFile, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(file)
	end := int64(bytes.LastIndexByte(text, '\n')) + 1
	if err == nil {
		err = file.Truncate(end)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return &lineFile{file, end}, nil
}

// add adds a line. After an error it has not been added.
func (l *lineFile) add(line string) error {
	n, err := l.file.WriteAt([]byte(line+"\n"), l.end)
	if err != nil {
		// Should that fail, too, there is a part without its end, which the next
		// line overwrites or openLines cuts.
		_ = l.file.Truncate(l.end)
		return err
	}
	l.end += int64(n)
	return nil
}

func (l *lineFile) sync() error  { return l.file.Sync() }
func (l *lineFile) close() error { return l.file.Close() }
