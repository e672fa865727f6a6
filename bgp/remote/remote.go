// Package remote speaks with the BGP speaker of a node over a unix socket in the node's data directory: the operator's
// orders to withdraw everything, to resume, and to tell how things stand. Nothing on the way needs a leader, another node
// or a network, so that it works when nothing else does. Server belongs to the process that has the speaker, Client to
// the command line. The package decides nothing and speaks to no router; package bgp does.
//
// Who may call is decided by the kernel: the socket has mode 0600, and the peer's credentials (SO_PEERCRED) must be those
// of root or of the user that the node runs as.
package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	speakerv1 "github.com/tidegate/tidegate/proto/tidegate/speaker/v1"
)

const (
	// SocketName is the name of the socket in the data directory.
	SocketName = "speaker.sock"
	// MaxPath is how long the path of a unix socket may be, in octets, on every system that tidegate runs on.
	MaxPath = 103
	// MaxReason is how long a reason may be, in characters.
	MaxReason = 1000

	dialTimeout = 2 * time.Second
	maxMessage  = 64 << 20 // octets: the text of more rules than any router takes
)

// Errors of Listen and Dial, for errors.Is. Their sentences say what to do.
var (
	ErrNoSocket   = errors.New("there is no such socket")
	ErrNobody     = errors.New("nobody listens at the socket")
	ErrNotAllowed = errors.New("the socket is for root and for the user that the node runs as")
	ErrInUse      = errors.New("another process listens at the socket")
	ErrNoSpeaker  = errors.New("not a speaker's socket")
)

// CheckPath returns an error if no socket can be made at path whatever is there, because the path is too long.
func CheckPath(path string) error {
	if len(path) > MaxPath {
		return fmt.Errorf("the path %q has %d octets, and that of a socket may have %d", path, len(path), MaxPath)
	}
	return nil
}

// Listen opens the socket at path for this user alone. A socket that was left behind is replaced; one that somebody
// listens at is ErrInUse, and a file of another kind is left alone.
func Listen(path string) (*net.UnixListener, error) {
	if err := CheckPath(path); err != nil {
		return nil, fmt.Errorf("cannot open the speaker's socket: %w", err)
	}
	if err := clearPath(path); err != nil {
		return nil, fmt.Errorf("cannot open the speaker's socket %q: %w", path, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("cannot open the speaker's socket %q: %w", path, err)
	}
	// Whoever slips in before the mode is set is turned away by their credentials.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot open the speaker's socket %q: %w", path, err), l.Close())
	}
	return l, nil
}

// clearPath removes what a process that has ended left at path.
func clearPath(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return ErrNoSpeaker
	}
	conn, err := net.DialTimeout("unix", path, dialTimeout)
	if err == nil {
		return errors.Join(ErrInUse, conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// Client calls the speaker behind a socket. Close gives it back.
type Client struct {
	speakerv1.SpeakerServiceClient
	conn *grpc.ClientConn
}

// Dial finds out whether somebody listens at path, and returns a client of it. Errors say what is wrong with the socket,
// and wrap ErrNoSocket, ErrNobody, ErrNotAllowed or ErrNoSpeaker when that is it.
func Dial(ctx context.Context, path string) (*Client, error) {
	probe, err := dialSocket(ctx, path)
	if err != nil {
		return nil, err
	}
	if err := probe.Close(); err != nil {
		return nil, fmt.Errorf("cannot close %q: %w", path, err)
	}
	conn, err := grpc.NewClient("passthrough:///speaker",
		grpc.WithTransportCredentials(insecure.NewCredentials()), // between two processes of one machine
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dialSocket(ctx, path) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
	)
	if err != nil {
		return nil, fmt.Errorf("cannot call the speaker at %q: %w", path, err)
	}
	return &Client{SpeakerServiceClient: speakerv1.NewSpeakerServiceClient(conn), conn: conn}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

func dialSocket(ctx context.Context, path string) (net.Conn, error) {
	if err := CheckPath(path); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoSocket, err)
	}
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		return conn, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil, fmt.Errorf("%w: %q", ErrNoSocket, path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w: %q", ErrNotAllowed, path)
	case errors.Is(err, syscall.ECONNREFUSED):
		if info, e := os.Lstat(path); e == nil && info.Mode().Type() != fs.ModeSocket {
			return nil, fmt.Errorf("%w: %q", ErrNoSpeaker, path)
		}
		return nil, fmt.Errorf("%w: %q", ErrNobody, path)
	default:
		return nil, fmt.Errorf("cannot call the speaker at %q: %w", path, err)
	}
}
