package leat

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/leatlog/leat/internal/vfs"
	"github.com/leatlog/leat/log"
)

// rootFiles are the files in a store's root, as a check has read them.
type rootFiles struct {
	clean bool // the marker is there
	found checkpoints
	// cleaner are the lines of cleaner-offset-checkpoint.
	cleaner offsetLines
	known   map[string]bool // checkpoints that are there and can be read

	lines    map[uint64]line // of leat.state, by partition; nil: there is none to be believed
	stateful bool            // leat.state is there
	problems []checkEvent
}

// read reads them. What is wrong is told by names, when it is asked for.
func (r *rootFiles) read(c *checker) {
	_, err := c.fsys.Stat(cleanName)
	r.clean = err == nil
	r.known = map[string]bool{}
	for _, f := range []struct {
		name string
		into *offsetLines
	}{{recoveryName, &r.found.recovery}, {startName, &r.found.start}, {watermarkName, &r.found.watermark}, {cleanerName, &r.cleaner}} {
		b, err := readSmall(c.fsys, f.name)
		switch {
		case err != nil:
			r.fail(err)
		case b == nil:
		default:
			if *f.into, err = log.ParseOffsetCheckpoint(b); err != nil {
				r.add(c, SeverityDamage, log.FindingCheckpoint, f.name, "%v", err)
			} else if r.known[f.name] = true; !log.Tidy(b) {
				r.add(c, SeverityNotice, log.FindingCheckpoint, f.name, "it can be read, and is not as anybody writes it")
			}
			if f.name == recoveryName {
				r.found.text[0] = b
			}
		}
		if *f.into == nil {
			*f.into = offsetLines{}
		}
	}
	if err := r.readState(c); err != nil {
		r.fail(err)
	}
}

func (r *rootFiles) fail(err error) { r.problems = append(r.problems, checkEvent{failed: err}) }

func (r *rootFiles) add(c *checker, s Severity, k FindingKind, name, format string, args ...any) {
	r.problems = append(r.problems, checkEvent{finding: c.inRoot(s, k, name, format, args...)})
}

// inRoot is a finding about a file or folder in the root.
func (c *checker) inRoot(s Severity, k FindingKind, name, format string, args ...any) Finding {
	return Finding{Severity: s, Kind: k, Partition: -1, Path: c.fsys.Path(name), Position: -1, End: -1, Offset: -1, Next: -1,
		What: fmt.Sprintf(format, args...), Repair: k.Repair(s)}
}

// readState reads leat.state, if it can be believed.
func (r *rootFiles) readState(c *checker) error {
	b, err := readSmall(c.fsys, stateName)
	if err != nil || b == nil {
		return err
	}
	r.stateful = true
	word := func(i, w int) uint64 { return binary.LittleEndian.Uint64(b[i*lineSize+8*w:]) }
	if len(b) < lineSize || string(b[:8]) != stateMagic {
		r.add(c, SeverityDamage, log.FindingState, stateName, "it does not begin with %s", stateMagic)
		return nil
	}
	if v := word(0, wordVersion); v != stateVersion {
		r.add(c, SeverityDamage, log.FindingState, stateName, "it has version %d, not %d", v, stateVersion)
		return nil
	}
	if h := checkpointHash(r.found.text[0]); word(0, wordCurrent) != h && word(0, wordNext) != h {
		r.add(c, SeverityNotice, log.FindingState, stateName, "it does not belong to %s: a Kafka broker has written the store since, or one of the two is damaged", recoveryName)
		return nil
	}
	r.lines = map[uint64]line{}
	for i := 1; i < len(b)/lineSize; i++ {
		var l line
		for w := range l {
			l[w] = word(i, w)
		}
		if l[0] == 0 {
			continue
		}
		if _, twice := r.lines[l[0]]; twice {
			r.add(c, SeverityNotice, log.FindingState, stateName, "two lines are of the same partition")
			continue
		}
		r.lines[l[0]] = l
	}
	return nil
}

// sort picks the folders of partitions, by name.
func (c *checker) sort(list []vfs.Info) (folders []string) {
	for _, e := range list {
		if _, _, ok := parseFolder(e.Name); ok && e.IsDir() {
			folders = append(folders, e.Name)
		}
	}
	return folders
}

// names judges what is in the root of a store, but for the folders of partitions.
func (c *checker) names(list []vfs.Info, folders []string) error {
	r := &c.root
	store := len(folders) > 0 || r.stateful
	for _, e := range list {
		store = store || e.Name == propertiesName
	}
	if !store {
		return fmt.Errorf("leat: %s is no store: %w", c.fsys.Path("."), fs.ErrNotExist)
	}
	for _, p := range r.problems {
		if err := c.event(p); err != nil {
			return err
		}
	}
	if !r.clean && len(folders) > 0 {
		if err := c.found(c.inRoot(SeverityNotice, log.FindingUnclean, ".", "the store was not closed in order: the next open recovers its partitions")); err != nil {
			return err
		}
	}
	for _, e := range list {
		_, _, folder := parseFolder(e.Name)
		f := c.inRoot(SeverityNotice, log.FindingUnknown, e.Name, "it is nothing of a store")
		f.Repair = log.FindingUnknown.Repair(SeverityNotice)
		switch name, temporary := strings.CutSuffix(e.Name, ".tmp"); {
		case folder && e.IsDir():
			continue
		case e.IsDir() && isDeletedFolder(e.Name):
			f.Kind, f.What, f.Repair = log.FindingLeftover, "a partition that was being deleted", log.FindingLeftover.Repair(SeverityNotice)
		case rootNames[name] && e.Mode.IsRegular():
			if !temporary {
				continue
			}
			f.Kind, f.What, f.Repair = log.FindingLeftover, "a file that was being written", ""
		case rootNames[e.Name]:
			if err := c.failed(&fs.PathError{Op: "open", Path: c.fsys.Path(e.Name), Err: vfs.ErrType}); err != nil {
				return err
			}
			continue
		case !e.Mode.IsRegular() && !e.IsDir():
			f.What = fmt.Sprintf("it is no file (%v), and was not opened", e.Mode.Type())
		}
		if err := c.found(f); err != nil {
			return err
		}
	}
	return nil
}

var rootNames = map[string]bool{
	lockName: true, propertiesName: true, cleanName: true, stateName: true,
	recoveryName: true, startName: true, watermarkName: true, cleanerName: true,
}

// after judges what names partitions that are not there.
func (c *checker) after() error {
	if c.folder != "" {
		return nil
	}
	r := &c.root
	for _, f := range []struct {
		name string
		o    offsetLines
	}{{recoveryName, r.found.recovery}, {startName, r.found.start}, {watermarkName, r.found.watermark}, {cleanerName, r.cleaner}} {
		for _, tp := range slices.SortedFunc(maps.Keys(f.o), func(a, b log.TopicPartition) int { return strings.Compare(a.String(), b.String()) }) {
			if _, err := c.fsys.Stat(tp.String()); err != nil {
				if err := c.found(c.inRoot(SeverityNotice, log.FindingCheckpoint, f.name, "it has a line of %s, of which there is no folder", tp)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
