package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// state is what the database says has happened.
type state struct {
	next  int64
	audit []applied // in order
	seeks []seek
	oa    map[string]string // unit: name, parent
	crm   map[string]string // unit: label
}

type applied struct{ id, seek, pid int64 }

// seek is a move of the position by hand.
type seek struct{ was, next int64 }

// look reads the state of the database, when f has done something to it.
func (p *play) look(ctx context.Context, f func(*database) error) (s state, err error) {
	db, err := openDatabase(ctx, p.dir)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	if f != nil {
		if err := f(db); err != nil {
			return s, err
		}
	}
	if s.next, err = db.position(ctx); err != nil {
		return s, err
	}
	s.oa, s.crm = map[string]string{}, map[string]string{}
	for query, each := range map[string]func(scan func(...any) error) error{
		"SELECT id, seek, pid FROM audit ORDER BY rowid": func(scan func(...any) error) error {
			var a applied
			defer func() { s.audit = append(s.audit, a) }()
			return scan(&a.id, &a.seek, &a.pid)
		},
		"SELECT was, next FROM seeks ORDER BY seek": func(scan func(...any) error) error {
			var k seek
			defer func() { s.seeks = append(s.seeks, k) }()
			return scan(&k.was, &k.next)
		},
		"SELECT unit, name, parent FROM oa_unit": func(scan func(...any) error) error {
			var unit, name, parent string
			defer func() { s.oa[unit] = name + " of " + parent }()
			return scan(&unit, &name, &parent)
		},
		"SELECT unit, label FROM crm_unit": func(scan func(...any) error) error {
			var unit, label string
			defer func() { s.crm[unit] = label }()
			return scan(&unit, &label)
		},
	} {
		if err := db.each(ctx, query, each); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (d *database) each(ctx context.Context, query string, each func(scan func(...any) error) error) error {
	rows, err := d.db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// check compares the database with what must be in it when the position is next,
// and nobody has moved it since the play began.
func (p *play) check(ctx context.Context, began state, next int64) error {
	s, err := p.look(ctx, nil)
	if err != nil {
		return err
	}
	if s.next != next {
		return fmt.Errorf("the position is %d: it must be %d", s.next, next)
	}
	if len(s.seeks) != len(began.seeks) {
		return fmt.Errorf("the position went from %d to %d without an application: if that was you, run this again",
			s.seeks[len(s.seeks)-1].was, s.seeks[len(s.seeks)-1].next)
	}
	return s.verify()
}

// verify says whether each change has been applied exactly once, and in order, that
// the position has passed since it was last moved by hand.
func (s *state) verify() error {
	var want []applied
	at := int64(first)
	until := func(next, seek int64) {
		for ; at < next; at++ {
			want = append(want, applied{id: at, seek: seek})
		}
	}
	for n, k := range s.seeks {
		until(k.was, int64(n))
		at = k.next
	}
	until(s.next, int64(len(s.seeks)))
	for i := range max(len(want), len(s.audit)) {
		switch {
		case i == len(s.audit):
			return fmt.Errorf("change %d was not applied", want[i].id)
		case i == len(want):
			return fmt.Errorf("change %d was applied too often", s.audit[i].id)
		case s.audit[i].id != want[i].id || s.audit[i].seek != want[i].seek:
			return fmt.Errorf("change %d was applied where %d had to be", s.audit[i].id, want[i].id)
		}
	}
	oa, crm := map[string]string{}, map[string]string{}
	for _, a := range s.audit {
		if c := changeOf(a.id); c.Closed {
			delete(oa, c.Unit)
			delete(crm, c.Unit)
		} else {
			oa[c.Unit], crm[c.Unit] = c.Name+" of "+c.Parent, c.Unit+" "+c.Name
		}
	}
	if !maps.Equal(s.oa, oa) || !maps.Equal(s.crm, crm) {
		return fmt.Errorf("the units are %q and %q: after what was applied they must be %q and %q", s.oa, s.crm, oa, crm)
	}
	return nil
}

// print prints how often each change was applied, and by whom.
func (p *play) print(ctx context.Context) error {
	s, err := p.look(ctx, nil)
	if err != nil {
		return err
	}
	by := map[int64][]string{}
	for _, a := range s.audit {
		by[a.id] = append(by[a.id], fmt.Sprint(a.pid))
	}
	table := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "change\tapplied\tby process\t")
	for _, id := range slices.Sorted(maps.Keys(by)) {
		fmt.Fprintf(table, "%d\t%d\t%s\t\n", id, len(by[id]), strings.Join(by[id], ", "))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.out, "the position is %d\n", s.next)
	return err
}
