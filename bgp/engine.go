package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// engine is one GoBGP server with at most one neighbour.
//
// Each router has an engine of its own. In a shared GoBGP table a rule is either announced to everybody or filtered
// by export policy, and withdrawals pass every export policy; budgets, groups, pacing and phases per router could
// then only be had by announcing again to all. Apart, one router can neither hold up nor hear what is another's,
// and routes learned from one cannot reach another at all.
type engine struct {
	cfg    Config
	number string // different from every other's of this process
	bgp    *server.BgpServer
	log    *engineLog
	served chan struct{} // closed when Serve has returned
	attrs  attributeCache

	stopWatch context.CancelFunc
	events    func(peerEvent) // set by connect, called from GoBGP's watch goroutine
	eventsMu  sync.Mutex      // guards events
}

// peerEvent is a change of state of the session.
type peerEvent struct {
	state    gobgp.FSMState
	families []gobgp.Family // that the router offers; for ESTABLISHED only
	reason   api.PeerState_DisconnectReason
	message  string
}

// startEngine starts a GoBGP server that listens nowhere and uses no route that it hears.
func startEngine(ctx context.Context, number string, cfg Config, log *slog.Logger) (*engine, error) {
	e := &engine{cfg: cfg, number: number, log: newEngineLog(log), served: make(chan struct{}), attrs: newAttributeCache(cfg)}
	e.bgp = server.NewBgpServer(server.LoggerOption(slog.New(e.log), nil))
	go func() {
		defer close(e.served)
		// Whatever GoBGP starts for the neighbour inherits the label.
		pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels(LabelEngine, number)))
		e.bgp.Serve()
	}()
	err := e.bgp.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{
		Asn: uint32(cfg.ASN), RouterId: cfg.RouterID.String(), ListenPort: -1,
	}})
	if err != nil {
		e.stop()
		return nil, fmt.Errorf("cannot start GoBGP: %w", err)
	}
	if err := e.acceptLocalOnly(ctx); err != nil {
		e.stop()
		return nil, err
	}
	watchCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	e.stopWatch = cancel
	if err := e.bgp.WatchEvent(watchCtx, server.WatchEventMessageCallbacks{OnPeerUpdate: e.onPeer}, server.WatchPeer()); err != nil {
		e.stop()
		return nil, fmt.Errorf("cannot watch GoBGP: %w", err)
	}
	return e, nil
}

// acceptLocalOnly makes the import policy accept what this process adds and reject what a router sends. It has to
// stand before the first neighbour.
func (e *engine) acceptLocalOnly(ctx context.Context) error {
	policy := &api.Policy{Name: "local-only", Statements: []*api.Statement{{
		Name:       "local",
		Conditions: &api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL},
		Actions:    &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_ACCEPT},
	}}}
	if err := e.bgp.AddPolicy(ctx, &api.AddPolicyRequest{Policy: policy}); err != nil {
		return fmt.Errorf("cannot add import policy: %w", err)
	}
	err := e.bgp.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
		Name:          "global",
		Direction:     api.PolicyDirection_POLICY_DIRECTION_IMPORT,
		Policies:      []*api.Policy{policy},
		DefaultAction: api.RouteAction_ROUTE_ACTION_REJECT,
	}})
	if err != nil {
		return fmt.Errorf("cannot assign import policy: %w", err)
	}
	return nil
}

// stop ends the sessions with a Cease notification, upon which routers drop our routes, and waits until GoBGP is down.
func (e *engine) stop() {
	if e.stopWatch != nil {
		e.stopWatch()
	}
	e.bgp.Stop()
	<-e.served
}

func (e *engine) onPeer(m *apiutil.WatchEventMessage_PeerEvent, _ time.Time) {
	st := m.Peer.State
	ev := peerEvent{state: st.SessionState, reason: st.DisconnectReason, message: st.DisconnectMessage}
	if st.SessionState == gobgp.BGP_FSM_ESTABLISHED {
		for _, c := range st.RemoteCap {
			if mp, ok := c.(*gobgp.CapMultiProtocol); ok {
				ev.families = append(ev.families, mp.CapValue)
			}
		}
		if len(ev.families) == 0 { // a router that says nothing speaks IPv4 unicast (RFC 4760 section 8)
			ev.families = []gobgp.Family{gobgp.RF_IPv4_UC}
		}
	}
	e.log.established.Store(st.SessionState == gobgp.BGP_FSM_ESTABLISHED)
	e.eventsMu.Lock()
	f := e.events
	e.eventsMu.Unlock()
	if f != nil {
		f(ev)
	}
}

