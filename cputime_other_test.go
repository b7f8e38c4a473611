//go:build !unix

package leat

import "time"

func processorTime() time.Duration { return 0 }
