package middleware

import (
	"context"
	"testing"
	"time"
)

func TestBucketsUndo(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	b := NewBuckets(2, time.Minute, func() time.Time { return now })
	ctx := context.Background()
	for range 10 { // what is given back does not run out
		if ok, _ := b.Allow(ctx, "k"); !ok {
			t.Fatal("ran out")
		}
		b.Undo(ctx, "k")
	}
	b.Undo(ctx, "unknown")
	for i, want := range []bool{true, true, false} {
		if ok, _ := b.Allow(ctx, "k"); ok != want {
			t.Errorf("%d: %v", i, ok)
		}
	}
	b.Undo(ctx, "k")
	if ok, _ := b.Allow(ctx, "k"); !ok {
		t.Error("the token did not come back")
	}
}
