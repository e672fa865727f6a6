package auth

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// The metadata of a forwarded call.
const (
	// OnBehalfOf names whom a member calls for, as role/name. It is believed from members only.
	OnBehalfOf = "tidegate-on-behalf-of"
	// Hop marks a call that was forwarded once; it is never forwarded again.
	Hop = "tidegate-hop"
)

// Authenticator turns the peer of a call into a Caller and asks the role table.
type Authenticator struct {
	// Cluster that certificates must name.
	Cluster string
	// Rights is the role table.
	Rights Rights
	// Tokens knows bearer tokens; nil: there are none.
	Tokens TokenBook
	// Now is the wall clock, by which tokens end; nil: time.Now.
	Now func() time.Time
}

// Authorize returns who makes the call to the method, if it may. Errors are gRPC statuses: Unauthenticated when
// nobody can be told from the certificate, PermissionDenied when the role may not call the method, or when somebody
// who is not a member speaks for another.
func (a *Authenticator) Authorize(ctx context.Context, fullMethod string) (Caller, error) {
	id, perSecond, err := a.peer(ctx)
	if err != nil {
		return Caller{}, status.Error(codes.Unauthenticated, err.Error())
	}
	caller, err := effective(ctx, id)
	if err != nil {
		return Caller{Identity: id}, err
	}
	if caller.PerSecond = perSecond; caller.Via != "" && caller.Token != "" {
		if caller.PerSecond, err = a.stillGood(caller.Identity); err != nil {
			return Caller{Identity: id}, status.Error(codes.Unauthenticated, err.Error())
		}
	}
	if !a.Rights.Allows(fullMethod, caller.Role) {
		return caller, status.Error(codes.PermissionDenied, denied(caller, fullMethod, a.Rights.Holders(fullMethod)))
	}
	return caller, nil
}

// peer reads the identity from the verified certificate of the connection, or else from a bearer token, or takes that of a
// Vouched. Of a token it returns its calls per second too.
func (a *Authenticator) peer(ctx context.Context) (Identity, int, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Identity{}, 0, fmt.Errorf("cannot tell who is calling: %w: no connection", ErrIdentity)
	}
	if v, ok := p.AuthInfo.(Vouched); ok && v.id != (Identity{}) {
		return v.id, 0, nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return Identity{}, 0, fmt.Errorf("cannot tell who is calling: %w: the connection is not TLS", ErrIdentity)
	}
	// Only a chain that was verified counts: PeerCertificates alone are whatever the client sent.
	if len(info.State.VerifiedChains) == 0 || len(info.State.VerifiedChains[0]) == 0 {
		if !info.State.HandshakeComplete {
			return Identity{}, 0, fmt.Errorf("cannot tell who is calling: %w: the connection is not TLS", ErrIdentity)
		}
		return a.byToken(ctx)
	}
	if len(metadata.ValueFromIncomingContext(ctx, Authorization)) > 0 {
		return Identity{}, 0, fmt.Errorf("cannot tell who is calling: %w: there are a certificate and a token; show one of them", ErrIdentity)
	}
	id, err := FromCertificate(info.State.VerifiedChains[0][0], a.Cluster)
	return id, 0, err
}

// effective replaces a member's identity by the one it calls for.
func effective(ctx context.Context, id Identity) (Caller, error) {
	behalf := metadata.ValueFromIncomingContext(ctx, OnBehalfOf)
	hop := metadata.ValueFromIncomingContext(ctx, Hop)
	if len(behalf) == 0 && len(hop) == 0 {
		return Caller{Identity: id}, nil
	}
	if id.Role != Member {
		return Caller{}, status.Errorf(codes.PermissionDenied, "%s may not speak for another: only members forward calls", id)
	}
	if len(behalf) != 1 || len(hop) != 1 || hop[0] != "1" {
		return Caller{}, status.Errorf(codes.PermissionDenied, "a forwarded call needs exactly one %s and %s: 1", OnBehalfOf, Hop)
	}
	who, err := ParseIdentity(behalf[0])
	if err != nil {
		return Caller{}, status.Error(codes.PermissionDenied, err.Error())
	}
	if who.Role == Member {
		return Caller{}, status.Errorf(codes.PermissionDenied, "a member calls for itself, not for %s", who)
	}
	return Caller{Identity: who, Via: id.Name}, nil
}

// Forward returns a context for the same call to another node, on behalf of c.
func Forward(ctx context.Context, c Caller) context.Context {
	return metadata.NewOutgoingContext(ctx, metadata.Pairs(OnBehalfOf, c.String(), Hop, "1"))
}

func denied(c Caller, method string, holders []Role) string {
	if len(holders) == 0 {
		return fmt.Sprintf("%s may not call %s: no role may", c.Identity, method)
	}
	var names []string
	for _, r := range holders {
		names = append(names, string(r))
	}
	return fmt.Sprintf("%s may not call %s: it takes a certificate of role %s", c.Identity, method, strings.Join(names, " or "))
}
