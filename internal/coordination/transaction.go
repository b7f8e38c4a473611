package coordination

import (
	"github.com/leatlog/leat/internal/fields"
)

// TransactionKey is the key of a record of __transaction_state.
type TransactionKey struct {
	Version         int16 // 0
	TransactionalID string
}

// TransactionStatus is the state of a transaction.
type TransactionStatus int8

// The states of a transaction, as they are stored.
const (
	TransactionEmpty TransactionStatus = iota
	TransactionOngoing
	TransactionPrepareCommit
	TransactionPrepareAbort
	TransactionCompleteCommit
	TransactionCompleteAbort
	TransactionDead
	TransactionPrepareEpochFence
)

var transactionStatus = [...]string{
	"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead", "PrepareEpochFence",
}

// String is Kafka's name of the state.
func (s TransactionStatus) String() string {
	if s < 0 || int(s) >= len(transactionStatus) {
		return "Unknown"
	}
	return transactionStatus[s]
}

// TransactionValue is the state of a transactional id. Times are milliseconds.
type TransactionValue struct {
	Version                  int16
	ProducerID               int64
	PreviousProducerID       int64 // of the last transaction; -1: none. This and the next from version 1 on
	NextProducerID           int64 // the last told to the producer; -1: none
	ProducerEpoch            int16
	Timeout                  int32 // ms
	Status                   TransactionStatus
	Partitions               []TransactionPartitions // nil: null
	LastUpdateTimestamp      int64
	StartTimestamp           int64 // -1: none
	ClientTransactionVersion int16 // from version 1 on
	Tags                     []Tag // from version 1 on
}

// TransactionPartitions are the partitions of a topic that are in a transaction.
type TransactionPartitions struct {
	Topic      string
	Partitions []int32
	Tags       []Tag // from version 1 on
}

func (k *TransactionKey) fields(c *fields.Coder) {
	c.Version(&k.Version, 0, fields.Never)
	c.String("transactionalId", &k.TransactionalID)
}

func (v *TransactionValue) fields(c *fields.Coder) {
	c.Version(&v.Version, 1, 1)
	if c.Reading() {
		v.PreviousProducerID, v.NextProducerID = -1, -1
	}
	c.Int64("producerId", &v.ProducerID)
	c.Int16("producerEpoch", &v.ProducerEpoch)
	c.Int32("transactionTimeoutMs", &v.Timeout)
	c.Int8("transactionStatus", (*int8)(&v.Status))
	if name := v.Status.String(); c.Expand {
		c.String("transactionState", &name)
	}
	fields.NullList(c, "transactionPartitions", &v.Partitions, func(p *TransactionPartitions) {
		c.String("topic", &p.Topic)
		c.Int32s("partitionIds", &p.Partitions)
		c.Tags(&p.Tags)
	})
	c.Int64("transactionLastUpdateTimestampMs", &v.LastUpdateTimestamp)
	c.Int64("transactionStartTimestampMs", &v.StartTimestamp)
	c.Tags(&v.Tags,
		fields.Tagged{Number: 0, Set: v.PreviousProducerID != -1, Fields: func() { c.Int64("previousProducerId", &v.PreviousProducerID) }},
		fields.Tagged{Number: 1, Set: v.NextProducerID != -1, Fields: func() { c.Int64("nextProducerId", &v.NextProducerID) }},
		fields.Tagged{Number: 2, Set: v.ClientTransactionVersion != 0, Fields: func() { c.Int16("clientTransactionVersion", &v.ClientTransactionVersion) }},
	)
}

func (k *TransactionKey) what() string   { return "key of a transaction" }
func (v *TransactionValue) what() string { return "transaction" }

// ParseTransactionKey decodes a key of __transaction_state.
func ParseTransactionKey(b []byte) (k TransactionKey, err error) {
	err = Parse(b, &k)
	return k, err
}

// AppendTransactionKey appends the key to dst.
func AppendTransactionKey(dst []byte, k TransactionKey) ([]byte, error) { return Append(dst, &k) }

// ParseTransactionValue decodes a value of __transaction_state.
func ParseTransactionValue(b []byte) (v TransactionValue, err error) {
	err = Parse(b, &v)
	return v, err
}

// AppendTransactionValue appends the value to dst.
func AppendTransactionValue(dst []byte, v TransactionValue) ([]byte, error) { return Append(dst, &v) }
