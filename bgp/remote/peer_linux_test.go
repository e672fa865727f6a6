package remote_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	speakerv1 "github.com/tidegate/tidegate/proto/tidegate/speaker/v1"
)

// Another user may not give orders, even if somebody opened the socket to them.
func TestAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" { // on a laptop make test counts it as skipped; in CI it must run
			t.Fatal("only root can be another user: run as root")
		}
		t.Skip("only root can be another user")
	}
	f := announcing(t)
	_, path := serve(t, f)
	for name, mode := range map[string]os.FileMode{path: 0o666, filepath.Dir(path): 0o755} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	const nobody = 65534
	dialled := make(chan net.Conn)
	go func() {
		// Credentials belong to a thread, and the kernel notes those of the one that connects. This thread ends with the
		// goroutine: it is never unlocked.
		runtime.LockOSThread()
		defer close(dialled)
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), nobody, ^uintptr(0)); e != 0 {
			t.Error(e)
			return
		}
		conn, err := dialAs(path)
		if err != nil {
			t.Error(err)
			return
		}
		dialled <- conn
	}()
	conn, ok := <-dialled
	if !ok {
		t.FailNow()
	}
	cc, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return conn, nil }))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	_, err = speakerv1.NewSpeakerServiceClient(cc).WithdrawAll(t.Context(), &speakerv1.WithdrawAllRequest{Reason: "x"})
	if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "run the command as root") {
		t.Errorf("got %v", err)
	}
	if f.st.Out != nil {
		t.Error("the order of another user was obeyed")
	}
}

// dialAs connects with the credentials of this thread: connect is called here and nowhere else.
func dialAs(path string) (net.Conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close()
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return nil, err
	}
	return net.FileConn(file)
}
