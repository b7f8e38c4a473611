package coordination

import (
	"encoding/json"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a newer Kafka adds in tagged fields survives, wherever it stands among
// those that are known, and on every structure.
func TestUnknownTagsAreKept(t *testing.T) {
	odd := []Tag{{Number: 1, Data: []byte("x")}, {Number: 300, Data: []byte{}}}
	offset := OffsetValue{Version: 4, Offset: 7, LeaderEpoch: 3, Metadata: "m", CommitTimestamp: 9, ExpireTimestamp: -1, Tags: odd}
	b, err := AppendOffsetValue(nil, offset)
	require.NoError(t, err)
	require.Equal(t, "\x00\x04"+"\x00\x00\x00\x00\x00\x00\x00\x07"+"\x00\x00\x00\x03"+"\x02m"+"\x00\x00\x00\x00\x00\x00\x00\x09"+
		"\x02"+"\x01\x01x"+"\xac\x02\x00", string(b))
	back, err := ParseOffsetValue(b)
	require.NoError(t, err)
	require.Equal(t, offset, back)

	group := GroupValue{Version: 4, ProtocolType: "p", CurrentStateTimestamp: 1, Tags: odd, Members: []GroupMember{
		{ID: "m", Subscription: []byte{}, Assignment: []byte{1}, Tags: odd},
	}}
	b, err = AppendGroupValue(nil, group)
	require.NoError(t, err)
	groupBack, err := ParseGroupValue(b)
	require.NoError(t, err)
	require.Equal(t, group, groupBack)

	// Those of a transaction are 0, 1 and 2.
	txn := TransactionValue{
		Version: 1, PreviousProducerID: 5, NextProducerID: 6, ClientTransactionVersion: 2,
		Tags: []Tag{{Number: 3, Data: []byte{1}}, {Number: 9, Data: []byte{2}}},
	}
	b, err = AppendTransactionValue(nil, txn)
	require.NoError(t, err)
	txnBack, err := ParseTransactionValue(b)
	require.NoError(t, err)
	require.Equal(t, txn, txnBack)

	for _, bad := range [][]Tag{
		{{Number: 3}, {Number: 3}}, // twice
		{{Number: 4}, {Number: 3}}, // falling
		{{Number: 2}},              // one that is known
		{{Number: 0}, {Number: 3}}, // the same, before another
	} {
		txn.Tags = bad
		_, err = AppendTransactionValue(nil, txn)
		require.ErrorIs(t, err, ErrValue, "%v", bad)
	}
	txn.Version, txn.Tags = 0, odd
	_, err = AppendTransactionValue(nil, txn)
	require.ErrorIs(t, err, ErrValue, "version 0 has no place for them")
}

func TestVersionsNotKnown(t *testing.T) {
	newest := func(b []byte) []byte { return append([]byte{0, 100}, b...) }
	for name, r := range everyRecord() {
		err := Parse(newest(make([]byte, 100)), r)
		switch r.(type) {
		case *Subscription, *Assignment:
			// Kafka's clients take a newer blob for the newest they know.
			require.NoError(t, err, name)
		default:
			require.ErrorIs(t, err, ErrVersion, name)
			require.NotErrorIs(t, err, ErrFormat, name)
		}
		require.ErrorIs(t, Parse([]byte{0xff, 0xff}, r), ErrFormat, name)
		require.ErrorIs(t, Parse([]byte{0}, r), ErrFormat, name)
		require.ErrorIs(t, Parse(nil, r), ErrFormat, name)
	}

	s, err := ParseSubscription([]byte("\x00\x04" + "\x00\x00\x00\x01\x00\x01t" + "\xff\xff\xff\xff" + "\x00\x00\x00\x00" +
		"\x00\x00\x00\x02" + "\xff\xff" + "more"))
	require.NoError(t, err)
	require.Equal(t, Subscription{Version: 4, Topics: []string{"t"}, Generation: 2, Rest: []byte("more")}, s)

	// A record of another kind is not one of a newer version.
	_, err = ParseGroupKey([]byte("\x00\x01\x00\x01g"))
	require.ErrorIs(t, err, ErrFormat)
	_, err = ParseOffsetKey([]byte("\x00\x02\x00\x01g"))
	require.ErrorIs(t, err, ErrVersion)
	_, err = AppendGroupKey(nil, GroupKey{Version: 1, Group: "g"})
	require.Error(t, err)

	kind, err := KeyKind([]byte{0x7f, 0xff, 1})
	require.NoError(t, err)
	require.Equal(t, int16(math.MaxInt16), kind)
	_, err = KeyKind([]byte{0x80, 0})
	require.ErrorIs(t, err, ErrFormat)
	_, err = KeyKind([]byte{1})
	require.ErrorIs(t, err, ErrFormat)
}

// A record that is cut anywhere, or goes on, is refused, and the error says which
// record, which field and where.
func TestDamage(t *testing.T) {
	key, err := AppendOffsetKey(nil, OffsetKey{Version: 1, Group: "g", Topic: "t", Partition: 2})
	require.NoError(t, err)
	for n := range key {
		_, err := ParseOffsetKey(key[:n])
		require.ErrorIs(t, err, ErrFormat, "cut at %d", n)
	}
	_, err = ParseOffsetKey(key[:9])
	require.EqualError(t, err, "key of a committed offset: record is damaged: partition does not fit in 9 bytes, at 8")
	_, err = ParseOffsetKey(append(key, 0))
	require.EqualError(t, err, "key of a committed offset: record is damaged: 1 bytes behind its end")

	whole := map[string]Record{
		"offset": &OffsetValue{Version: 4, ExpireTimestamp: -1, Metadata: "m", Tags: []Tag{{Number: 3, Data: []byte("tag")}}},
		"group": &GroupValue{Version: 4, Protocol: new("p"), Members: []GroupMember{
			{ID: "a", Subscription: []byte("b"), Tags: []Tag{{Number: 1}}}, {ID: "c"},
		}},
		"transaction": &TransactionValue{Version: 1, NextProducerID: 3, Partitions: []TransactionPartitions{{Topic: "t", Partitions: []int32{1, 2}}}},
		"member": &MemberMetadataValue{Topics: []string{"t"}, Classic: &ClassicMember{Protocols: []ClassicProtocol{{Name: "range"}}},
			Tags: []Tag{{Number: 1, Data: []byte("x")}}},
	}
	for name, r := range whole {
		b, err := Append(nil, r)
		require.NoError(t, err)
		require.NoError(t, Parse(b, r))
		for n := range b {
			require.ErrorIs(t, Parse(b[:n], r), ErrFormat, "%s cut at %d", name, n)
		}
		require.ErrorIs(t, Parse(append(b, 0), r), ErrFormat, "%s goes on", name)
	}

	for what, b := range map[string]string{
		"a null that may not be":     "\x00\x03" + "\x00\x00\x00\x00\x00\x00\x00\x01" + "\x00\x00\x00\x01" + "\xff\xff" + "\x00\x00\x00\x00\x00\x00\x00\x01",
		"a length below that":        "\x00\x03" + "\x00\x00\x00\x00\x00\x00\x00\x01" + "\x00\x00\x00\x01" + "\x80\x00" + "\x00\x00\x00\x00\x00\x00\x00\x01",
		"a tag twice":                "\x00\x04" + "\x00\x00\x00\x00\x00\x00\x00\x01" + "\x00\x00\x00\x01" + "\x01" + "\x00\x00\x00\x00\x00\x00\x00\x01" + "\x02\x01\x00\x01\x00",
		"a size beyond the record":   "\x00\x04" + "\x00\x00\x00\x00\x00\x00\x00\x01" + "\x00\x00\x00\x01" + "\x01" + "\x00\x00\x00\x00\x00\x00\x00\x01" + "\x01\x01\xff\xff\xff\xff\x0f",
		"a varint that never ends":   "\x00\x04" + "\x00\x00\x00\x00\x00\x00\x00\x01" + "\x00\x00\x00\x01" + "\xff\xff\xff\xff\xff\xff\xff",
		"more tags than there are":   "\x00\x04" + "\x00\x00\x00\x00\x00\x00\x00\x01" + "\x00\x00\x00\x01" + "\x01" + "\x00\x00\x00\x00\x00\x00\x00\x01" + "\xff\xff\xff\xff\x0f\x01\x00",
		"a compact null that is not": "\x00\x04" + "\x00\x00\x00\x00\x00\x00\x00\x01" + "\x00\x00\x00\x01" + "\x00" + "\x00\x00\x00\x00\x00\x00\x00\x01" + "\x00",
	} {
		_, err := ParseOffsetValue([]byte(b))
		require.ErrorIs(t, err, ErrFormat, what)
	}

	// A known tagged field that is longer or shorter than what it holds.
	txn, err := AppendTransactionValue(nil, TransactionValue{Version: 1, PreviousProducerID: -1, NextProducerID: -1, ClientTransactionVersion: 2})
	require.NoError(t, err)
	require.Equal(t, "\x01\x02\x02\x00\x02", string(txn[len(txn)-5:]))
	head := string(txn[:len(txn)-5])
	_, err = ParseTransactionValue([]byte(head + "\x01\x02\x03\x00\x02\x00"))
	require.ErrorContains(t, err, "1 bytes behind tagged field 2")
	_, err = ParseTransactionValue([]byte(head + "\x02\x02\x01\x00\x05\x01\x00"))
	require.ErrorContains(t, err, "clientTransactionVersion does not fit in 41 bytes, at 37")
	_, err = ParseTransactionValue([]byte(head + "\x02\x02\x02\x00\x05\x09\x07x"))
	require.ErrorContains(t, err, "tagged field does not fit in 42 bytes, at 41")

	// A count beyond what is left is refused where it stands.
	_, err = ParseAssignment([]byte("\x00\x00" + "\x7f\xff\xff\xff" + "\x00\x01t"))
	require.ErrorContains(t, err, "assignedPartitions does not fit in 9 bytes, at 6")
}

// Counts and lengths are the record's word for it: nothing is made as large as
// they say.
func TestCountsAreNotBelieved(t *testing.T) {
	for name, r := range everyRecord() {
		for _, fill := range []byte{0x00, 0x01, 0x7f, 0x80, 0xfe, 0xff} {
			for version := range byte(5) {
				b := []byte{0, version}
				for range 200 {
					b = append(b, fill)
				}
				// A structure of some 200 bytes for each of 200 is the most there
				// can be, and twice that while a list grows.
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				_ = Parse(b, r)
				runtime.ReadMemStats(&after)
				require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(200*200*8), "%s version %d of %#x", name, version, fill)
			}
		}
	}
}

