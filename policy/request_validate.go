package policy

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// Bounds of a request: enough for any real attack, small enough that judging one is quick.
const (
	MaxTargets        = 1024 // targets of one signal or order
	MaxSourcePrefixes = 64
	MaxRanges         = 64  // port or length ranges in one list
	MaxProtocols      = 64  // protocols in one signal
	MaxAttackID       = 128 // octets
)

// violations collects what is wrong with a request.
type violations []Violation

func (vs *violations) add(field, fix, format string, args ...any) {
	*vs = append(*vs, Violation{Field: field, Problem: fmt.Sprintf(format, args...), Fix: fix})
}

// validateSignal reports what is malformed in a signal by itself. The end of an attack needs no target and no vector.
func validateSignal(sig *Signal) []Violation {
	var vs violations
	if sig.Source == "" {
		vs.add("source", "the source is the name in the detector's certificate", "the source is empty")
	}
	switch n := len(sig.AttackID); {
	case n == 0:
		vs.add("attack_id", "send the detector's own name of the attack", "the attack id is empty")
	case n > MaxAttackID:
		vs.add("attack_id", fmt.Sprintf("send at most %d octets", MaxAttackID), "the attack id has %d octets", n)
	}
	vs.numbers(sig)
	switch sig.Kind {
	case SignalStart, SignalUpdate:
		if !sig.Vector.known() {
			vs.add("vector", VectorFix("send", sig.Vector), "%q is not a known vector", string(sig.Vector))
		}
		vs.targets(sig.Targets)
	case SignalEnd:
		if len(sig.Targets) > 0 {
			vs.targets(sig.Targets)
		}
	default:
		vs.add("kind", "send start, update or end", "%d is not a kind of signal", sig.Kind)
	}
	vs.hints(sig)
	return vs
}

// numbers checks the measurements of a signal.
func (vs *violations) numbers(sig *Signal) {
	if c := sig.Confidence; math.IsNaN(c) || c < 0 || c > 1 {
		vs.add("confidence", "send 0 to 1, 0 for not stated", "%v is not between 0 and 1", c)
	}
	for _, r := range [...]struct {
		field string
		v     float64
	}{{"bits_per_second", sig.BitsPerSecond}, {"packets_per_second", sig.PacketsPerSecond}} {
		if math.IsNaN(r.v) || math.IsInf(r.v, 0) || r.v < 0 {
			vs.add(r.field, "send a number that is not negative, 0 for not stated", "%v is not a rate", r.v)
		}
	}
}

// hints checks what a signal says of the packets.
func (vs *violations) hints(sig *Signal) {
	if n := len(sig.Protocols); n > MaxProtocols {
		vs.add("protocols", fmt.Sprintf("send at most %d", MaxProtocols), "there are %d protocols", n)
	}
	vs.ranges("source_ports", "port", sig.SourcePorts)
	vs.ranges("destination_ports", "port", sig.DestinationPorts)
	vs.ranges("packet_lengths", "packet length", sig.PacketLengths)
	if n := len(sig.SourcePrefixes); n > MaxSourcePrefixes {
		vs.add("source_prefixes", fmt.Sprintf("send at most %d", MaxSourcePrefixes), "%d source prefixes", n)
		return
	}
	for i, p := range sig.SourcePrefixes {
		field := fmt.Sprintf("source_prefixes[%d]", i)
		if vs.prefix(field, p) && len(sig.Targets) > 0 && sig.Targets[0].IsValid() && familyOf(p) != familyOf(sig.Targets[0]) {
			vs.add(field, "send the families as two signals", "%s is %s, but the targets are %s", p, familyOf(p), familyOf(sig.Targets[0]))
		}
	}
}