// listen makes f receive the events of the neighbour; nil for nobody. f must not block and must not call the engine.
func (e *engine) listen(f func(peerEvent)) {
	e.eventsMu.Lock()
	e.events = f
	e.eventsMu.Unlock()
}

// connect adds r as the neighbour and begins to dial. What has been announced before goes out first. The ledger hears
// what leaves.
func (e *engine) connect(ctx context.Context, r *wanted.Router, l *ledger) error {
	if r.Carries != wanted.RTBH || !r.IPv4 {
		l = nil // the NLRI tell by themselves
	}
	e.log.ledger.Store(l)
	hold := uint64(e.cfg.HoldTime / time.Second)
	transport := &api.Transport{RemotePort: uint32(portOf(r))}
	if l := e.cfg.LocalAddress; l.IsValid() && l.Is4() == r.Address.Is4() {
		transport.LocalAddress = l.String()
	}
	peer := &api.Peer{
		Conf:      &api.PeerConf{NeighborAddress: r.Address.String(), PeerAsn: uint32(r.ASN), AuthPassword: r.Password},
		Transport: transport,
		Timers: &api.Timers{Config: &api.TimersConfig{
			ConnectRetry: 1, HoldTime: hold, KeepaliveInterval: max(1, hold/3), IdleHoldTimeAfterReset: 1,
		}},
	}
	for _, f := range configuredFamilies(r) {
		g := familyOf(r.Carries, f)
		family := &api.AfiSafi{Config: &api.AfiSafiConfig{
			Family:  &api.Family{Afi: api.Family_Afi(g.Afi()), Safi: api.Family_Safi(g.Safi())},
			Enabled: true,
		}}
		if e.cfg.RestartTime > 0 {
			family.MpGracefulRestart = &api.MpGracefulRestart{Config: &api.MpGracefulRestartConfig{Enabled: true}}
		}
		peer.AfiSafis = append(peer.AfiSafis, family)
	}
	if e.cfg.RestartTime > 0 {
		// Restarting says that what the router has kept is kept rightly: it waits for our End-of-RIB, and then drops what was
		// not announced again. That holds for the first session of a process and for all later ones.
		peer.GracefulRestart = &api.GracefulRestart{
			Enabled: true, RestartTime: uint32(e.cfg.RestartTime / time.Second), LocalRestarting: true,
			DeferralTime: uint32(deferral / time.Second),
		}
	}
	if e.cfg.Connecting != nil {
		e.cfg.Connecting(e.number, *r)
	}
	switch {
	case r.TTLSecurity:
		peer.TtlSecurity = &api.TtlSecurity{Enabled: true, TtlMin: 255}
	case r.Multihop > 1 && r.ASN != e.cfg.ASN:
		peer.EbgpMultihop = &api.EbgpMultihop{Enabled: true, MultihopTtl: uint32(r.Multihop)}
	}
	if err := e.bgp.AddPeer(ctx, &api.AddPeerRequest{Peer: peer}); err != nil {
		return fmt.Errorf("cannot add router %q: %w", r.Name, err)
	}
	return nil
}

// deferral is how long GoBGP waits for the router's End-of-RIB before it sends what we announce, when both can restart
// gracefully (RFC 4724 section 4.1).
const deferral = 3 * time.Second

// disconnect removes the neighbour, with a Cease notification if the session is up. GoBGP does this within about a
// second even when the router has stopped reading.
func (e *engine) disconnect(ctx context.Context, address netip.Addr) error {
	err := e.do(workDisconnect, func() error {
		return e.bgp.DeletePeer(ctx, &api.DeletePeerRequest{Address: address.String()})
	})
	if err != nil {
		return fmt.Errorf("cannot remove router at %q: %w", address, err)
	}
	return nil
}

// look is what GoBGP says of the neighbour at one moment.
type look struct {
	established bool
	written     uint64 // messages of any type in this session
	holdTime    uint64 // negotiated, in seconds
}

func (e *engine) look(ctx context.Context) (l look, err error) {
	err = e.bgp.ListPeer(ctx, &api.ListPeerRequest{}, func(p *api.Peer) {
		l = look{
			established: p.GetState().GetSessionState() == api.PeerState_SESSION_STATE_ESTABLISHED &&
				!p.GetGracefulRestart().GetLocalRestarting(), // while it defers it sends nothing, and forgets withdrawals
			written:  p.GetState().GetMessages().GetSent().GetTotal(),
			holdTime: p.GetTimers().GetState().GetNegotiatedHoldTime(),
		}
	})
	return l, err
}

