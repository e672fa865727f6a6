package bgp

import (
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// LargeCommunity is a BGP large community (RFC 8092).
type LargeCommunity struct {
	Administrator flowspec.ASN
	Data1, Data2  uint32
}

// String is the canonical text form (RFC 8092 section 5).
func (c LargeCommunity) String() string {
	return fmt.Sprintf("%d:%d:%d", c.Administrator, c.Data1, c.Data2)
}

// CommunityTidegate is the first data part of the default tidegate community: the letters "tg" in ASCII.
const CommunityTidegate = 0x7467

// Config is what a Speaker is told once. Everything that changes while it runs comes in a wanted.Set.
type Config struct {
	// ASN is our autonomous system; a router with the same one is an iBGP neighbour.
	ASN flowspec.ASN
	// RouterID is our BGP identifier (RFC 4271 section 4.2): an IPv4 address, different on each node of a cluster,
	// since routers tell the nodes apart by it.
	RouterID netip.Addr
	// LocalAddress is the source address of sessions to routers of the same family; zero lets the kernel choose.
	LocalAddress netip.Addr
	// Community marks every path as tidegate's own, so that routers can match on it. Zero means
	// ASN:CommunityTidegate:1.
	Community LargeCommunity
	// HoldTime is proposed in OPEN (RFC 4271 section 4.2), in whole seconds, 3 s or more; zero means 30 s.
	HoldTime time.Duration
	// StuckAfter is how long an UPDATE may wait, with none leaving, until the session is reported as stuck; zero
	// means 5 s.
	StuckAfter time.Duration
	// ResetAfter is how long a session may be stuck until it is reset, so that the router's own hold timer or the
	// broken connection clears what it can no longer be told to withdraw; zero means 30 s.
	ResetAfter time.Duration
	// OutFile is where the order to stay out is kept, so that it outlasts a restart; empty: it is not kept. The directory
	// must exist by the time of the order.
	OutFile string

	// RestartTime is how long routers shall keep what they heard when a session breaks without a word, as when this process
	// crashes (RFC 4724), in whole seconds up to MaxRestartTime; zero means that they drop it at once. It is for a speaker
	// that is started again at once with its last Set. A session that is closed in order takes everything along all the same.
	RestartTime time.Duration
	// Quarantined says in a sentence why the router of that address is not dialled; empty if it may be. Nil for none. It is
	// asked again before each attempt, from several goroutines.
	Quarantined func(netip.Addr) string
	// Connecting is told which engine is about to talk to which router; nil for nobody. The goroutines of GoBGP that read
	// what the router sends bear that engine's number as their label LabelEngine, which a crash report shows.
	Connecting func(engine string, router wanted.Router)

	provenAfter time.Duration // 0: defaultProvenAfter

	spareEngines int // started before the first router; see enginePool

	fault func(w engineWork, do func() error) error // stands between the speaker and GoBGP in tests; nil otherwise
}

// Deps is what a Speaker needs from its surroundings.
type Deps struct {
	// Logger receives state changes and refusals; nil discards them.
	Logger *slog.Logger
	// Elapsed reads the node's elapsed clock, the one in which NotAfter and LeaseUntil are given. It is called from
	// several goroutines, also once per announcement that leaves.
	Elapsed func() wanted.Instant
	// Now reads the wall clock for times that people read, and for nothing else; nil means time.Now.
	Now func() time.Time
	// Registerer receives the speaker's metrics while Run runs; nil for none.
	Registerer prometheus.Registerer
}

// MaxRestartTime is the longest Config.RestartTime: every bound that is promised grows by it.
const MaxRestartTime = time.Minute

// LabelEngine is the name of the label (runtime/pprof) of GoBGP's goroutines.
const LabelEngine = "tidegate-engine"

const (
	defaultHoldTime   = 30 * time.Second
	defaultStuckAfter = 5 * time.Second
	defaultResetAfter = 30 * time.Second
)

// withDefaults fills what may be left zero.
func (c Config) withDefaults() Config {
	if c.Community == (LargeCommunity{}) {
		c.Community = LargeCommunity{Administrator: c.ASN, Data1: CommunityTidegate, Data2: 1}
	}
	if c.spareEngines == 0 {
		c.spareEngines = defaultSpareEngines
	}
	if c.HoldTime == 0 {
		c.HoldTime = defaultHoldTime
	}
	if c.StuckAfter == 0 {
		c.StuckAfter = defaultStuckAfter
	}
	if c.provenAfter == 0 {
		c.provenAfter = defaultProvenAfter
	}
	if c.ResetAfter == 0 {
		c.ResetAfter = defaultResetAfter
	}
	return c
}

func (c Config) validate() error {
	switch {
	case c.ASN == 0:
		return fmt.Errorf("%w: ASN is 0", ErrConfig)
	case !c.RouterID.Is4() || c.RouterID.IsUnspecified():
		return fmt.Errorf("%w: router id %q is not a usable IPv4 address", ErrConfig, c.RouterID)
	case c.HoldTime < 3*time.Second || c.HoldTime > 65535*time.Second || c.HoldTime%time.Second != 0:
		return fmt.Errorf("%w: hold time %q is not a number of seconds from 3 to 65535", ErrConfig, c.HoldTime)
	case c.StuckAfter < 0:
		return fmt.Errorf("%w: stuck after %q is negative", ErrConfig, c.StuckAfter)
	case c.RestartTime < 0 || c.RestartTime > MaxRestartTime || c.RestartTime%time.Second != 0:
		return fmt.Errorf("%w: restart time %q is not a number of seconds up to %s", ErrConfig, c.RestartTime, MaxRestartTime)
	case c.ResetAfter < 0:
		return fmt.Errorf("%w: reset after %q is negative", ErrConfig, c.ResetAfter)
	}
	return nil
}