// ranges checks ports or lengths: both have 16 bits. A router crashed on a length above 65535.
func (vs *violations) ranges(field, what string, rs []flowspec.Range) {
	if len(rs) > MaxRanges {
		vs.add(field, fmt.Sprintf("send at most %d", MaxRanges), "%d ranges", len(rs))
		return
	}
	for i, r := range rs {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case r.Lo > r.Hi:
			vs.add(at, fmt.Sprintf("write %d-%d", r.Hi, r.Lo), "the range %d-%d ends before it begins", r.Lo, r.Hi)
		case r.Hi > math.MaxUint16:
			vs.add(at, "send 0 to 65535", "%s %d is above 65535", what, r.Hi)
		}
	}
}

// targets checks the targets of a signal or an order.
func (vs *violations) targets(ts []netip.Prefix) {
	switch n := len(ts); {
	case n == 0:
		vs.add("targets", "name at least one prefix", "there is no target")
		return
	case n > MaxTargets:
		vs.add("targets", fmt.Sprintf("send at most %d, or the prefix that holds them", MaxTargets), "%d targets", n)
		return
	}
	ok := true
	for i, p := range ts {
		ok = vs.prefix(fmt.Sprintf("targets[%d]", i), p) && ok
	}
	if !ok {
		return
	}
	for i, p := range ts {
		if familyOf(p) != familyOf(ts[0]) {
			vs.add(fmt.Sprintf("targets[%d]", i), "send the families as two requests", "%s is %s, but %s is %s",
				p, familyOf(p), ts[0], familyOf(ts[0]))
			return
		}
	}
}

// prefix reports whether p is a prefix that can be meant.
func (vs *violations) prefix(field string, p netip.Prefix) bool {
	switch {
	case !p.IsValid():
		vs.add(field, "write ADDRESS/LENGTH", "there is no valid prefix")
	case p.Addr().Is4In6():
		fix := "write the IPv4 prefix"
		if p.Bits() >= 96 {
			fix = "write " + netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked().String()
		}
		vs.add(field, fix, "%s is an IPv4 address in IPv6 form", p)
	case p.Addr().Zone() != "":
		vs.add(field, "leave the zone away", "%s has a zone, which means nothing to another machine", p)
	case p != p.Masked():
		vs.add(field, "write "+p.Masked().String(), "%s has host bits", p)
	default:
		return true
	}
	return false
}

// action checks what an order asks for, for targets of family f.
func (vs *violations) action(a Action, f flowspec.Family) {
	for _, w := range a.check(f) {
		vs.add(below("action", w.field), w.fix, "%s", w.problem)
	}
}

// lifetime checks the lifetime of an order against zero; the maximum is a matter of refusal, not of form.
func (vs *violations) lifetime(d time.Duration, zeroIsDefault bool) {
	switch {
	case d < 0:
		vs.add("lifetime", "send a positive duration", "the lifetime %s is negative", span(d))
	case d == 0 && !zeroIsDefault:
		vs.add("lifetime", "send a positive duration; to end a mitigation, withdraw it", "the lifetime is zero")
	case d != 0 && d < shortestLife:
		vs.add("lifetime", fmt.Sprintf("send at least %s", span(shortestLife)), "the lifetime %s is shorter than %s", span(d), span(shortestLife))
	}
}

// malformed is the decision on a request that cannot be meant.
func malformed(vs []Violation) Decision {
	first := vs[0]
	where := first.Field
	if first.Document != (DocumentRef{}) {
		where = fmt.Sprintf("%s %q: %s", first.Document.Kind, first.Document.Name, first.Field)
	}
	text := fmt.Sprintf("%s: %s", where, first.Problem)
	if first.Fix != "" {
		text += "; " + first.Fix
	}
	if n := len(vs) - 1; n > 0 {
		text += fmt.Sprintf(" (and %d more)", n)
	}
	return Decision{Verdict: Verdict{Kind: Refused, Reason: Reason{CodeMalformed, text}}, Violations: vs}
}

// refuse is a decision that changes nothing.
func refuse(r Reason) Decision { return Decision{Verdict: Verdict{Kind: Refused, Reason: r}} }

// refusef is refuse with a sentence made on the spot.
func refusef(code ReasonCode, format string, args ...any) Decision {
	return refuse(Reason{code, fmt.Sprintf(format, args...)})
}
