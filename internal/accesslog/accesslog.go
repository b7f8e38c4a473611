// Package accesslog makes lines like those of a web server's access log, for
// examples and benchmarks that have no real ones: repetitive where real lines
// are, so that compression finds what it would find there.
package accesslog

import (
	"fmt"
	"math/rand/v2"
	"time"
)

var (
	paths = []string{
		"/", "/favicon.ico", "/robots.txt", "/style2.css", "/images/jordan-80.png", "/images/web/2009/banner.png",
		"/blog/tags/puppet?flav=rss20", "/reset.css", "/projects/xdotool/", "/?flav=rss20", "/articles/dynamic-dns-with-dhcp/",
		"/presentations/logging/images/search.png", "/blog/geekery/ssl-latency.html", "/files/", "/missing", "/old/page",
	}
	agents = []string{
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_1) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/32.0.1700.77 Safari/537.36",
		"Mozilla/5.0 (Windows NT 6.1; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/32.0.1700.107 Safari/537.36",
		"Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:27.0) Gecko/20100101 Firefox/27.0",
		"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
		"Tiny Tiny RSS/1.11 (http://tt-rss.org/)",
	}
	codes = []int{200, 200, 200, 200, 200, 200, 200, 200, 200, 304, 304, 404, 301, 206, 500}
)

// Generator makes lines, the same ones for the same seed. It is for one
// goroutine.
type Generator struct {
	r *rand.Rand
	t time.Time
}

// New returns a generator.
func New(seed uint64) *Generator {
	return &Generator{r: rand.New(rand.NewPCG(seed, 1)), t: time.Date(2015, 5, 17, 10, 5, 3, 0, time.UTC)}
}

// Line makes one line in the combined format, without a newline, and the client
// address it begins with.
func (g *Generator) Line() (address, line []byte) {
	r := g.r
	g.t = g.t.Add(time.Duration(r.IntN(2000)) * time.Millisecond)
	address = fmt.Appendf(nil, "%d.%d.%d.%d", 1+r.IntN(200), r.IntN(40), r.IntN(20), r.IntN(250))
	line = fmt.Appendf(nil, `%s - - [%s] "GET %s HTTP/1.1" %d %d "http://www.example.com%s" "%s"`,
		address, g.t.Format("02/Jan/2006:15:04:05 -0700"), paths[r.IntN(len(paths))], codes[r.IntN(len(codes))],
		r.IntN(60000), paths[r.IntN(len(paths))], agents[r.IntN(len(agents))])
	return address, line
}
