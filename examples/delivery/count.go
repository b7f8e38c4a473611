package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// tally is what FORM.in and FORM.out say, to anyone who reads them.
type tally struct {
	produced int
	applied  int
	lost     int // ids that were produced and never applied
	repeated int // applications of an id beyond its first
	strange  int // applications of an id that was not produced
	pids     int // processes that have applied something
}

func count(in, out string) (t tally, err error) {
	times := map[int]int{} // applied, by id
	if _, err := eachLine(in, func(id int) error {
		if _, ok := times[id]; ok {
			return fmt.Errorf("id %d was produced twice", id)
		}
		times[id] = 0
		return nil
	}); err != nil {
		return t, err
	}
	t.produced = len(times)
	pids, err := eachLine(out, func(id int) error {
		t.applied++
		n, ok := times[id]
		switch {
		case !ok:
			t.strange++
			return nil
		case n > 0:
			t.repeated++
		}
		times[id]++
		return nil
	})
	if err != nil {
		return t, err
	}
	t.pids = len(pids)
	for _, n := range times {
		if n == 0 {
			t.lost++
		}
	}
	return t, nil
}

// eachLine reads a file of lines "id pid", and returns the pids.
func eachLine(path string, each func(id int) error) (pids map[int]bool, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	pids = map[int]bool{}
	in := bufio.NewScanner(file)
	for n := 1; in.Scan(); n++ {
		first, second, _ := strings.Cut(in.Text(), " ")
		id, err1 := strconv.Atoi(first)
		pid, err2 := strconv.Atoi(second)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("%s: line %d is %q: it must be an id and a pid", path, n, in.Text())
		}
		if err := each(id); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, n, err)
		}
		pids[pid] = true
	}
	return pids, in.Err()
}
