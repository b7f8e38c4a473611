package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat"
)

// TestApply: a change that is not next is not applied, and nothing of it is.
func TestApply(t *testing.T) {
	dir := t.TempDir()
	db, err := openDatabase(ctx, dir)
	require.NoError(t, err)
	defer db.close()
	require.ErrorIs(t, db.apply(ctx, changeOf(first+1)), errMoved)
	require.NoError(t, db.apply(ctx, changeOf(first)))
	require.ErrorIs(t, db.apply(ctx, changeOf(first)), errMoved)
	require.NoError(t, db.move(ctx, first))
	require.NoError(t, db.apply(ctx, changeOf(first)))
	p := &play{dir: dir}
	require.NoError(t, db.close())
	s, err := p.look(ctx, nil)
	require.NoError(t, err)
	require.EqualValues(t, first+1, s.next)
	require.Len(t, s.audit, 2)
	require.Equal(t, []seek{{first + 1, first}}, s.seeks)
	require.Len(t, s.oa, 1)
	require.NoError(t, s.verify())
}

// TestMovedWhileRunning: someone moves the position when the consumer already has
// what was next before: it follows.
func TestMovedWhileRunning(t *testing.T) {
	p := &play{dir: t.TempDir(), last: last}
	require.NoError(t, feed(ctx, p.dir, last))
	st, err := openStore(p.dir)
	require.NoError(t, err)
	db, err := openDatabase(ctx, p.dir)
	require.NoError(t, err)

	c, err := st.Consumer(leat.ConsumerConfig{})
	require.NoError(t, err)
	at := leat.Position{Topic: topicName, Offset: first}
	require.NoError(t, c.Assign(at))
	_, err = outsider(t, p.dir).Exec("UPDATE position SET next = 10097")
	require.NoError(t, err)
	require.NoError(t, follow(ctx, c, db, at, last+1))
	require.NoError(t, c.Close())
	require.NoError(t, db.close())
	require.NoError(t, st.Close())

	s, err := p.look(ctx, nil)
	require.NoError(t, err)
	require.EqualValues(t, last+1, s.next)
	require.Equal(t, []seek{{first, 10097}}, s.seeks)
	require.Len(t, s.audit, 3)
	require.NoError(t, s.verify())
}
