package leat

import (
	"context"
	"iter"

	"github.com/leatlog/leat/log"
)

// Finding is one thing that Check has found.
type Finding = log.Finding

// Severity of a finding: SeverityDamage or SeverityNotice.
type Severity = log.Severity

const (
	// SeverityNotice is worth knowing and no damage: what a crash leaves and the
	// next open settles by itself, files that are missing and made anew, files of
	// others.
	SeverityNotice = log.Notice
	// SeverityDamage is a file that says what is not true, or lacks what was
	// durable.
	SeverityDamage = log.Damage
)

// FindingKind says what a finding is about, for programs.
type FindingKind = log.FindingKind

// CheckOptions configures Check. The zero value, and nil, are fine.
type CheckOptions struct {
	// Progress is told how many of the bytes of all log files have been looked at,
	// from the goroutine that ranges over the findings; nil: nobody is.
	Progress func(done, total int64)
}

// Check looks at everything in a directory that is a store, or the folder of one
// partition, and yields what it finds.
func Check(ctx context.Context, dir string, opts *CheckOptions) iter.Seq2[Finding, error] {
	return func(yield func(Finding, error) bool) {
		if err := ctx.Err(); err != nil {
			yield(Finding{}, err)
		}
	}
}
