package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// TestGuard plays the browser of somebody who has a page of another site open.
func TestGuard(t *testing.T) {
	f := start(t, nil)
	f.s.hosts = []string{"queue.example"}
	f.topic("orders", leat.TopicConfig{})
	const appending = "POST /topics/orders/records"
	for _, c := range []struct {
		name, request, contentType string
		header                     []string
		status                     int
		code                       string
	}{
		{"a program", appending, binary, nil, 201, ""},
		{"the page", appending, binary, []string{"Origin", f.url, "Sec-Fetch-Site", "same-origin"}, 201, ""},
		{"an older browser's page", appending, binary, []string{"Origin", f.url}, 201, ""},
		{"another site", appending, binary, []string{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, 403, "CROSS_ORIGIN"},
		{"another site, older browser", appending, binary, []string{"Origin", "https://evil.example"}, 403, "CROSS_ORIGIN"},
		{"another port", appending, binary, []string{"Origin", "http://127.0.0.1:1", "Sec-Fetch-Site", "same-site"}, 403, "CROSS_ORIGIN"},
		{"a file", appending, binary, []string{"Origin", "null"}, 403, "CROSS_ORIGIN"},
		{"a form", appending, "application/x-www-form-urlencoded", nil, 415, "CONTENT_TYPE"},
		{"a form with files", appending, "multipart/form-data; boundary=x", nil, 415, "CONTENT_TYPE"},
		{"a form of text", appending, "text/plain; charset=utf-8", nil, 415, "CONTENT_TYPE"},
		{"no type", appending, "", nil, 415, "CONTENT_TYPE"},
		{"no type that is one", appending, "x/y/z", nil, 415, "CONTENT_TYPE"},

		{"a link to the page", "GET /", "", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 200, ""},
		{"an image that is an answer", "GET /stats", "", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, 403, "CROSS_ORIGIN"},
		{"a link to an answer", "GET /stats", "", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 403, "CROSS_ORIGIN"},
		{"the address bar", "GET /stats", "", []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Mode", "navigate"}, 200, ""},
		{"a question before a request", "OPTIONS /topics/orders/records", "", []string{"Origin", "https://evil.example"}, 405, "METHOD_NOT_ALLOWED"},

		{"localhost", "GET /stats", "", []string{"Host", "localhost:7070"}, 200, ""},
		{"an address", "GET /stats", "", []string{"Host", "127.0.0.1"}, 200, ""},
		{"an address of the sixth version", "GET /stats", "", []string{"Host", "[::1]:80"}, 200, ""},
		{"the same without a port", "GET /stats", "", []string{"Host", "[::1]"}, 200, ""},
		{"a name that was given", "GET /stats", "", []string{"Host", "Queue.example:80"}, 200, ""},
		{"a name that leads here", "GET /stats", "", []string{"Host", "evil.example"}, 421, "HOST_NOT_ALLOWED"},
		{"one that looks like an address", appending, binary, []string{"Host", "127.0.0.1.evil.example"}, 421, "HOST_NOT_ALLOWED"},
		{"one that ends like it", "GET /stats", "", []string{"Host", "evil.localhost"}, 421, "HOST_NOT_ALLOWED"},
	} {
		t.Run(c.name, func(t *testing.T) {
			method, path, _ := strings.Cut(c.request, " ")
			r := f.request(method, path, strings.NewReader("x"), c.header...)
			if c.contentType != "" {
				r.Header.Set("Content-Type", c.contentType)
			}
			a := f.do(r)
			require.Empty(t, a.header.Get("Access-Control-Allow-Origin"))
			if c.code == "" {
				a.is(c.status)
			} else {
				a.problem(c.status, c.code)
			}
		})
	}
	require.Equal(t, int64(3), f.store.Stats().Appended.Records)
}

// TestPageFiles gets all that the page needs.
func TestPageFiles(t *testing.T) {
	f := start(t, nil)
	index := f.get("/").is(http.StatusOK)
	require.Equal(t, "text/html; charset=utf-8", index.header.Get("Content-Type"))
	require.Contains(t, index.header.Get("Content-Security-Policy"), "default-src 'none'; script-src 'self';")
	require.Equal(t, "nosniff", index.header.Get("X-Content-Type-Options"))
	files := 0
	for _, part := range strings.Split(string(index.body), `"`) {
		if strings.HasPrefix(part, "page/") {
			files++
			a := f.get("/" + part).is(http.StatusOK)
			require.NotContains(t, a.header.Get("Content-Type"), "text/plain", part)
			require.NotEmpty(t, a.header.Get("Content-Type"), part)
		}
	}
	require.GreaterOrEqual(t, files, 5)
	require.Contains(t, string(f.get("/page/uplot/LICENSE").is(http.StatusOK).body), "MIT License")
}
