package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/leatlog/leat/codec"
	"github.com/leatlog/leat/internal/golden"
)

// decodedFields are the members of "decoded" that golden/offsets has of a record.
var decodedFields = []string{"type", "keyVersion", "keyFields", "valueVersion", "valueFields"}

// sameFields compares a decoded record with golden. What the tool shows of blobs
// and states is left to TestDescribe of internal/coordination.
func sameFields(t *testing.T, want, got object) {
	t.Helper()
	want, got = pick(t, want), pick(t, got)
	if values, ok := got["valueFields"].(object); ok {
		delete(values, "transactionState")
		if members, ok := values["members"].([]any); ok && values["protocolType"] == "consumer" {
			for i, m := range members {
				require.NotEmpty(t, m.(object)["subscription"].(object)["topics"])
				wanted := want["valueFields"].(object)["members"].([]any)[i].(object)
				for _, blob := range []string{"subscription", "assignment"} {
					wanted[blob] = m.(object)[blob]
				}
			}
		}
	}
	require.Equal(t, want, got)
}

func pick(t *testing.T, o object) object {
	some := object{}
	for _, name := range decodedFields {
		require.Contains(t, o, name)
		some[name] = o[name]
	}
	return some
}

// kafkaRecords are those of a sidecar in golden/offsets.
func kafkaRecords(t *testing.T, name string) (list []object) {
	var raw []json.RawMessage
	golden.JSON(t, &raw, "offsets", name)
	for _, r := range raw {
		list = append(list, parse(t, r))
	}
	return list
}

// data are the records in the output of dump --json, markers left out.
func data(t *testing.T, out string) (list []object) {
	for _, b := range lines(t, out) {
		for _, r := range b["records"].([]any) {
			if b["isControl"] == true {
				require.NotContains(t, r, "decoded")
				continue
			}
			list = append(list, r.(object))
		}
	}
	return list
}

// The segment has all of group-records.json, in order.
func TestDumpDecodesOffsets(t *testing.T) {
	folder := golden.Path(t, "offsets", "__consumer_offsets-12")
	want := kafkaRecords(t, "group-records.json")
	got := data(t, sound(t, "--json", "--offsets-decoder", folder))
	require.Len(t, got, len(want))
	for i := range want {
		sameFields(t, want[i], got[i]["decoded"].(object))
	}
	for _, r := range data(t, sound(t, "--json", folder)) {
		require.NotContains(t, r, "decoded", "JSON has no more than it was asked for")
	}

	// Text knows the topic by its folder.
	out := sound(t, folder)
	for _, line := range []string{
		`  4 2023-11-14T22:13:20.004Z OffsetCommit key {"group":"日本","topic":"a","partition":5} ` +
			`value {"offset":467959,"leaderEpoch":1,"metadata":"","commitTimestamp":1700000000004}` + "\n",
		` OffsetCommit key {"group":"日本","topic":"t.with-dots_1","partition":11} value null` + "\n",
		` GroupMetadata key {"group":"analytics"} value null` + "\n",
		`,"subscription":{"version":3,"topics":["a","orders"],"userData":null,"ownedPartitions":[],"generationId":-1,"rackId":null},"assignment":{"version":3,"assignedPartitions":[`,
		`key "\x00\x00\x00\x00" value "\x00\x00\x00\x00\x00\x06"` + "\n", // a marker
	} {
		require.Contains(t, out, line)
	}
	t.Chdir(folder)
	require.Equal(t, out, sound(t, "."))
	require.Contains(t, sound(t, firstLog), "OffsetCommit key {")

	// Elsewhere it has to be told.
	b, err := os.ReadFile(firstLog)
	require.NoError(t, err)
	for _, name := range []string{"orders-0", "__consumer_offsets", "__consumer_offsets-", "__consumer_offsets-x-1"} {
		elsewhere := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.Mkdir(elsewhere, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(elsewhere, firstLog), b, 0o600))
		require.NotContains(t, sound(t, elsewhere), "OffsetCommit")
		require.Equal(t, out, sound(t, "--offsets-decoder", elsewhere))
	}

	r := tool(t, "dump", "--offsets-decoder", "--transaction-log-decoder", folder)
	require.Equal(t, exitUsage, r.status)
	require.Contains(t, r.stderr, "transaction-log-decoder")
}

func TestDumpDecodesTransactions(t *testing.T) {
	var sidecar []struct{ Key, Value golden.Hex }
	golden.JSON(t, &sidecar, "offsets", "transaction-records.json")
	var records []codec.Record
	for i, r := range sidecar {
		records = append(records, codec.Record{Offset: int64(i), Key: r.Key, Value: r.Value})
	}
	// What is not known, or damaged, is shown as it is.
	for _, value := range []string{"\x00\x09new", "\x00\x00cut"} {
		records = append(records, codec.Record{Offset: int64(len(records)), Key: sidecar[0].Key, Value: []byte(value)})
	}
	records = append(records, codec.Record{Offset: int64(len(records)), Key: []byte("\x00\x01k"), Value: []byte("v")})
	records = append(records, codec.Record{Offset: int64(len(records))})
	b, err := codec.AppendBatch(nil, codec.NewHeader(0, records), records, nil)
	require.NoError(t, err)
	folder := filepath.Join(t.TempDir(), "__transaction_state-3")
	require.NoError(t, os.Mkdir(folder, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(folder, firstLog), b, 0o600))

	out := sound(t, folder)
	for _, line := range []string{
		` TransactionLog key {"transactionalId":"ид"} value {"producerId":1002,"producerEpoch":2,"transactionTimeoutMs":60002,"transactionStatus":2,` +
			`"transactionState":"PrepareCommit","transactionPartitions":[{"topic":"orders","partitionIds":[0,3,87]},`,
		` TransactionLog key {"transactionalId":"app-0_3"} value null` + "\n",
		` TransactionLog key {"transactionalId":"tx-1"} value "\x00\tnew" (not decoded: transaction: version not known: 9, the newest known is 1)` + "\n",
		` value "\x00\x00cut" (not decoded: transaction: record is damaged: producerId does not fit in 5 bytes, at 2)` + "\n",
		` key "\x00\x01k" value "v" (not decoded: key: version not known: 1, the newest known is 0)` + "\n",
		` key null value null (not decoded: key: record is damaged: 0 bytes)` + "\n",
	} {
		require.Contains(t, out, line)
	}
	require.Equal(t, len(records), strings.Count(out, " key "))

	got := data(t, sound(t, "--json", "--transaction-log-decoder", folder))
	require.Len(t, got, len(records))
	for i, want := range kafkaRecords(t, "transaction-records.json") {
		sameFields(t, want, got[i]["decoded"].(object))
	}
	got = got[len(sidecar):]
	require.Equal(t, object{
		"type": "TransactionLog", "keyVersion": json.Number("0"), "keyFields": object{"transactionalId": "tx-1"},
		"error": "transaction: version not known: 9, the newest known is 1",
	}, got[0]["decoded"])
	require.Contains(t, got[1]["decoded"].(object)["error"], "damaged")
	require.Equal(t, object{"error": "key: version not known: 1, the newest known is 0"}, got[2]["decoded"])
	require.Equal(t, object{"error": "key: record is damaged: 0 bytes"}, got[3]["decoded"])
}
