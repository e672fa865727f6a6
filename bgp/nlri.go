package bgp

import (
	"encoding/hex"
	"net/netip"
	"sync"
	"sync/atomic"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// duty is what one announcement still owes to the wire.
type duty = uint32

const (
	dutyNone       duty = iota // loaded while no session was up; the next session sends it
	dutyAnnounce               // handed over during a session, not serialised yet
	dutyAnnounced              // serialised as an announcement
	dutyWithdraw               // its withdrawal is handed over, not serialised yet
	dutyWithdrawn              // serialised as a withdrawal
	dutySuperseded             // another announcement of the key took its place
)

// announcement is one rule at one router, and the NLRI by which GoBGP knows it. GoBGP's own FlowSpec NLRI type is
// not used because it corrupts rules of 240 octets and more, drops bits from the string that it keys its table by,
// and writes IPv6 offsets by an old draft; here the codec's bytes go out as they are.
//
// It also tells when the rule leaves: GoBGP calls Serialize in the session's send goroutine right before the write
// of the message, and every message handed over later is written later. Each router has a GoBGP of its own, so that
// the call can only mean this router.
type announcement struct {
	length  []byte // the length field, one or two octets; none in unicast, where the first octet of nlri is it
	nlri    []byte
	key     string
	v4      *gobgp.IPAddrPrefix // an IPv4 unicast route, as GoBGP has it; nil for others
	nextHop netip.Addr          // of an RTBH route
	ledger  *ledger
	duty    atomic.Uint32
	sentAt  atomic.Int64 // wanted.Instant of the last announcement on the wire
}

var _ gobgp.NLRI = (*announcement)(nil)

// ledger counts what the announcements of one router owe, and wakes its goroutine when they have paid.
type ledger struct {
	elapsed func() wanted.Instant
	wake    func()
	owed    atomic.Int64  // duties in state dutyAnnounce or dutyWithdraw
	paid    atomic.Uint64 // duties done, ever: progress

	mu      sync.Mutex                     // guards unicast
	unicast map[netip.Prefix]*announcement // the newest for each IPv4 prefix of RTBH routes
}

// GoBGP's own type for IPv4 unicast does not tell when it is serialised. What tells is the record that the session's
// send goroutine writes to its debug log after each UPDATE that was written; see engineLog.

// expect makes a the one that word of its prefix is about.
func (l *ledger) expect(a *announcement) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unicast == nil {
		l.unicast = make(map[netip.Prefix]*announcement)
	}
	l.unicast[a.v4.Prefix] = a
}

// forget drops the IPv4 prefixes of which nobody waits for word any more: those that left the table without a session.
func (l *ledger) forget(table map[flowspec.Key]*entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, a := range l.unicast {
		if e := table[wanted.RTBHKey(p)]; e == nil || e.a != a {
			delete(l.unicast, p)
		}
	}
}

// left is the word that an UPDATE with these IPv4 unicast routes has been written.
func (l *ledger) left(list []gobgp.PathNLRI, withdrawn bool) {
	for _, n := range list {
		p, ok := n.NLRI.(*gobgp.IPAddrPrefix)
		if !ok {
			continue
		}
		l.mu.Lock()
		a := l.unicast[p.Prefix]
		if a != nil && a.v4 == p && withdrawn {
			delete(l.unicast, p.Prefix)
		}
		l.mu.Unlock()
		// A prefix that was announced again since has another announcement, and one whose withdrawal was handed over
		// meanwhile has not been withdrawn by having been announced.
		if a != nil && a.v4 == p && withdrawn == (a.duty.Load() == dutyWithdraw) {
			a.settle()
		}
	}
}

