package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidegate/tidegate/api/auth"
)

func by(role auth.Role, name string) auth.Caller {
	return auth.Caller{Identity: auth.Identity{Role: role, Name: name}}
}

// TestLimiter: a principal has its rate and two seconds of it at once; nobody pays for another; members are not counted.
func TestLimiter(t *testing.T) {
	var now time.Duration
	l := newLimiter(Limits{Detectors: 20, People: 10, Streams: 2}, func() time.Duration { return now })
	taken := func(c auth.Caller) (n int) {
		for l.take(c) == nil && n < 1000 {
			n++
		}
		return n
	}
	for _, row := range []struct {
		name  string
		after time.Duration
		who   auth.Caller
		want  int
	}{
		{"at once", 0, by(auth.Viewer, "v"), 20},
		{"and no more", 0, by(auth.Viewer, "v"), 0},
		{"of the same name in another role", 0, by(auth.Operator, "v"), 20},
		{"a detector", 0, by(auth.Detector, "d"), 40},
		{"half a second later", 500 * time.Millisecond, by(auth.Viewer, "v"), 5},
		{"a long time later", time.Hour, by(auth.Viewer, "v"), 20},
		{"a member", 0, by(auth.Member, "n1"), 1000},
		{"forwarded", 0, auth.Caller{Identity: by(auth.Viewer, "v").Identity, Via: "n2"}, 0},
	} {
		now += row.after
		if got := taken(row.who); got != row.want {
			t.Errorf("%s: %d calls, want %d", row.name, got, row.want)
		}
	}
	err := l.take(by(auth.Viewer, "v"))
	if status.Code(err) != codes.ResourceExhausted || ErrorReason(err) != ReasonRateLimited || !strings.Contains(err.Error(), "viewer/v makes more than 10 calls a second on this node; try again in 100ms") {
		t.Errorf("refused with %v", err)
	}
}

// TestLimiterStreams: streams are counted while they are open.
func TestLimiterStreams(t *testing.T) {
	l := newLimiter(Limits{Streams: 2}, func() time.Duration { return 0 })
	d := by(auth.Detector, "d")
	first, err := l.open(d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.open(d); err != nil {
		t.Fatal(err)
	}
	if _, err := l.open(d); ErrorReason(err) != ReasonTooManyStreams {
		t.Errorf("a third stream: %v", err)
	}
	if _, err := l.open(by(auth.Detector, "e")); err != nil {
		t.Errorf("another detector: %v", err)
	}
	first()
	if _, err := l.open(d); err != nil {
		t.Errorf("after one was closed: %v", err)
	}
}

// TestLimiterIsBounded: who asks for nothing is forgotten, and who was held back is not.
func TestLimiterIsBounded(t *testing.T) {
	var now time.Duration
	l := newLimiter(Limits{People: 1}, func() time.Duration { return now })
	busy := by(auth.Viewer, "busy")
	for i := range 10 * maxBuckets {
		now += time.Millisecond
		for l.take(busy) == nil {
		}
		if err := l.take(by(auth.Viewer, fmt.Sprint("v", i))); err != nil {
			t.Fatal(err)
		}
		if len(l.buckets) > 3*maxBuckets {
			t.Fatalf("%d principals are remembered", len(l.buckets))
		}
	}
	if l.take(busy) == nil {
		t.Error("who was held back was forgotten")
	}
}
