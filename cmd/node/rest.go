package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/gateway"
)

// REST is the API over HTTPS and JSON. Without a listen address there is none.
type REST struct {
	Listen string // host:port
}

// readREST reads the section of that name.
func readREST(s *section) REST {
	sub, ok := s.sub("rest")
	if !ok {
		return REST{}
	}
	r := REST{Listen: sub.address("listen", DefaultREST)}
	sub.done()
	return r
}

// rest is the gateway, which runs after the API and stops before it.
func (w *wiring) rest(server *api.Server) (part, error) {
	cfg := w.n.cfg
	serverTLS, err := gatewayTLS(cfg)
	if err != nil {
		return part{}, err
	}
	g, err := gateway.New(gateway.Config{}, gateway.Deps{Inside: server.Inside(), Logger: w.n.log.With("part", "rest")})
	if err != nil {
		return part{}, err
	}
	return part{"rest", func(ctx context.Context) error { return g.Serve(ctx, w.restListener, serverTLS) }}, nil
}

// gatewayTLS is the configuration of the gateway's listener, with the node's own certificate.
func gatewayTLS(cfg Config) (*tls.Config, error) {
	c, err := auth.GatewayTLS(cfg.files(), cfg.Cluster.Name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTLS, err)
	}
	return c, nil
}

// addressOf is where l listens; empty for none.
func addressOf(l net.Listener) string {
	if l == nil {
		return ""
	}
	return l.Addr().String()
}
