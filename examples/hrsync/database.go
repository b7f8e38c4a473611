package main

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "modernc.org/sqlite" // pure Go
)

// database is hr.db, someone else's storage. For one goroutine.
type database struct {
	db *sql.DB
	// crash, in the play, is called with each change when its rows are written and
	// nothing is committed. Nil: not.
	crash func(id int64)
}

// The audit has no unique key: an application too many shall be seen, not refused.
// The trigger tells a move of the position by hand from one by an application, which
// goes one further with a row of the audit to show for it.
const schema = `
CREATE TABLE IF NOT EXISTS oa_unit  (unit TEXT PRIMARY KEY, name TEXT NOT NULL, parent TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS crm_unit (unit TEXT PRIMARY KEY, label TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS position (topic TEXT, part INTEGER, next INTEGER NOT NULL, seek INTEGER NOT NULL, PRIMARY KEY (topic, part));
CREATE TABLE IF NOT EXISTS audit    (id INTEGER NOT NULL, seek INTEGER NOT NULL, pid INTEGER NOT NULL, at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS seeks    (seek INTEGER PRIMARY KEY, was INTEGER NOT NULL, next INTEGER NOT NULL);
CREATE TRIGGER IF NOT EXISTS moved AFTER UPDATE OF next ON position
WHEN NEW.next <> OLD.next + 1 OR NOT EXISTS (SELECT 1 FROM audit WHERE id = OLD.next AND seek = OLD.seek)
BEGIN
	INSERT INTO seeks VALUES (OLD.seek + 1, OLD.next, NEW.next);
	UPDATE position SET seek = OLD.seek + 1 WHERE topic = OLD.topic AND part = OLD.part;
END;
`

func openDatabase(ctx context.Context, dir string) (*database, error) {
	path, err := filepath.Abs(filepath.Join(dir, "hr.db"))
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", source(filepath.ToSlash(path)))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // the settings are a connection's
	d := &database{db: db}
	for _, s := range []string{
		"PRAGMA busy_timeout = 10000", // somebody may be looking
		"PRAGMA synchronous = FULL",   // a commit survives a power cut
		schema,
	} {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	_, err = db.ExecContext(ctx, "INSERT OR IGNORE INTO position VALUES (?, 0, ?, 0)", topicName, first)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return d, nil
}

// source is a path as a URI: of a plain one the driver takes what is behind a '?' for
// settings.
func source(path string) string {
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // C:/...
	}
	return (&url.URL{Scheme: "file", Path: path}).String()
}

func (d *database) close() error { return d.db.Close() }

// position is the next change to apply.
func (d *database) position(ctx context.Context) (next int64, err error) {
	err = d.db.QueryRowContext(ctx, "SELECT next FROM position WHERE topic = ? AND part = 0", topicName).Scan(&next)
	return next, err
}

// move moves the position by hand.
func (d *database) move(ctx context.Context, next int64) error {
	_, err := d.db.ExecContext(ctx, "UPDATE position SET next = ? WHERE topic = ? AND part = 0", next, topicName)
	return err
}

// errMoved says that the position is not where it was left: someone has moved it.
var errMoved = errors.New("the position was moved")

// apply applies a change and moves the position behind it, in one transaction: both
// have happened, or neither, whenever the process dies. After an error nobody may
// know which: the position tells.
func (d *database) apply(ctx context.Context, c change) error {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // nothing, after a commit
	r, err := tx.ExecContext(ctx, `INSERT INTO audit SELECT ?, seek, ?, ? FROM position WHERE topic = ? AND part = 0 AND next = ?`,
		c.ID, os.Getpid(), time.Now().UTC().Format(time.RFC3339Nano), topicName, c.ID)
	if err != nil {
		return err
	}
	if n, err := r.RowsAffected(); err != nil {
		return err
	} else if n == 0 {
		return errMoved // not this change is next
	}
	if err := write(ctx, tx, c); err != nil {
		return err
	}
	if d.crash != nil {
		d.crash(c.ID)
	}
	if _, err := tx.ExecContext(ctx, "UPDATE position SET next = ? WHERE topic = ? AND part = 0", c.ID+1, topicName); err != nil {
		return err
	}
	return tx.Commit()
}

// write writes the rows that a change is about, for the OA system and for the CRM.
func write(ctx context.Context, tx *sql.Tx, c change) (err error) {
	exec := func(query string, args ...any) {
		if err == nil {
			_, err = tx.ExecContext(ctx, query, args...)
		}
	}
	if c.Closed {
		exec("DELETE FROM oa_unit WHERE unit = ?", c.Unit)
		exec("DELETE FROM crm_unit WHERE unit = ?", c.Unit)
	} else {
		exec("INSERT OR REPLACE INTO oa_unit VALUES (?, ?, ?)", c.Unit, c.Name, c.Parent)
		exec("INSERT OR REPLACE INTO crm_unit VALUES (?, ?)", c.Unit, c.Unit+" "+c.Name)
	}
	return err
}
