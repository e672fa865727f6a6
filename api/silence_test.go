package api

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidegate/tidegate/api/apitest"
	"github.com/tidegate/tidegate/controller"
)

// wire is a connection to a node that answers, empty-handed, until it is cut.
type wire struct {
	grpc.ClientConnInterface
	mu  sync.Mutex // guards cut
	cut bool
}

func (w *wire) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		return status.Error(codes.Unavailable, "dial tcp: connection refused")
	}
	return nil
}

// A node is silent since it last answered, whether or not somebody asked for the status then.
func TestSilentSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		members := []controller.Member{{ID: "n1"}, {ID: "n2"}, {ID: "n3"}}
		w := &wire{}
		s, err := New(Config{Cluster: "lab", ListenEvery: 2 * time.Second}, Deps{
			Controller: apitest.NewCluster(time.Now(), members...).Node("n1"), Logger: slog.New(slog.DiscardHandler),
			Dial: func(m controller.Member) (grpc.ClientConnInterface, error) {
				if m.ID == "n3" {
					return nil, errors.New("cannot dial")
				}
				return w, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go s.listen(ctx)
		time.Sleep(5 * time.Second) // of the bubble's clock: two questions
		synctest.Wait()
		w.mu.Lock()
		w.cut = true
		w.mu.Unlock()
		time.Sleep(time.Minute)
		nodes := s.askAll(ctx, false)
		if got, want := nodes[1].since.Sub(start), 4*time.Second; got != want {
			t.Errorf("n2 is silent since %s after the start, want %s", got, want)
		}
		if got, want := nodes[1].silence(), "does not answer (the connection was refused); it last did at "+start.Add(4*time.Second).UTC().Format(time.RFC3339); got != want {
			t.Errorf("n2: %q, want %q", got, want)
		}
		if !nodes[2].since.IsZero() {
			t.Errorf("n3 never answered, and is silent since %s", nodes[2].since)
		}
	})
}

func TestSilence(t *testing.T) {
	for text, want := range map[string]string{
		"transport: authentication handshake failed: x509": "one of the two certificates was not accepted",
		"dial tcp 192.0.2.1:1: i/o timeout":                "no answer in time",
		"connect: no route to host":                        "no route to it",
		"error reading from server: EOF":                   "the connection broke",
	} {
		if got := silence(t.Context(), status.Error(codes.Unavailable, text)); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	if got, want := silence(t.Context(), status.Error(codes.Internal, "x")), "the call failed with Internal"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
