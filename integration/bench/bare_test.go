package bench_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"

	"github.com/tidegate/tidegate/bgp"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/controller"
)

// envChild holds the job of a child process, as JSON.
const envChild = "TIDEGATE_BENCH_CHILD"

// job is what a child process of this test binary does: a bare raft node with a bare GoBGP, or one side of the
// measurement of memory. It takes commands, one line each, and answers each with one line of JSON.
type job struct {
	Kind     string // node, memory-bare, memory-speaker
	ID, Dir  string
	TLS      string
	Members  map[string]string // id to raft address; one: no network
	Router   netip.AddrPort
	RouterID netip.Addr
}

// reply is a child's answer.
type reply struct {
	Leads                   bool
	Start, Committed, Added int64   // wall clock, ns: all processes are on one machine
	Heap                    float64 // octets in use after a collection
	Error                   string
}

// entryOctets is the size of a bare log entry: about that of a packed decision with one mitigation.
const entryOctets = 400

// child is the main function of a child process. It ends with its standard input.
func child(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var do func(ctx context.Context, verb string, n int) (reply, error)
	var err error
	switch j.Kind {
	case "node":
		do, err = bareNode(ctx, j)
	case "memory-bare":
		do, err = bareMemory(j)
	case "memory-speaker":
		do, err = speakerMemory(ctx, j)
	default:
		err = fmt.Errorf("unknown job %q", j.Kind)
	}
	if err != nil {
		return err
	}
	in, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	for in.Scan() {
		var verb string
		var n int
		if _, err := fmt.Sscan(in.Text(), &verb, &n); err != nil {
			return err
		}
		r, err := do(ctx, verb, n)
		if err != nil {
			r.Error = err.Error()
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	return in.Err()
}

// helper is the parent's end of a child.
type helper struct {
	b     *testing.B
	in    io.WriteCloser
	out   *json.Decoder
	cmd   *exec.Cmd
	ended bool
}

// startHelper starts a child; it ends with the benchmark.
func startHelper(b *testing.B, s *suite, j job) *helper {
	b.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		b.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	h := &helper{b: b, cmd: exec.CommandContext(s.ctx, self)}
	h.cmd.Env = append(os.Environ(), envChild+"="+string(text))
	h.cmd.Stderr = os.Stderr
	if h.in, err = h.cmd.StdinPipe(); err != nil {
		b.Fatal(err)
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	h.out = json.NewDecoder(out)
	if err := h.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(h.stop)
	return h
}

// do sends a command and waits for its answer; the child's context bounds it.
func (h *helper) do(verb string, n int) reply {
	h.b.Helper()
	if _, err := fmt.Fprintf(h.in, "%s %d\n", verb, n); err != nil {
		h.b.Fatal(err)
	}
	var r reply
	if err := h.out.Decode(&r); err != nil {
		h.b.Fatal(err)
	}
	if r.Error != "" {
		h.b.Fatal(r.Error)
	}
	return r
}

func (h *helper) stop() {
	if h.ended {
		return
	}
	h.ended = true
	_ = h.in.Close()         // tells the child to end
	_ = h.cmd.Process.Kill() // and does not wait for a slow one
	_ = h.cmd.Wait()
}

// nothing is a raft FSM that does nothing.
type nothing struct{}

func (nothing) Apply(*raft.Log) any                 { return nil }
func (nothing) Snapshot() (raft.FSMSnapshot, error) { return nil, errors.New("no snapshots") }
func (nothing) Restore(r io.ReadCloser) error       { return r.Close() }

// streams is raft over mutual TLS, as package node does it.
type streams struct {
	net.Listener
	client *tls.Config
}

// Dial implements raft.StreamLayer.
func (s *streams) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	d := tls.Dialer{Config: s.client}
	return d.DialContext(ctx, "tcp", string(to))
}

// bareRaft is raft with the controller's store and timing and an FSM that does nothing.
func bareRaft(j job) (*raft.Raft, error) {
	store, err := controller.OpenFileStore(filepath.Join(j.Dir, "raft.db"))
	if err != nil {
		return nil, err
	}
	snaps, err := raft.NewFileSnapshotStore(j.Dir, 1, io.Discard)
	if err != nil {
		return nil, err
	}
	var t raft.Transport
	var conf raft.Configuration
	if len(j.Members) == 1 {
		_, t = raft.NewInmemTransport(raft.ServerAddress(j.Members[j.ID]))
	} else {
		server, client, err := memberTLS(j.TLS)
		if err != nil {
			return nil, err
		}
		l, err := net.Listen("tcp", j.Members[j.ID])
		if err != nil {
			return nil, err
		}
		t = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream:  &streams{Listener: tls.NewListener(l, server), client: client},
			MaxPool: 3, Timeout: 10 * time.Second, MaxRPCsInFlight: 1, Logger: hclog.NewNullLogger(),
		})
	}
	for id, addr := range j.Members {
		conf.Servers = append(conf.Servers, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(addr)})
	}
	c := raft.DefaultConfig()
	c.LocalID, c.Logger = raft.ServerID(j.ID), hclog.NewNullLogger()
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 500*time.Millisecond, 500*time.Millisecond, 250*time.Millisecond
	c.RestoreCommittedLogs = true
	if err := raft.BootstrapCluster(c, store, store, snaps, t, conf); err != nil {
		return nil, err
	}
	return raft.NewRaft(c, nothing{}, store, store, snaps, t)
}

