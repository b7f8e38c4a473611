package vfs

import "io/fs"

// Link gives a file a second name, in the same tree or in another one. Where
// the two cannot share a file (a memory tree, another filesystem, one without
// hard links, a file that has as many as there can be, or one of somebody else)
// it is ErrNotSupported, and copying is what is left. A name that exists is
// fs.ErrExist. The caller syncs the folder.
func Link(from FS, name string, to FS, as string) error {
	src, ok := bottom(from).(*osFS)
	dst, ok2 := bottom(to).(*osFS)
	if !ok || !ok2 {
		return &fs.PathError{Op: "link", Path: to.Path(as), Err: ErrNotSupported}
	}
	err := src.link(name, dst, as)
	if err != nil && cannotLink(err) {
		return &fs.PathError{Op: "link", Path: to.Path(as), Err: &kindError{ErrNotSupported, err}}
	}
	return err
}

// Links is how many names a file has: more than one where that cannot be told.
func Links(f File) int {
	if f.OS() == nil {
		return 1
	}
	return links(f.OS())
}

// bottom is the tree under those that only watch over it.
func bottom(fsys FS) FS {
	for {
		w, ok := fsys.(interface{ Under() FS })
		if !ok {
			return fsys
		}
		fsys = w.Under()
	}
}

// IsOS tells whether a tree is a directory of the system's.
func IsOS(fsys FS) bool {
	_, ok := bottom(fsys).(*osFS)
	return ok
}
