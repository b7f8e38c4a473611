module github.com/leatlog/leat/examples/http

go 1.26.0

// Until the first tagged release of the root module.
replace github.com/leatlog/leat => ../..

require github.com/leatlog/leat v0.0.0-00010101000000-000000000000

require (
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/pierrec/lz4/v4 v4.1.33 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