func TestValuesThatCannotBeStored(t *testing.T) {
	long := strings.Repeat("x", math.MaxInt16+1)
	came, err := AppendOffsetKey([]byte("before"), OffsetKey{Version: 1, Group: "g", Topic: long})
	require.ErrorIs(t, err, ErrValue)
	require.Equal(t, "before", string(came))
	_, err = AppendOffsetKey(nil, OffsetKey{Version: 1, Group: long})
	require.EqualError(t, err, "key of a committed offset: value cannot be stored: group is 32768 long")
	_, err = AppendOffsetKey(nil, OffsetKey{Version: 1, Group: long[1:]})
	require.NoError(t, err)
	for version := range int16(4) {
		_, err = AppendOffsetValue(nil, OffsetValue{Version: version, Metadata: long, ExpireTimestamp: -1})
		require.ErrorIs(t, err, ErrValue)
		_, err = AppendOffsetValue(nil, OffsetValue{Version: version, ExpireTimestamp: 5})
		if version == 1 {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, ErrValue, "an expiry is not dropped")
		}
	}
	_, err = AppendOffsetValue(nil, OffsetValue{Version: 5, ExpireTimestamp: -1})
	require.ErrorIs(t, err, ErrVersion)
	_, err = AppendOffsetValue(nil, OffsetValue{Version: -1, ExpireTimestamp: -1})
	require.Error(t, err)
	// What a version has no place for is not there afterwards.
	b, err := AppendOffsetValue(nil, OffsetValue{Version: 1, LeaderEpoch: 9, ExpireTimestamp: 5})
	require.NoError(t, err)
	v, err := ParseOffsetValue(b)
	require.NoError(t, err)
	require.Equal(t, OffsetValue{Version: 1, LeaderEpoch: -1, ExpireTimestamp: 5}, v)
}

