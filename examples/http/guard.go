package main

import (
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// guard turns away what pages of other sites make a browser send. There is no
// password, so a browser's word on who asks is what there is:
//
//   - The Host must be an IP address, localhost, or a name of -host. A site that
//     lets its own name lead to this address (DNS rebinding) has another.
//   - Requests that a browser says come from another site are refused, also those
//     that only read, which cost something too. The page may be linked to.
//   - A body must have a type that no form can give it, so that an old browser, too,
//     asks first whether it may be sent, and gets no for an answer.
//
// Clients that are no browsers pass: they send neither Origin nor Sec-Fetch-Site.
func (s *server) guard(next http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		// Everything comes from here, and nobody shows it in a frame.
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
			"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")

		if !s.ourHost(r.Host) {
			s.fail(w, r, refuse(http.StatusMisdirectedRequest, "HOST_NOT_ALLOWED",
				fmt.Sprintf("this server does not answer to the name %q: call it by its IP address or as localhost, or give the name with -host", r.Host)))
			return
		}
		site := r.Header.Get("Sec-Fetch-Site")
		elsewhere := site == "cross-site" || site == "same-site"
		if err := cross.Check(r); err != nil || elsewhere && !opensPage(r) {
			s.fail(w, r, refuse(http.StatusForbidden, "CROSS_ORIGIN", "requests from pages of other sites are not answered"))
			return
		}
		if r.Method == http.MethodPost && formType(r.Header.Get("Content-Type")) {
			s.fail(w, r, refuse(http.StatusUnsupportedMediaType, "CONTENT_TYPE",
				"a body needs a Content-Type that no form can have: application/octet-stream, application/json or application/x-ndjson, say"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *server) ourHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	return host == "localhost" || slices.ContainsFunc(s.hosts, func(name string) bool { return strings.EqualFold(name, host) })
}

// opensPage tells whether somebody follows a link to the page.
func opensPage(r *http.Request) bool {
	return r.URL.Path == "/" && r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Mode") == "navigate"
}

// formType tells whether a page may have a browser send this without asking.
func formType(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	return err != nil || t == "application/x-www-form-urlencoded" || t == "multipart/form-data" || t == "text/plain"
}
