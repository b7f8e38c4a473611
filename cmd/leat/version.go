package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version says what this program was built from, and for what.
func version() string {
	what := "(unknown)"
	if info, ok := debug.ReadBuildInfo(); ok {
		what = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				what += " " + s.Value[:12]
			}
		}
	}
	return fmt.Sprintf("%s, %s %s/%s", what, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
