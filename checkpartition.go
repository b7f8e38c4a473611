package leat

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/log"
)

// checkedTopics is what __metadata says, as a check has read it.
type checkedTopics struct {
	known   bool // all of it could be read; or there is none, as in a directory of Kafka's
	adopted bool // what was in the directory before Leat has its records
	records map[string]*topicRecord
	live    map[string]*Topic
	checked string          // the folder of __metadata, once it has been checked
	left    map[string]bool // folders that the next open removes, whatever is in them

	ids map[string]idIn // topic ids as folders have them, of topics that no record names
}

type idIn struct {
	id   TopicID
	path string
}

// checkedFolder is what a check knows of a partition in the end.
type checkedFolder struct {
	log.Checked
	tp    log.TopicPartition
	topic *Topic // nil: no record names it
	state log.OpenState
	line  line
	key   uint64 // of line; 0: there is none
	id    *TopicID
}

// metadata checks __metadata, and takes in what it says.
func (c *checker) metadata(folders []string) error {
	t := &c.topics
	t.ids, t.left = map[string]idIn{}, map[string]bool{}
	t.records, t.live = map[string]*topicRecord{}, map[string]*Topic{}
	folder := folderName(metadataTopic, 0)
	if _, err := c.fsys.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		t.known = true
		if c.folder == "" && c.root.stateful && slices.ContainsFunc(folders, c.isOurs) {
			return c.found(c.inRoot(SeverityDamage, log.FindingFolder, folder, "the folder is missing: nothing says which topics there are, and how they are configured"))
		}
		return nil
	}
	s := newStore(c.fsys, nil)
	var bad []Finding
	st := log.CheckState{
		Each: c.readTopics(s, &bad), Failed: c.failed, Advance: c.advance,
		Found: func(f Finding) error {
			if c.folder != "" && c.folder != folder {
				return nil // it was not asked for
			}
			return c.found(f)
		},
	}
	t.live[metadataTopic] = metadataTopicOf(s)
	checked, err := c.partition(folder, st)
	if err != nil {
		return err
	}
	for name, r := range t.records {
		topic, err := s.makeTopic(r)
		if err != nil {
			bad = append(bad, c.inTopics(-1, err))
		} else if r.state == topicLive {
			t.live[name] = topic
		}
	}
	t.known = checked.Whole && len(bad) == 0
	for _, f := range bad {
		if err := st.Found(f); err != nil {
			return err
		}
	}
	if c.folder != "" && c.folder != folder {
		return nil
	}
	t.checked = folder
	if err := c.settle(checked); err != nil || c.folder != "" {
		return err
	}
	return c.compareFolders(s, folders)
}

// isOurs tells whether Leat has written a partition.
func (c *checker) isOurs(folder string) bool {
	_, err := c.fsys.Stat(folder + "/" + sumsName)
	return err == nil
}

const sumsName = "segments.sum"

func (c *checker) inTopics(offset int64, err error) Finding {
	f := c.inRoot(SeverityDamage, log.FindingTopics, folderName(metadataTopic, 0), "%v", err)
	f.Topic, f.Partition, f.Offset = metadataTopic, 0, offset
	return f
}

// readTopics is what takes in the batches of __metadata.
func (c *checker) readTopics(s *Store, bad *[]Finding) func(codec.Batch) {
	var (
		dec codec.Decoder
		buf []byte
		r   codec.Record
	)
	return func(b codec.Batch) {
		if b.IsControl() {
			return
		}
		payload, err := codec.Unpack(b, buf, c.env.Coders(), log.MaxUnpacked)
		if err == nil {
			err = dec.Reset(b, payload)
		}
		if err != nil {
			return // the check of the records tells
		}
		for dec.Next(&r) == nil {
			if err := applyMetadata(c.topics.records, &c.topics.adopted, &r); err != nil {
				*bad = append(*bad, c.inTopics(r.Offset, err))
			}
		}
	}
}