// engineWork is what an engine is told to do. After a failure of any of it nobody knows what GoBGP holds.
type engineWork string

const (
	workAnnounce   engineWork = "announce"
	workWithdraw   engineWork = "withdraw"
	workDisconnect engineWork = "disconnect"
)

// do does work, unless a test has something else in mind.
func (e *engine) do(w engineWork, work func() error) error {
	if e.cfg.fault != nil {
		return e.cfg.fault(w, work)
	}
	return work()
}

// handover is one announcement to hand to GoBGP, or its withdrawal.
type handover struct {
	a *announcement
	j *judged
}

// announce hands batch over for announcement; a key that is announced already is replaced.
func (e *engine) announce(batch []handover) error {
	paths := make([]*apiutil.Path, 0, len(batch))
	for _, h := range batch {
		p, err := e.attrs.path(h, false)
		if err != nil {
			return err
		}
		paths = append(paths, p)
	}
	if len(paths) == 0 {
		return nil
	}
	err := e.do(workAnnounce, func() error {
		_, err := e.bgp.AddPath(apiutil.AddPathRequest{Paths: paths})
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot announce %d routes: %w", len(paths), err)
	}
	return nil
}

// withdraw hands batch over for withdrawal.
func (e *engine) withdraw(batch []handover) error {
	paths := make([]*apiutil.Path, 0, len(batch))
	for _, h := range batch {
		p, err := e.attrs.path(h, true)
		if err != nil {
			return err
		}
		paths = append(paths, p)
	}
	// To GoBGP a deletion of no path means a deletion of every path.
	if len(paths) == 0 {
		return nil
	}
	err := e.do(workWithdraw, func() error { return e.bgp.DeletePath(apiutil.DeletePathRequest{Paths: paths}) })
	if err != nil {
		return fmt.Errorf("cannot withdraw %d routes: %w", len(paths), err)
	}
	return nil
}

// configuredFamilies are the families of its kind that r shall carry. RTBH routes need a next hop.
func configuredFamilies(r *wanted.Router) []flowspec.Family {
	var out []flowspec.Family
	if r.IPv4 && (r.Carries != wanted.RTBH || r.DiscardIPv4.IsValid()) {
		out = append(out, flowspec.IPv4)
	}
	if r.IPv6 && (r.Carries != wanted.RTBH || r.DiscardIPv6.IsValid()) {
		out = append(out, flowspec.IPv6)
	}
	return out
}

// attributeCache makes paths. Rules with the same actions share their attribute values, which GoBGP does not change.
type attributeCache struct {
	origin     gobgp.PathAttributeInterface
	noExport   gobgp.PathAttributeInterface // NO_EXPORT (RFC 1997)
	blackhole  gobgp.PathAttributeInterface // BLACKHOLE and NO_EXPORT (RFC 7999 section 3.2)
	large      gobgp.PathAttributeInterface
	extended   map[extendedCommunities][]gobgp.PathAttributeInterface
	maxEntries int
}

func newAttributeCache(cfg Config) attributeCache {
	c := cfg.Community
	return attributeCache{
		origin:    gobgp.NewPathAttributeOrigin(gobgp.BGP_ORIGIN_ATTR_TYPE_IGP),
		noExport:  gobgp.NewPathAttributeCommunities([]uint32{uint32(gobgp.COMMUNITY_NO_EXPORT)}),
		blackhole: gobgp.NewPathAttributeCommunities([]uint32{communityBlackhole, uint32(gobgp.COMMUNITY_NO_EXPORT)}),
		large: gobgp.NewPathAttributeLargeCommunities([]*gobgp.LargeCommunity{
			{ASN: uint32(c.Administrator), LocalData1: c.Data1, LocalData2: c.Data2},
		}),
		extended:   make(map[extendedCommunities][]gobgp.PathAttributeInterface),
		maxEntries: 1024,
	}
}

// path is called by the router's goroutine only.
func (c *attributeCache) path(h handover, withdraw bool) (*apiutil.Path, error) {
	fam, nlri := familyOf(h.j.route.Kind, h.j.family), h.a.forGoBGP()
	// The NLRI has to stand in MP_REACH_NLRI too: GoBGP looks for it there, and makes NEXT_HOP of it for IPv4 unicast. A
	// rule has no next hop (RFC 8955 section 4).
	reach, err := gobgp.NewPathAttributeMpReachNLRI(fam, []gobgp.PathNLRI{{NLRI: nlri}}, h.a.nextHop)
	if err != nil {
		return nil, fmt.Errorf("cannot make path of %q: %w", h.a, err)
	}
	attrs := []gobgp.PathAttributeInterface{c.origin, gobgp.NewPathAttributeMultiExitDisc(h.j.route.MED), c.large, reach}
	if h.j.route.Kind == wanted.RTBH {
		attrs = append(attrs, c.blackhole)
	} else {
		attrs = append(append(attrs, c.noExport), c.communities(h.j.actions)...)
	}
	return &apiutil.Path{Family: fam, Nlri: nlri, Attrs: attrs, Withdrawal: withdraw}, nil
}

// communities are the path attributes of the extended communities in e: none, one or two. GoBGP's types for what it does
// not know carry the codec's octets as they are; its own types know other forms than the codec's for some actions.
func (c *attributeCache) communities(e extendedCommunities) []gobgp.PathAttributeInterface {
	if a, ok := c.extended[e]; ok {
		return a
	}
	var eight, twenty []gobgp.ExtendedCommunityInterface
	for b := range slices.Chunk([]byte(e.eight), 8) {
		eight = append(eight, &gobgp.UnknownExtended{Type: gobgp.ExtendedCommunityAttrType(b[0]), Value: b[1:]})
	}
	for b := range slices.Chunk([]byte(e.twenty), 20) {
		twenty = append(twenty, &gobgp.UnknownIP6Extended{Type: gobgp.ExtendedCommunityAttrType(b[0]), Value: b[1:]})
	}
	var a []gobgp.PathAttributeInterface
	if len(eight) > 0 {
		a = append(a, gobgp.NewPathAttributeExtendedCommunities(eight))
	}
	if len(twenty) > 0 {
		a = append(a, gobgp.NewPathAttributeIP6ExtendedCommunities(twenty))
	}
	if len(c.extended) >= c.maxEntries {
		clear(c.extended)
	}
	c.extended[e] = a
	return a
}

// engineLog is GoBGP's logger. It passes warnings on and keeps the last word about a failed connection, which GoBGP
// tells to its debug log only. Debug records are taken while no session is up; in a session each UPDATE makes one, which
// is wanted only where the ledger depends on it.
type engineLog struct {
	next        atomic.Pointer[slog.Logger]
	established atomic.Bool
	last        atomic.Pointer[connectFailure]
	ledger      atomic.Pointer[ledger] // hears what UPDATEs say that have left; nil if it need not
}

// connectFailure is what GoBGP said when a session did not come up.
type connectFailure struct {
	message string // the log message
	detail  string // its error, reason, or notification
}

func newEngineLog(l *slog.Logger) *engineLog {
	e := &engineLog{}
	e.next.Store(l)
	return e
}

// Enabled is part of slog.Handler.
func (l *engineLog) Enabled(_ context.Context, level slog.Level) bool {
	return faultsOn || level >= slog.LevelInfo || !l.established.Load() || l.ledger.Load() != nil
}

// Handle is part of slog.Handler.
func (l *engineLog) Handle(ctx context.Context, r slog.Record) error {
	faultAt(r)
	if r.Message == updateWritten {
		if to := l.ledger.Load(); to != nil {
			tell(to, r)
		}
		return nil
	}
	if f := failureOf(r); f != nil {
		l.last.Store(f)
	}
	next := l.next.Load().Handler()
	if r.Level < slog.LevelWarn || !next.Enabled(ctx, r.Level) {
		return nil
	}
	return next.Handle(ctx, r)
}

// updateWritten is what GoBGP v4.8.0 logs after an UPDATE was written. TestRTBH waits for what hangs on it, so that an
// update that changes it is noticed.
const updateWritten = "sent update"

// tell tells the ledger of the unicast routes in an UPDATE that was written.
func tell(to *ledger, r slog.Record) {
	r.Attrs(func(a slog.Attr) bool {
		switch list, _ := a.Value.Any().([]gobgp.PathNLRI); a.Key {
		case "nlri":
			to.left(list, false)
		case "withdrawals":
			to.left(list, true)
		}
		return true
	})
}

// WithAttrs is part of slog.Handler. GoBGP adds the topic and the peer, which the router's name says already.
func (l *engineLog) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup is part of slog.Handler.
func (l *engineLog) WithGroup(string) slog.Handler { return l }
