package leat

import "context"
import "time"
import "fmt"

func (f *modelFollower) dbg() string {
	out := fmt.Sprint("mapped ", f.g.m.Mapped(), " ")
	r, err := f.p.Reader(ReaderOptions{})
	out += fmt.Sprint(err)
	soon, cancel := context.WithTimeout(ctx, 10*time.Second)
	b, err := r.Next(soon)
	cancel()
	out += fmt.Sprint("fresh: ", b != nil, err)
	soon, cancel = context.WithTimeout(ctx, 10*time.Second)
	b, err = f.r.Next(soon)
	cancel()
	out += fmt.Sprint("old: ", b != nil, err, f.r.limit, f.r.offset)
	for _, s := range f.p.log.Load().Segments() {
		out += fmt.Sprint(" ", s.BaseOffset, ":", s.Size)
	}
	out += fmt.Sprint(" | ")
	for _, s := range f.g.p.log.Load().Segments() {
		out += fmt.Sprint(" ", s.BaseOffset, ":", s.Size)
	}
	return out
}
func (f *modelFollower) dbgIf(ok bool) string {
	if ok {
		return ""
	}
	return f.dbg()
}

func (f *modelFollower) dbg2(offset int64) string {
	out := ""
	for _, p := range []*Partition{f.p, f.g.p} {
		l := p.log.Load()
		list, err := l.AbortedTxns(0, f.g.stable(), nil)
		out += fmt.Sprint(list, err, " | ")
		for _, s := range l.Segments() {
			out += fmt.Sprint(" ", s.BaseOffset, ":", s.Size)
		}
		r, _ := p.Reader(ReaderOptions{UntilEnd: true, From: At(p.LogStartOffset())})
		for rec, err := range r.Records(ctx) {
			if err != nil {
				out += err.Error()
				break
			}
			if rec.Offset > offset-10 && rec.Offset < offset+6 {
				out += fmt.Sprint(" @", rec.Offset)
			}
		}
		r.Close()
	}
	return out
}