// bareNode takes "lead 0" (do you lead?), "bgp N" (start GoBGP and announce N rules), "op N" (commit an entry and
// announce the rule of the sample N) and "del N" (commit another and
// withdraw it).
func bareNode(ctx context.Context, j job) (func(context.Context, string, int) (reply, error), error) {
	r, err := bareRaft(j)
	if err != nil {
		return nil, err
	}
	var g *bare
	payload := make([]byte, entryOctets)
	random := rand.NewChaCha8([32]byte{1})
	commit := func() error {
		_, _ = random.Read(payload) // never fails
		return r.Apply(slices.Clone(payload), time.Second).Error()
	}
	return func(_ context.Context, verb string, n int) (reply, error) {
		switch verb {
		case "lead":
			return reply{Leads: r.State() == raft.Leader && r.VerifyLeader().Error() == nil}, nil
		case "bgp":
			if g, err = startBare(ctx, j.RouterID, j.Router); err != nil {
				return reply{}, err
			}
			var all []*apiutil.Path
			for i := range n {
				all = append(all, g.flood(target(i, 0)))
			}
			return reply{}, g.add(all)
		case "op":
			path := g.flood(sample(n))
			start := time.Now()
			if err := commit(); err != nil {
				return reply{}, err
			}
			committed := time.Now()
			err := g.add([]*apiutil.Path{path})
			return reply{Start: start.UnixNano(), Committed: committed.UnixNano(), Added: time.Now().UnixNano()}, err
		case "del":
			return reply{}, errors.Join(commit(), g.remove([]*apiutil.Path{g.flood(sample(n))}))
		}
		return reply{}, fmt.Errorf("unknown command %q", verb)
	}, nil
}

// sample is the address of the sample n: never one of the thousand that are announced throughout.
func sample(n int) netip.Prefix { return target(1000+n%1000, 1+n/1000) }

// bare is GoBGP as its own documentation uses it, with its own FlowSpec type.
type bare struct{ *server.BgpServer }

