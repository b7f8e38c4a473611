package main

import (
	"embed"
	"io/fs"
	"net/http"
	"path"
)

// The page is written by hand: there is nothing to build. page/uplot is uPlot, a
// charting library, as its authors published it.
//
//go:embed page
var page embed.FS

// servePage answers with the files of the page, and with index.html at /.
func servePage(mux *http.ServeMux) {
	err := fs.WalkDir(page, "page", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		pattern := "GET /" + name
		if name == "page/index.html" {
			pattern = "GET /{$}"
		}
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", types[path.Ext(name)])
			http.ServeFileFS(w, r, page, name)
		})
		return nil
	})
	if err != nil {
		panic(err) // an embedded file system has no errors
	}
}

// types are those of the page's files, whatever the system thinks that they are.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	"":      "text/plain; charset=utf-8", // LICENSE
}
