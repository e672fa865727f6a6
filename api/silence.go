package api

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/tidegate/tidegate/controller"
)

// heard remembers when each node last answered, so that silence has a beginning.
type heard struct {
	mu sync.Mutex // guards at
	at map[string]time.Time
}

func (h *heard) now(node string, t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.at == nil {
		h.at = make(map[string]time.Time)
	}
	h.at[node] = t
}

// last is when the node last answered; zero when it has not since this one started.
func (h *heard) last(node string) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at[node]
}

// listen asks the other members for a sign of life now and then until ctx ends: when somebody wants to know since when
// a node is silent, it is too late to begin. The question costs the other node nothing but its answer.
func (s *Server) listen(ctx context.Context) {
	t := time.NewTicker(s.cfg.ListenEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		var all sync.WaitGroup
		for _, m := range s.others() {
			all.Go(func() { s.listenTo(ctx, m) })
		}
		all.Wait()
	}
}

// others are the members but this one.
func (s *Server) others() []controller.Member {
	var out []controller.Member
	self := s.ctrl.Status().NodeID
	for _, m := range s.ctrl.Members() {
		if m.ID != self {
			out = append(out, m)
		}
	}
	return out
}

func (s *Server) listenTo(ctx context.Context, m controller.Member) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StatusTimeout)
	defer cancel()
	conn, err := s.dial(m)
	if err != nil {
		return // whoever asks for the status is told
	}
	if _, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}); err == nil {
		s.heard.now(m.ID, s.deps.Now())
	}
}

// silence says how a node kept silent. The text of the transport is long and says little to a reader.
func silence(ctx context.Context, err error) string {
	st := status.Convert(err)
	switch text := st.Message(); {
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded), st.Code() == codes.DeadlineExceeded:
		return "no answer in time"
	case strings.Contains(text, "connection refused"):
		return "the connection was refused"
	case strings.Contains(text, "authentication handshake failed"), strings.Contains(text, "remote error: tls"):
		return "one of the two certificates was not accepted"
	case strings.Contains(text, "timeout"), strings.Contains(text, "deadline exceeded"):
		return "no answer in time"
	case strings.Contains(text, "no route to host"), strings.Contains(text, "unreachable"):
		return "no route to it"
	case strings.Contains(text, "no such host"):
		return "its name is not known"
	case st.Code() == codes.Unavailable:
		return "the connection broke"
	default:
		return "the call failed with " + st.Code().String()
	}
}