func newAnnouncement(j *judged, l *ledger) *announcement {
	a := &announcement{nlri: j.nlri, ledger: l}
	if j.route.Kind == wanted.RTBH {
		a.key = j.dst.String() // has a slash, so that it is no FlowSpec rule's
		if j.family == flowspec.IPv4 {
			a.v4 = &gobgp.IPAddrPrefix{IPAddrPrefixDefault: gobgp.IPAddrPrefixDefault{Prefix: j.dst}}
			l.expect(a)
		}
		return a
	}
	a.key = hex.EncodeToString(j.nlri)
	// RFC 8955 section 4.1: one octet below 240, else two with the upper four bits set.
	if n := len(j.nlri); n < 240 {
		a.length = []byte{byte(n)}
	} else {
		a.length = []byte{0xf0 | byte(n>>8), byte(n)}
	}
	return a
}

// Serialize returns the NLRI with its length field. It is called by GoBGP's send goroutine.
func (a *announcement) Serialize(...*gobgp.MarshallingOption) ([]byte, error) {
	a.settle()
	out := make([]byte, 0, len(a.length)+len(a.nlri))
	return append(append(out, a.length...), a.nlri...), nil
}

// settle marks what is due as done.
func (a *announcement) settle() {
	for {
		old := a.duty.Load()
		var next duty
		switch old {
		case dutyNone, dutyAnnounce:
			next = dutyAnnounced
		case dutyWithdraw:
			next = dutyWithdrawn
		default:
			return
		}
		if !a.duty.CompareAndSwap(old, next) {
			continue
		}
		if next == dutyAnnounced {
			a.sentAt.Store(int64(a.ledger.elapsed()))
		}
		if old != dutyNone {
			a.ledger.pay()
		}
		return
	}
}

// payStep is how many duties are done between two wakes of the router's goroutine, so that it can hand over more.
const payStep = 512

func (l *ledger) pay() {
	n := l.paid.Add(1)
	if l.owed.Add(-1) == 0 || n%payStep == 0 {
		l.wake()
	}
}

// owe puts a into state d, which must be dutyAnnounce or dutyWithdraw; what it owed before is forgotten.
func (a *announcement) owe(d duty) {
	if old := a.duty.Swap(d); old != dutyAnnounce && old != dutyWithdraw {
		a.ledger.owed.Add(1)
	}
}

// release puts a into state d, in which it owes nothing.
func (a *announcement) release(d duty) {
	if old := a.duty.Swap(d); old == dutyAnnounce || old == dutyWithdraw {
		a.ledger.owed.Add(-1)
	}
}

// extendedInflation makes GoBGP's packer put about 4,000 octets of NLRI into an UPDATE when the session has extended
// messages (RFC 8654), which GoBGP cannot be told not to negotiate: routers are known to reset the session at about
// 4,095 octets of FlowSpec NLRI.
const extendedInflation = 17

// Len is the length of the NLRI with its length field, made larger for the packer on sessions with extended messages.
func (a *announcement) Len(opts ...*gobgp.MarshallingOption) int {
	n := len(a.length) + len(a.nlri)
	if gobgp.IsExtendedMessageSerialization(opts) {
		return n * extendedInflation
	}
	return n
}

// String is the key of GoBGP's table: all of the octets, or the prefix.
func (a *announcement) String() string { return a.key }

// MarshalJSON returns the key as a string.
func (a *announcement) MarshalJSON() ([]byte, error) { return []byte(`"` + a.key + `"`), nil }

// Flat returns nothing; GoBGP asks for it in outputs that this package does not use.
func (a *announcement) Flat() map[string]string { return map[string]string{} }

// familyOf is GoBGP's number for the routes of a kind and family.
func familyOf(kind wanted.Kind, f flowspec.Family) gobgp.Family {
	switch {
	case kind == wanted.RTBH && f == flowspec.IPv4:
		return gobgp.RF_IPv4_UC
	case kind == wanted.RTBH:
		return gobgp.RF_IPv6_UC
	case f == flowspec.IPv4:
		return gobgp.RF_FS_IPv4_UC
	default:
		return gobgp.RF_FS_IPv6_UC
	}
}

// forGoBGP is the NLRI by which GoBGP shall know a. For IPv4 unicast its packer takes nothing but its own type, and
// would panic on ours; judge has seen that the octets are the same.
func (a *announcement) forGoBGP() gobgp.NLRI {
	if a.v4 != nil {
		return a.v4
	}
	return a
}