// compareFolders compares the topics with the folders there are.
func (c *checker) compareFolders(s *Store, folders []string) error {
	if !c.topics.known {
		return nil
	}
	there := map[string]bool{}
	for _, folder := range folders {
		there[folder] = true
		name, id, _ := parseFolder(folder)
		t := c.topics.live[name]
		if t != nil && t.has(id) || !c.topics.adopted {
			continue
		}
		f := c.inRoot(SeverityNotice, log.FindingFolder, folder, "it is the folder of no topic")
		f.Repair = "it is left alone; Store.Import takes it in, from another directory"
		if r := c.topics.records[name]; r != nil && r.state == topicDeleting {
			f.Kind, f.What, f.Repair = log.FindingLeftover, "its topic was being deleted", log.FindingLeftover.Repair(SeverityNotice)
		} else if ok, err := s.unfinished(folderName(name, id)); err == nil && ok {
			f.Kind, f.What, f.Repair = log.FindingLeftover, "it is of a topic whose creation was interrupted", log.FindingLeftover.Repair(SeverityNotice)
		}
		c.topics.left[folder] = f.Kind == log.FindingLeftover
		if err := c.found(f); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.topics.live)) {
		t := c.topics.live[name]
		missing := 0
		for id := range t.cfg().Partitions {
			folder := folderName(name, id)
			if name == metadataTopic || there[folder] || !t.has(id) {
				continue
			}
			if missing++; missing > 100 {
				break // one record of a hostile __metadata may claim a billion
			}
			f := c.inRoot(SeverityDamage, log.FindingFolder, folder, "the folder of the partition is missing")
			f.Topic, f.Partition = name, id
			if err := c.found(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// partition checks one folder.
func (c *checker) partition(folder string, st log.CheckState) (*checkedFolder, error) {
	p := &checkedFolder{state: log.OpenState{RecoveryPoint: -1, StartOffset: -1, HighWatermark: -1}}
	p.tp.Partition = -1
	r := &c.root
	if topic, id, ok := parseFolder(folder); ok {
		p.tp = log.TopicPartition{Topic: topic, Partition: id}
		p.topic = c.topics.live[topic]
		p.state.RecoveryPoint, p.state.StartOffset, p.state.HighWatermark = r.found.of(p.tp)
	}
	p.state.Clean = r.clean && p.state.RecoveryPoint >= 0
	p.state.Adopted = p.topic == nil || p.topic.adopted
	config := log.Config{Topic: p.tp.Topic, Partition: p.tp.Partition}
	_, st.Compacted = r.cleaner[p.tp]
	if t := p.topic; t != nil {
		config = t.logConfig(p.tp.Partition)
		st.Compacted = st.Compacted || t.cfg().Cleanup != CleanupDelete
		st.Kept = !t.adopted
		key := lineKey(t.id, p.tp.Partition)
		if l, ok := r.lines[key]; ok {
			p.line, p.key = l, key
			words := l
			for i := range words {
				words[i] = littleEndian(l[i])
			}
			p.state.Marks, p.state.MarksValid = log.NewMarks(&words, nil), true
		} else if !r.clean && r.lines != nil && p.state.RecoveryPoint < 0 && (!t.adopted || c.isOurs(folder)) {
			// The power went before anything was said of it: nothing is beyond suspicion.
			// Of what Kafka left, Leat has written to what has sums.
			p.state.RecoveryPoint = 0
		}
	}
	if p.state.StartOffset < 0 {
		p.state.StartOffset = c.exportedStart(folder)
	}
	st.OpenState = p.state
	if err := c.identity(p, folder, st); err != nil {
		return p, err
	}
	var err error
	p.Checked, err = log.Check(c.env, folder, config, st)
	return p, err
}

// exportedStart is the log start offset that an exported folder has in it.
func (c *checker) exportedStart(folder string) int64 {
	b, err := readSmall(c.fsys, inFolder(folder, startName))
	if err == nil {
		m, _ := log.ParseOffsetCheckpoint(b)
		for _, v := range m {
			return v
		}
	}
	return -1
}

func inFolder(folder, name string) string {
	if folder == "." {
		return name
	}
	return folder + "/" + name
}

// identity judges partition.metadata.
func (c *checker) identity(p *checkedFolder, folder string, st log.CheckState) error {
	name := inFolder(folder, partitionMetadata)
	f := c.inRoot(SeverityDamage, log.FindingID, name, "")
	f.Topic, f.Partition = p.tp.Topic, p.tp.Partition
	b, err := readSmall(c.fsys, name)
	if err != nil {
		return st.Failed(err)
	}
	if b == nil {
		if p.topic == nil || p.topic.adopted {
			return nil // brokers before topic ids made none
		}
		f.Severity, f.What, f.Repair = SeverityNotice, "the file is missing", "the next open makes it anew"
		return st.Found(f)
	}
	id, err := parsePartitionMetadata(b)
	switch {
	case err != nil:
		f.What = err.Error()
	case p.topic != nil && id != p.topic.id:
		f.What = fmt.Sprintf("the folder is of topic id %v, and topic %s has id %v", id, p.tp.Topic, p.topic.id)
	case string(b) != string(formatPartitionMetadata(id)):
		p.id = &id
		f.Severity, f.What, f.Repair = SeverityNotice, "it can be read, and is not as anybody writes it", ""
	default:
		p.id = &id
		return nil
	}
	return st.Found(f)
}

// settle compares a partition that was checked with what the root says of it.
func (c *checker) settle(p *checkedFolder) error {
	var list []Finding
	add := func(s Severity, k FindingKind, name, format string, args ...any) {
		f := c.inRoot(s, k, name, format, args...)
		f.Topic, f.Partition = p.tp.Topic, p.tp.Partition
		list = append(list, f)
	}
	if p.id != nil && p.topic == nil && p.tp.Topic != "" {
		at := idIn{*p.id, c.fsys.Path(p.tp.String() + "/" + partitionMetadata)}
		if other, ok := c.topics.ids[p.tp.Topic]; !ok {
			c.topics.ids[p.tp.Topic] = at
		} else if other.id != at.id {
			add(SeverityDamage, log.FindingID, p.tp.String()+"/"+partitionMetadata, "it says topic id %v, and %s says %v", at.id, other.path, other.id)
		}
	}
	if p.Segments > 0 && p.Whole {
		c.compareOffsets(p, add)
	}
	for _, f := range list {
		if err := c.found(f); err != nil {
			return err
		}
	}
	return nil
}

type adder = func(s Severity, k FindingKind, name, format string, args ...any)

// compareOffsets compares checkpoints and leat.state with a log that is sound.
func (c *checker) compareOffsets(p *checkedFolder, add adder) {
	r, st := &c.root, &p.state
	grade := SeverityNotice // what was not durable may be gone
	if st.Clean {
		grade = SeverityDamage
	}
	above := func(name string, offset int64) {
		if offset > p.Next {
			add(grade, log.FindingCheckpoint, name, "it says %d of %s, and the log ends at %d", offset, p.tp, p.Next)
		}
	}
	_, start, watermark := r.found.of(p.tp) // of the files themselves
	above(startName, start)
	above(watermarkName, watermark)
	if v, ok := r.cleaner[p.tp]; ok {
		above(cleanerName, v)
	}
	if r.clean && c.folder == "" {
		if st.RecoveryPoint < 0 {
			add(SeverityNotice, log.FindingCheckpoint, recoveryName, "it has no line of %s, and the store was closed in order: the next open recovers the partition", p.tp)
		}
		if watermark < 0 && r.known[watermarkName] {
			add(SeverityNotice, log.FindingCheckpoint, watermarkName, "it has no line of %s", p.tp)
		}
	}
	external := p.topic == nil || p.topic.adopted || p.topic.cfg().External&ExternalWatermark != 0
	if st.Clean && !external && watermark >= 0 && watermark < p.Next {
		add(SeverityDamage, log.FindingCheckpoint, watermarkName, "it says %d of %s, which was closed in order and ends at %d", watermark, p.tp, p.Next)
	}
	if p.key == 0 && st.Clean && p.topic != nil && !p.topic.adopted && r.lines != nil {
		add(SeverityNotice, log.FindingState, stateName, "it has no line of %s", p.tp)
	}
	if p.key == 0 || !st.Clean {
		return
	}
	w := log.WordsOf(&p.line)
	if w.Generation <= 0 {
		return
	}
	if began := max(p.Base, start); w.Start != began {
		add(SeverityDamage, log.FindingState, stateName, "it says that %s begins at offset %d, and %s and the first segment say %d", p.tp, w.Start, startName, began)
	}
	if w.Published != p.Next || w.Durable != p.Next {
		add(SeverityDamage, log.FindingState, stateName, "it says that %s ends at offset %d and is durable up to %d, and the log ends at %d", p.tp, w.Published, w.Durable, p.Next)
	}
}
