package api

import (
	"fmt"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/policy"
)

// Limits bound what one principal may ask of one node. Zero values are the defaults.
type Limits struct {
	// Detectors and People are calls per second of a detector and of everybody else, members left out; as many as two
	// seconds of them may come at once. 10,000 and 1,000. The opening of a stream is a call, what comes on it is bounded
	// by the queue of signals.
	Detectors, People float64
	// Customers are calls per second of one principal of a customer; 20.
	Customers float64
	// Streams are the streams that one principal may have open; 128.
	Streams int
}

func (l Limits) withDefaults() Limits {
	if l.Detectors <= 0 {
		l.Detectors = 10_000
	}
	if l.People <= 0 {
		l.People = 1_000
	}
	if l.Customers <= 0 {
		l.Customers = 20
	}
	if l.Streams <= 0 {
		l.Streams = 128
	}
	return l
}

// maxBuckets is the number of principals above which those that ask for nothing are forgotten.
const maxBuckets = 1024

// limiter counts the calls and streams of each principal. A call that was forwarded counts for whom it was made, on
// both nodes, so that asking several nodes does not multiply what reaches the leader.
type limiter struct {
	Limits
	elapsed func() time.Duration

	mu      sync.Mutex // guards the field below
	buckets map[policy.Principal]*bucket
}

// bucket holds the calls that a principal may make at once.
type bucket struct {
	calls   float64
	at      time.Duration
	rate    float64
	streams int
}

func newLimiter(l Limits, elapsed func() time.Duration) *limiter {
	return &limiter{Limits: l.withDefaults(), elapsed: elapsed, buckets: map[policy.Principal]*bucket{}}
}

// take counts a call; an error says when to try again.
func (l *limiter) take(c auth.Caller) error {
	if c.Role == auth.Member {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucket(c)
	if b.calls < 1 {
		wait := time.Duration((1 - b.calls) / b.rate * float64(time.Second))
		return limited(ReasonRateLimited, wait, "%s makes more than %g calls a second on this node; try again in %s", c.Identity, b.rate, wait.Round(time.Millisecond))
	}
	b.calls--
	return nil
}

// open counts a stream until close is called; an error says that there are too many.
func (l *limiter) open(c auth.Caller) (closed func(), err error) {
	if err := l.take(c); err != nil || c.Role == auth.Member {
		return func() {}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.bucket(c)
	if b.streams >= l.Streams {
		return nil, limited(ReasonTooManyStreams, retrySoon, "%s has %d streams open on this node and may have %d; close one first", c.Identity, b.streams, l.Streams)
	}
	b.streams++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		b.streams--
	}, nil
}

// bucket returns the principal's bucket as of now; mu is held.
func (l *limiter) bucket(c auth.Caller) *bucket {
	now := l.elapsed()
	b := l.buckets[c.Principal()]
	if b == nil {
		if len(l.buckets) >= maxBuckets {
			l.forget(now)
		}
		rate := l.People
		switch c.Role {
		case auth.Detector:
			rate = l.Detectors
		case auth.Customer:
			rate = l.Customers
		case auth.Member, auth.Admin, auth.Operator, auth.Viewer, auth.Approver:
		}
		if c.PerSecond > 0 {
			rate = float64(c.PerSecond)
		}
		b = &bucket{rate: rate, calls: 2 * rate, at: now}
		l.buckets[c.Principal()] = b
		return b
	}
	b.calls = min(b.calls+(now-b.at).Seconds()*b.rate, 2*b.rate)
	b.at = now
	return b
}

// forget drops the buckets that would be full; mu is held. They come back as they went.
func (l *limiter) forget(now time.Duration) {
	for p, b := range l.buckets {
		if b.streams == 0 && b.calls+(now-b.at).Seconds()*b.rate >= 2*b.rate {
			delete(l.buckets, p)
		}
	}
}

func limited(reason string, wait time.Duration, format string, args ...any) error {
	return withDetails(withInfo(codes.ResourceExhausted, reason, fmt.Sprintf(format, args...)),
		&errdetails.RetryInfo{RetryDelay: durationpb.New(max(wait, time.Millisecond))}).Err()
}
