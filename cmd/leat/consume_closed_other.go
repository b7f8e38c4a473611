//go:build !unix

package main

import (
	"context"
	"io"
)

// untilClosed leaves it to the next write to notice that nobody reads.
func untilClosed(context.Context, io.Writer, context.CancelCauseFunc) {}