// What was parsed stays what it is when the bytes, of a mapped segment, change.
func TestParsedIsACopy(t *testing.T) {
	for name, r := range everyRecord() {
		switch v := r.(type) {
		case *OffsetValue:
			*v = OffsetValue{Version: 3, Metadata: "metadata", ExpireTimestamp: -1}
		case *GroupValue:
			*v = GroupValue{Version: 4, ProtocolType: "type", Leader: new("leader"), Tags: []Tag{{Number: 2, Data: []byte("tag")}},
				Members: []GroupMember{{ID: "id", Subscription: []byte("sub"), Assignment: []byte("ass")}}}
		}
		b, err := Append(nil, r)
		require.NoError(t, err, name)
		require.NoError(t, Parse(b, r), name)
		mapped := string(b)
		clear(b)
		after, err := Append(nil, r)
		require.NoError(t, err, name)
		require.Equal(t, mapped, string(after), name)
	}
}

func TestDescribe(t *testing.T) {
	key, err := AppendOffsetKey(nil, OffsetKey{Version: 1, Group: "g\x1b[2J", Topic: "日本", Partition: 3})
	require.NoError(t, err)
	value, err := AppendOffsetValue(nil, OffsetValue{
		Version: 4, Offset: math.MaxInt64, LeaderEpoch: 1, Metadata: "\"\\\u0085\u202e\xff😀\U000e0001", ExpireTimestamp: -1,
		Tags: []Tag{{Number: 4, Data: []byte("new")}},
	})
	require.NoError(t, err)
	d, err := DescribeOffset(key, value)
	require.NoError(t, err)
	require.Equal(t, Description{
		Type: "OffsetCommit", KeyVersion: 1, ValueVersion: 4,
		Key: `{"group":"g\u001b[2J","topic":"日本","partition":3}`,
		Value: `{"offset":9223372036854775807,"leaderEpoch":1,"metadata":"\"\\\u0085\u202e` + "\ufffd" + `😀\udb40\udc01","commitTimestamp":0,` +
			`"taggedFields":[{"tag":4,"data":"bmV3"}]}`,
	}, d)
	var m struct{ Metadata string }
	require.NoError(t, json.Unmarshal([]byte(d.Value), &m))
	require.Equal(t, "\"\\\u0085\u202e\ufffd😀\U000e0001", m.Metadata)

	d, err = DescribeOffset(key, nil)
	require.NoError(t, err)
	require.Equal(t, "null", d.Value)

	// What is in the blobs of a group of consumers is shown, unless it is nothing.
	sub, err := AppendSubscription(nil, Subscription{Topics: []string{"t"}})
	require.NoError(t, err)
	key, err = AppendGroupKey(nil, GroupKey{Version: 2, Group: "g"})
	require.NoError(t, err)
	group := GroupValue{Version: 3, ProtocolType: "consumer", Members: []GroupMember{{Subscription: sub, Assignment: []byte{9}}}}
	value, err = AppendGroupValue(nil, group)
	require.NoError(t, err)
	d, err = DescribeOffset(key, value)
	require.NoError(t, err)
	require.Contains(t, d.Value, `"subscription":{"version":0,"topics":["t"],"userData":null},"assignment":"CQ=="}]`)
	group.ProtocolType = "connect"
	value, err = AppendGroupValue(nil, group)
	require.NoError(t, err)
	d, err = DescribeOffset(key, value)
	require.NoError(t, err)
	require.Contains(t, d.Value, `"subscription":"AAAAAAABAAF0/////w==","assignment":"CQ=="`)

	// With an error it says what can be told.
	d, err = DescribeOffset(key, []byte{0, 7})
	require.ErrorIs(t, err, ErrVersion)
	require.Equal(t, Description{Type: "GroupMetadata", KeyVersion: 2, Key: `{"group":"g"}`, ValueVersion: 7}, d)
	d, err = DescribeOffset([]byte{0, 2}, value)
	require.ErrorIs(t, err, ErrFormat)
	require.Equal(t, Description{Type: "GroupMetadata", KeyVersion: 2}, d)
	d, err = DescribeOffset([]byte{0, 99}, value)
	require.ErrorIs(t, err, ErrVersion)
	require.Equal(t, Description{KeyVersion: 99}, d)
	_, err = DescribeOffset(nil, nil)
	require.ErrorIs(t, err, ErrFormat)

	key, err = AppendTransactionKey(nil, TransactionKey{TransactionalID: "tx"})
	require.NoError(t, err)
	value, err = AppendTransactionValue(nil, TransactionValue{Version: 1, PreviousProducerID: -1, NextProducerID: -1, Status: TransactionCompleteAbort})
	require.NoError(t, err)
	d, err = DescribeTransaction(key, value)
	require.NoError(t, err)
	require.Equal(t, "TransactionLog", d.Type)
	require.Equal(t, `{"transactionalId":"tx"}`, d.Key)
	require.Contains(t, d.Value, `"transactionStatus":5,"transactionState":"CompleteAbort","transactionPartitions":null,`)
	require.Equal(t, "Unknown", TransactionStatus(8).String())
	require.Equal(t, "Unknown", TransactionStatus(-1).String())
	_, err = DescribeTransaction([]byte{0, 1}, nil)
	require.ErrorIs(t, err, ErrVersion)
}

// A commit makes no garbage but its record.
func TestCommitAllocatesNothing(t *testing.T) {
	b := make([]byte, 0, 1<<10)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		k, err := AppendOffsetKey(b, OffsetKey{Version: 1, Group: "group", Topic: "topic", Partition: 3})
		if err == nil {
			_, err = AppendOffsetValue(k, OffsetValue{Version: 3, Offset: 5, Metadata: "m", ExpireTimestamp: -1})
		}
		if err != nil {
			panic(err)
		}
	}))
	require.Zero(t, testing.AllocsPerRun(100, func() { PartitionOf("group 日本", 50) }))
}

// everyRecord is an empty one of each type.
func everyRecord() map[string]Record {
	all := map[string]Record{"subscription": new(Subscription), "assignment": new(Assignment)}
	for _, types := range [][]recordType{offsetTypes[:], transactionTypes[:]} {
		for kind, is := range types {
			key := is.key()
			reflect.ValueOf(key).Elem().FieldByName("Version").SetInt(int64(kind))
			all[is.name+" key"], all[is.name] = key, is.value()
		}
	}
	return all
}
