package audit_test

import (
	"context"
	"testing"
)

// contextOf is a context that a test ends by itself.
func contextOf(testing.TB) (context.Context, context.CancelFunc) {
	return context.WithCancel(context.Background())
}