func startBare(ctx context.Context, id netip.Addr, to netip.AddrPort) (*bare, error) {
	s := server.NewBgpServer(server.LoggerOption(slog.New(slog.DiscardHandler), nil))
	go s.Serve()
	err := s.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{Asn: nodeASN, RouterId: id.String(), ListenPort: -1}})
	if err != nil {
		s.Stop()
		return nil, err
	}
	err = s.AddPeer(ctx, &api.AddPeerRequest{Peer: &api.Peer{
		Conf:      &api.PeerConf{NeighborAddress: to.Addr().String(), PeerAsn: routerASN},
		Transport: &api.Transport{RemotePort: uint32(to.Port())},
		Timers:    &api.Timers{Config: &api.TimersConfig{ConnectRetry: 1}},
		AfiSafis: []*api.AfiSafi{{Config: &api.AfiSafiConfig{
			Family: &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_FLOW_SPEC_UNICAST}, Enabled: true,
		}}},
	}})
	if err != nil {
		s.Stop()
		return nil, err
	}
	return &bare{s}, nil
}

// flood is the path of the rule of a flood, with the attributes that the speaker sends. It panics on what cannot be,
// since only our own constants go in.
func (g *bare) flood(to netip.Prefix) *apiutil.Path {
	p := must(gobgp.NewIPAddrPrefix(to))
	n := must(gobgp.NewFlowSpecUnicast(gobgp.RF_FS_IPv4_UC, []gobgp.FlowSpecComponentInterface{
		gobgp.NewFlowSpecDestinationPrefix(p),
		gobgp.NewFlowSpecComponent(gobgp.FLOW_SPEC_TYPE_IP_PROTO, []*gobgp.FlowSpecComponentItem{gobgp.NewFlowSpecComponentItem(uint8(gobgp.DEC_NUM_OP_EQ), 17)}),
	}))
	reach := must(gobgp.NewPathAttributeMpReachNLRI(gobgp.RF_FS_IPv4_UC, []gobgp.PathNLRI{{NLRI: n}}))
	return &apiutil.Path{Family: gobgp.RF_FS_IPv4_UC, Nlri: n, Attrs: []gobgp.PathAttributeInterface{
		gobgp.NewPathAttributeOrigin(0), gobgp.NewPathAttributeMultiExitDisc(1),
		gobgp.NewPathAttributeCommunities([]uint32{uint32(gobgp.COMMUNITY_NO_EXPORT)}),
		gobgp.NewPathAttributeLargeCommunities([]*gobgp.LargeCommunity{{ASN: nodeASN, LocalData1: bgp.CommunityTidegate, LocalData2: 1}}),
		gobgp.NewPathAttributeExtendedCommunities([]gobgp.ExtendedCommunityInterface{gobgp.NewTrafficRateExtended(0, 0)}),
		reach,
	}}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (g *bare) add(paths []*apiutil.Path) error {
	for part := range slices.Chunk(paths, 1000) {
		if _, err := g.AddPath(apiutil.AddPathRequest{Paths: part}); err != nil {
			return err
		}
	}
	return nil
}

func (g *bare) remove(paths []*apiutil.Path) error {
	return g.DeletePath(apiutil.DeletePathRequest{Paths: paths})
}

// heap is what is in use after a collection.
func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// bareMemory takes "heap 0" and "load N".
func bareMemory(j job) (func(context.Context, string, int) (reply, error), error) {
	g, err := startBare(context.Background(), j.RouterID, j.Router)
	if err != nil {
		return nil, err
	}
	return func(_ context.Context, verb string, n int) (reply, error) {
		if verb == "heap" {
			return reply{Heap: heap()}, nil
		}
		var paths []*apiutil.Path
		for i := range n {
			paths = append(paths, g.flood(target(i%customers, i/customers)))
		}
		return reply{}, g.add(paths)
	}, nil
}

// speakerMemory is bareMemory for the speaker, with the wanted.Set that it is given counted as its own.
func speakerMemory(ctx context.Context, j job) (func(context.Context, string, int) (reply, error), error) {
	sp, err := startSpeaker(ctx, j.RouterID, j.Router)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, verb string, n int) (reply, error) {
		if verb == "heap" {
			return reply{Heap: heap()}, nil
		}
		routes := make([]*wanted.Route, 0, n)
		for i := range n {
			routes = append(routes, must(floodRoute(target(i%customers, i/customers))))
		}
		return reply{}, sp.set(ctx, routes)
	}, nil
}
