package main

import (
	"fmt"
	"path/filepath"
)

// form is one of the three.
type form string

const (
	mostOnce  form = "at-most-once"
	leastOnce form = "at-least-once"
	exactOnce form = "exactly-once"
)

var forms = []form{mostOnce, leastOnce, exactOnce}

func parseForm(s string) (form, error) {
	for _, f := range forms {
		if s == string(f) {
			return f, nil
		}
	}
	return "", fmt.Errorf("%q is none of %q", s, forms)
}

// promise is what the form promises, and whether the tally says that it was kept.
func (f form) promise(t tally) (what string, kept bool) {
	switch f {
	case mostOnce:
		return "none repeated", t.repeated == 0
	case leastOnce:
		return "none lost", t.lost == 0
	default:
		return "none lost, none repeated", t.lost == 0 && t.repeated == 0
	}
}

// The files of a form.
func (f form) in(dir string) string     { return filepath.Join(dir, string(f)+".in") }
func (f form) out(dir string) string    { return filepath.Join(dir, string(f)+".out") }
func (f form) store(dir string) string  { return filepath.Join(dir, string(f)+".store") }
func (f form) table(dir string) string  { return filepath.Join(dir, string(f)+".table") }  // of leastOnce
func (f form) ledger(dir string) string { return filepath.Join(dir, string(f)+".ledger") } // of exactOnce

// left is all that a run leaves.
func (f form) left(dir string) []string {
	return []string{f.in(dir), f.out(dir), f.store(dir), f.table(dir), f.ledger(dir)}
}
