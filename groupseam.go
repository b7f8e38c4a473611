package leat

import (
	"context"

	"github.com/leatlog/leat/internal/coordination"
)

// What a group wants of __consumer_offsets.

// savedGeneration is that of the last GroupMetadata record of a group, 0 if there is none.
func (s *Store) savedGeneration(ctx context.Context, group string) (int32, error) {
	return 0, nil
}

func (s *Store) storeGroup(ctx context.Context, group string, v coordination.GroupValue) error {
	return nil
}
