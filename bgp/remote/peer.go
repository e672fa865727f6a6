package remote

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// peerCredentials tells the server who is at the other end of a unix socket. There is nothing to encrypt.
type peerCredentials struct{}

// caller is who the kernel says is at the other end.
type caller struct {
	credentials.CommonAuthInfo
	uid uint32
	err error // why nobody could tell
}

// AuthType is part of credentials.AuthInfo.
func (caller) AuthType() string { return "unix" }

// ServerHandshake asks the kernel. A caller who may not call is told so by the interceptor, in words.
func (peerCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c := caller{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
	if u, ok := conn.(*net.UnixConn); ok {
		c.uid, c.err = uidOf(u)
	} else {
		c.err = fmt.Errorf("%T is no unix socket", conn)
	}
	return conn, c, nil
}

// ClientHandshake is part of credentials.TransportCredentials; no client uses these.
func (peerCredentials) ClientHandshake(_ context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, fmt.Errorf("cannot call %s with a server's credentials", conn.RemoteAddr())
}

// Info is part of credentials.TransportCredentials.
func (peerCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "unix"}
}

// Clone is part of credentials.TransportCredentials.
func (c peerCredentials) Clone() credentials.TransportCredentials { return c }

// OverrideServerName is part of credentials.TransportCredentials.
func (peerCredentials) OverrideServerName(string) error { return nil }

// callerOf returns who calls if they may: root, and the user that this process runs as.
func callerOf(ctx context.Context) (caller, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return caller{}, status.Error(codes.Unauthenticated, "nobody knows who calls")
	}
	c, ok := p.AuthInfo.(caller)
	if !ok || c.err != nil {
		return caller{}, status.Errorf(codes.Unauthenticated, "nobody knows who calls: %v", c.err)
	}
	if self := os.Geteuid(); c.uid != 0 && int64(c.uid) != int64(self) {
		return caller{}, status.Errorf(codes.PermissionDenied,
			"%s may not give orders to this speaker: run the command as root, or as %s, who the node runs as", userName(c.uid), userName(uint32(self)))
	}
	return c, nil
}

// userName is the name of the user with that number, or the number.
func userName(uid uint32) string {
	n := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(n); err == nil && u.Username != "" {
		return u.Username
	}
	return "uid " + n
}
