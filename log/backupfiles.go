package log

import (
	"github.com/leatlog/leat/segment"
)

// sidecars copies the small files, and writes what is known of the segments. What
// allows gaps is read last: it is noted before the gaps are there.
func (b *backup) sidecars(bases []int64) error {
	infos, err := b.from.ReadDir(b.l.dir)
	if err != nil {
		return err
	}
	names := []string{epochsName, metadataName}
	for _, info := range infos {
		offset, suffix, ok := segment.ParseName(info.Name)
		if ok && suffix == segment.SnapshotSuffix && offset >= bases[0] && offset <= b.end {
			names = append(names, info.Name)
		}
	}
	for _, name := range names {
		text, err := readAll(b.from, segment.Join(b.l.dir, name), maxSidecar)
		if isMissing(err) {
			continue
		}
		if err != nil {
			return err
		}
		if _, suffix, ok := segment.ParseName(name); ok && suffix == segment.SnapshotSuffix {
			if _, err := ParseSnapshot(text); err != nil {
				continue // the one before it is used
			}
		}
		if err := replaceFile(b.to, segment.Join(b.dir, name), text); err != nil {
			return spaceError(err)
		}
	}
	now, err := b.readSums()
	if err != nil {
		return err
	}
	sums := Sums{Dense: now.Dense, Sparse: now.Sparse, Gaps: now.Gaps, Files: map[string]segment.FileSum{}}
	if sums.Dense == noOffset {
		sums.Dense = b.end
	}
	for _, base := range bases[:len(bases)-1] {
		if t := b.have[base]; t.sound.sealed {
			for _, sum := range t.sound.sums {
				sums.Files[sum.Name] = sum
			}
		}
	}
	return spaceError(replaceFile(b.to, segment.Join(b.dir, sumsName), sums.format()))
}

// metadataName is the file with the topic id.
const metadataName = "partition.metadata"
