package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/tidegate/tidegate/api/auth"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// Services returns the names of the services that the health service answers for, besides "" for the whole node.
func Services() []string {
	return []string{
		tidegatev1.SignalService_ServiceDesc.ServiceName,
		tidegatev1.MitigationService_ServiceDesc.ServiceName,
		tidegatev1.ApprovalService_ServiceDesc.ServiceName,
		tidegatev1.InventoryService_ServiceDesc.ServiceName,
		tidegatev1.RuleService_ServiceDesc.ServiceName,
		tidegatev1.ClusterService_ServiceDesc.ServiceName,
		tidegatev1.AuditService_ServiceDesc.ServiceName,
		tidegatev1.TokenService_ServiceDesc.ServiceName,
		tidegatev1.MemberService_ServiceDesc.ServiceName,
	}
}

// SetServing says what the health service answers, for the node and for each service.
func (s *Server) SetServing(serving bool) {
	st := healthpb.HealthCheckResponse_NOT_SERVING
	if serving {
		st = healthpb.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", st)
	for _, name := range Services() {
		s.health.SetServingStatus(name, st)
	}
}

// Register registers tidegate's own services with r. The interceptors have to be r's own, see Options.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	tidegatev1.RegisterSignalServiceServer(r, &signalService{Server: s})
	tidegatev1.RegisterMitigationServiceServer(r, &mitigationService{Server: s})
	tidegatev1.RegisterApprovalServiceServer(r, &approvalService{Server: s})
	tidegatev1.RegisterInventoryServiceServer(r, &inventoryService{Server: s})
	tidegatev1.RegisterRuleServiceServer(r, &ruleService{Server: s})
	tidegatev1.RegisterClusterServiceServer(r, &clusterService{Server: s})
	tidegatev1.RegisterAuditServiceServer(r, &auditService{Server: s})
	tidegatev1.RegisterTokenServiceServer(r, &tokenService{Server: s})
	tidegatev1.RegisterMemberServiceServer(r, &memberService{Server: s})
}

// The windows of HTTP/2 flow control, in octets: how much of one stream, and of one connection, may have arrived and
// wait to be read. By itself gRPC widens each stream's to 16 MiB for a sender that is faster than we judge, which is
// our memory: a gigabyte for 64 streams. A message that is longer than the window still gets through.
const (
	streamWindow = 256 << 10
	connWindow   = 4 << 20
)

// Options returns the options of a gRPC server that carries the services: interceptors, limits, keepalive.
func (s *Server) Options() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(s.UnaryInterceptor),
		grpc.ChainStreamInterceptor(s.StreamInterceptor),
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
		grpc.MaxConcurrentStreams(s.cfg.MaxStreams),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.MaxHeaderListSize(64 << 10),
		// A client may ask every 10 s whether we are alive, even without a call; one that asks more often is cut off.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		// A peer that vanished without a word must not hold its streams for ever.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
	}
}

// GRPC returns a gRPC server with the services, health and reflection, ready for Serve. See auth.ServerTLS for cfg.
func (s *Server) GRPC(cfg *tls.Config) *grpc.Server {
	g := grpc.NewServer(append(s.Options(), grpc.Creds(auth.Credentials(credentials.NewTLS(cfg))))...)
	s.Register(g)
	healthpb.RegisterHealthServer(g, s.health)
	reflection.Register(g)
	return g
}

// Inside returns the way into the server from this process. It leads somewhere while Serve runs.
func (s *Server) Inside() *auth.Inside { return s.inside }

// Serve answers calls on l and from inside until ctx ends, then lets calls in flight end, within Config.StopTimeout, and
// ends streams. It closes l. It returns nil when ctx ended, else why the listener failed.
func (s *Server) Serve(ctx context.Context, l net.Listener, cfg *tls.Config) error {
	g := s.GRPC(cfg)
	failed := make(chan error, 1)
	go func() { failed <- g.Serve(l) }()
	within := make(chan struct{})
	go func() {
		defer close(within)
		_ = g.Serve(s.inside) // a listener in memory ends with the server and not before
	}()
	listening, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.listen(listening)
	}()
	defer func() {
		stop()
		<-ended
		<-within
	}()
	var err error
	select {
	case err = <-failed:
		s.stop(g)
	case <-ctx.Done():
		s.stop(g)
		err = <-failed
	}
	if err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("cannot serve on %s: %w", l.Addr(), err)
	}
	return nil
}

// stop ends g: streams at once, calls within the bound.
func (s *Server) stop(g *grpc.Server) {
	s.health.Shutdown()
	s.Drain()
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.GracefulStop()
	}()
	t := time.NewTimer(s.cfg.StopTimeout)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
		g.Stop()
		<-done
	}
}

// Drain ends every stream with Unavailable, so that a graceful stop does not wait for watchers. It is final.
func (s *Server) Drain() { s.drainOnce.Do(func() { close(s.drained) }) }
