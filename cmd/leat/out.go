package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// toOutput lets a command write to its standard output through a buffer, and
// makes a failure of an error of writing.
func toOutput(stdout io.Writer, do func(w *bufio.Writer) error) error {
	w := bufio.NewWriterSize(stdout, 64<<10)
	err := do(w)
	if flushed := w.Flush(); err == nil && flushed != nil {
		err = failed(writeError(flushed))
	}
	return err
}

// writeError is an error of writing to standard output.
func writeError(err error) error { return fmt.Errorf("standard output: %w", cause(err)) }

// printJSON writes one value on one line. What cannot be encoded is a mistake of
// ours; errors of writing stay in the bufio.Writer.
func printJSON(w *bufio.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return failed(e.Encode(v))
}

// screenWidth is how many columns a terminal has; 0: it is none, and lines may
// have any length.
func screenWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// table is output for people, in columns. A terminal that is too narrow for it
// gets its text cut, but never its numbers, and where even that does not help a
// list with a line for each cell. What is not a terminal gets all of it.
type table struct {
	heads []string
	right []bool // numbers, under one another by their last digit
	rows  [][]string
}

// newTable begins a table. A head that begins with '>' is of a column of
// numbers.
func newTable(heads ...string) *table {
	t := &table{}
	for _, h := range heads {
		name, right := strings.CutPrefix(h, ">")
		t.heads, t.right = append(t.heads, name), append(t.right, right)
	}
	return t
}

// row adds a row of as many cells as there are heads. An empty cell is shown as
// nothing.
func (t *table) row(cells ...string) {
	row := make([]string, len(t.heads))
	for i, c := range cells[:len(row)] {
		row[i] = printable(c)
	}
	t.rows = append(t.rows, row)
}

// digits is a cell; a dash is what is not known.
func digits[T int | int32 | int64](n T) string {
	if n < 0 {
		return "-"
	}
	return strconv.FormatInt(int64(n), 10)
}

// printable keeps what is in a text from acting on a terminal.
func printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 && utf8.ValidString(s) {
		return s
	}
	return strconv.Quote(s)
}

const (
	gap = 2 // between columns
	// leastText is what a column of text is cut to at least.
	leastText = 12
	cut       = "..."
)

// print writes the table for a screen of that width, 0 for any.
func (t *table) print(w *bufio.Writer, width int) {
	widths := t.widths()
	if width > 0 && !t.shrink(widths, width) {
		t.list(w)
		return
	}
	t.line(w, t.heads, widths)
	for _, row := range t.rows {
		t.line(w, row, widths)
	}
}

func (t *table) widths() []int {
	widths := make([]int, len(t.heads))
	for i, h := range t.heads {
		widths[i] = utf8.RuneCountInString(h)
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	return widths
}

// shrink takes from the widest column of text until all fit; false when they
// cannot.
func (t *table) shrink(widths []int, width int) bool {
	over := gap*(len(widths)-1) - width
	for _, n := range widths {
		over += n
	}
	for ; over > 0; over-- {
		widest := -1
		for i, n := range widths {
			least := max(leastText, utf8.RuneCountInString(t.heads[i]))
			if !t.right[i] && n > least && (widest < 0 || n > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return false
		}
		widths[widest]--
	}
	return true
}

func (t *table) line(w *bufio.Writer, cells []string, widths []int) {
	blanks := 0 // which nothing may follow
	for i, c := range cells {
		n := utf8.RuneCountInString(c)
		if n > widths[i] {
			c, n = string([]rune(c)[:widths[i]-len(cut)])+cut, widths[i]
		}
		pad := widths[i] - n
		if t.right[i] {
			blanks, pad = blanks+pad, 0
		}
		if c != "" {
			fmt.Fprintf(w, "%*s%s", blanks, "", c)
			blanks = 0
		}
		blanks += pad + gap
	}
	w.WriteByte('\n')
}

// list is the table with a line for each cell, the first of each row beginning
// at the margin.
func (t *table) list(w *bufio.Writer) {
	for _, row := range t.rows {
		for i, c := range row {
			if c == "" && i > 0 {
				continue
			}
			indent := "  "
			if i == 0 {
				indent = ""
			}
			fmt.Fprintf(w, "%s%s: %s\n", indent, t.heads[i], c)
		}
	}
}

// regarding says what an error is about.
type regarding struct {
	what string
	err  error
}

func (e *regarding) Error() string { return e.what + ": " + words(e.err) }
func (e *regarding) Unwrap() error { return e.err }

// words is what an error says, for a place where nobody doubts who says it.
func words(err error) string {
	if err == nil {
		return ""
	}
	return strings.TrimPrefix(err.Error(), "leat: ")
}
