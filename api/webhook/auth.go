package webhook

import (
	"container/list"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// The headers of a signed request.
const (
	TimestampHeader = "Tidegate-Timestamp" // seconds since 1970, with up to nine decimals
	SignatureHeader = "Tidegate-Signature" // sha256= and the signature in hex
)

// maxSeen bounds the signatures that are remembered: those of MaxPerSecond in twice the window, and what comes at once.
const maxSeen = MaxPerSecond*int(2*Window/time.Second) + 2*MaxPerSecond

// secret is what a source proves itself by.
type secret struct {
	key   []byte   // of HMAC
	token [32]byte // SHA-256 of the bearer token

	mu    sync.Mutex // guards what is below
	seen  map[[32]byte]bool
	order *list.List // of seen, the oldest first
}

// remembered is a signature, and until when.
type remembered struct {
	sum   [32]byte
	until time.Time
}

func newSecret(p Proof, text string) (*secret, error) {
	s := &secret{seen: map[[32]byte]bool{}, order: list.New()}
	if digest, hashed := strings.CutPrefix(text, "sha256:"); hashed && p == Bearer {
		b, err := hex.DecodeString(digest)
		if err != nil || len(b) != len(s.token) {
			return nil, errors.New("cannot use the secret: after sha256: there must be 64 hexadecimal digits")
		}
		copy(s.token[:], b)
		return s, nil
	}
	if len(text) < MinSecret {
		return nil, fmt.Errorf("cannot use the secret: it has %d octets; at least %d keep it from being guessed", len(text), MinSecret)
	}
	s.key, s.token = []byte(text), sha256.Sum256([]byte(text))
	return s, nil
}

// bearer checks the token. What is compared has one length, whatever was sent.
func (s *secret) bearer(h http.Header) error {
	scheme, token, _ := strings.Cut(h.Get("Authorization"), " ")
	sum := sha256.Sum256([]byte(token))
	if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(sum[:], s.token[:]) != 1 {
		return status.Error(codes.Unauthenticated, "the bearer token is missing or wrong")
	}
	return nil
}

// proof is a signature as it was sent.
type proof struct {
	stamp string
	at    time.Time
	sum   [32]byte
}

// read reads the headers of a signed request; a time outside the window ends it there.
func (s *secret) read(h http.Header, now time.Time, p *proof) error {
	stamps, sums := h.Values(TimestampHeader), h.Values(SignatureHeader)
	if len(stamps) != 1 || len(sums) != 1 {
		return status.Errorf(codes.Unauthenticated, "a request to this webhook needs one %s and one %s", TimestampHeader, SignatureHeader)
	}
	digest, ok := strings.CutPrefix(sums[0], "sha256=")
	b, err := hex.DecodeString(digest)
	if !ok || err != nil || len(b) != len(p.sum) {
		return status.Errorf(codes.Unauthenticated, "%s must be sha256= and 64 hexadecimal digits", SignatureHeader)
	}
	copy(p.sum[:], b)
	p.stamp = stamps[0]
	if p.at, ok = parseStamp(p.stamp); !ok {
		return status.Errorf(codes.Unauthenticated, "%s must be seconds since 1970, with at most nine decimals", TimestampHeader)
	}
	if d := now.Sub(p.at); d > Window || d < -Window {
		return status.Errorf(codes.Unauthenticated, "%s is %s from this node's clock; at most %s are accepted", TimestampHeader, d.Abs().Round(time.Second), Window)
	}
	return nil
}

// parseStamp reads seconds since 1970 with up to nine decimals.
func parseStamp(text string) (time.Time, bool) {
	whole, part, dotted := strings.Cut(text, ".")
	if dotted && (part == "" || len(part) > 9) {
		return time.Time{}, false
	}
	sec, err := strconv.ParseUint(whole, 10, 33)
	if err != nil {
		return time.Time{}, false
	}
	ns, err := strconv.ParseUint(part+strings.Repeat("0", 9-len(part)), 10, 32)
	if err != nil {
		return time.Time{}, false
	}
	return time.Unix(int64(sec), int64(ns)), true
}

// Sign returns the value of SignatureHeader for a body that is sent with the given TimestampHeader: the HMAC-SHA256 of the
// timestamp, a full stop, and the body.
func Sign(key []byte, timestamp string, body []byte) string {
	return "sha256=" + hex.EncodeToString(mac(key, timestamp, body))
}

func mac(key []byte, timestamp string, body []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(timestamp + "."))
	m.Write(body)
	return m.Sum(nil)
}

// verify checks the signature.
func (s *secret) verify(p *proof, body []byte) error {
	if !hmac.Equal(mac(s.key, p.stamp, body), p.sum[:]) {
		return status.Error(codes.Unauthenticated, "the signature is wrong")
	}
	return nil
}

// once lets a signature pass a single time. Those that would be too old anyway are forgotten; if there is no room, the
// request is turned away, since nobody could tell whether it is a replay.
func (s *secret) once(p *proof, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.order.Front(); e != nil; e = s.order.Front() {
		r, _ := e.Value.(remembered) // nothing else is put there
		if now.Before(r.until) {
			break
		}
		delete(s.seen, r.sum)
		s.order.Remove(e)
	}
	if s.seen[p.sum] {
		return status.Error(codes.Unauthenticated, "this request was sent before: sign it again with a new time")
	}
	if len(s.seen) >= maxSeen {
		return unavailable("too many signatures are remembered", time.Second)
	}
	s.seen[p.sum] = true
	// A time may lie ahead by a window, and is good for another one; the order of arrival is that of forgetting.
	s.order.PushBack(remembered{p.sum, now.Add(2 * Window)})
	return nil
}

// bucket is a bound on the rate of requests.
type bucket struct {
	rate, burst float64

	mu   sync.Mutex // guards what is below
	left float64
	at   time.Time
}

func newBucket(perSecond float64, now time.Time) *bucket {
	burst := math.Max(1, 2*perSecond)
	return &bucket{rate: perSecond, burst: burst, left: burst, at: now}
}

// take takes one request, or says how long to wait for the next one.
func (b *bucket) take(now time.Time) (wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if d := now.Sub(b.at); d > 0 {
		b.left, b.at = math.Min(b.burst, b.left+d.Seconds()*b.rate), now
	}
	if b.left < 1 {
		return max(time.Duration((1-b.left)/b.rate*float64(time.Second)), time.Millisecond)
	}
	b.left--
	return 0
}

func unavailable(text string, wait time.Duration) error {
	return withDetails(status.New(codes.Unavailable, text+"; try again"), &errdetails.RetryInfo{RetryDelay: durationpb.New(wait)}).Err()
}

// withDetails adds details; one that cannot be encoded is left out rather than the answer.
func withDetails(st *status.Status, details ...protoadapt.MessageV1) *status.Status {
	if with, err := st.WithDetails(details...); err == nil {
		return with
	}
	return st
}
