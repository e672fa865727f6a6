package flowspec

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// fixAction is what to write where an action is missing or unknown.
const fixAction = "write accept, discard, rate 10Mbps, rate 5kpps, sample, continue, redirect 65001:666, mark 8 or redirect-ip 192.0.2.1"

// actions reads what follows =>, up to the end, in a rule of family f. The order is that of the text.
func (p *parser) actions(f Family) ([]Action, error) {
	at, word := p.word()
	if word == "accept" {
		if at, word = p.word(); word != "" {
			return nil, p.fail(at, word, nil, "nothing may follow accept")
		}
		return nil, nil
	}
	var out []Action
	for {
		a, err := p.action(at, word)
		if err != nil {
			return nil, err
		}
		text := p.in[at:p.pos]
		if err := a.validateIn(f); err != nil {
			return nil, p.wrap(at, text, err)
		}
		for _, b := range out {
			if err := interference(b, a); err != nil {
				return nil, p.wrap(at, "", err)
			}
		}
		out = append(out, a)
		next, sep := p.word()
		if sep == "" {
			return out, nil
		}
		if sep != "," {
			return nil, p.fail(next, sep, nil, "actions are joined by a comma")
		}
		at, word = p.word()
	}
}

// action reads the action that begins with word.
func (p *parser) action(at int, word string) (Action, error) {
	switch word {
	case "discard":
		return p.as(Discard())
	case "rate":
		a, err := p.rate()
		if err != nil {
			return a, err
		}
		return p.as(a)
	case "stop":
		return Action{Type: TrafficAction}, nil
	case "sample":
		return Action{Type: TrafficAction, Sample: true, Continue: p.take("continue")}, nil
	case "continue":
		return Action{Type: TrafficAction, Sample: p.take("sample"), Continue: true}, nil
	case "redirect":
		t, err := p.routeTarget()
		return Redirect(t), err
	case "mark":
		start, text := p.word()
		v, err := p.number(DSCP, start, text)
		return Mark(uint8(v)), err
	case "redirect-ip":
		return p.redirectIP()
	}
	return Action{}, p.fail(at, word, ErrAction, "not an action").advise("%s", fixAction)
}

// take reports whether word stands next, and reads it if so.
func (p *parser) take(word string) bool {
	next := p.pos
	if _, text := p.word(); text == word {
		return true
	}
	p.pos = next
	return false
}

// as reads the "as ASN" that may follow a rate.
func (p *parser) as(a Action) (Action, error) {
	if !p.take("as") {
		return a, nil
	}
	start, text := p.word()
	asn, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return a, p.fail(start, text, ErrValue, "not an AS number")
	}
	a.ASN = ASN(asn)
	return a, nil
}

func (p *parser) rate() (Action, error) {
	at, text := p.word()
	if text != "" && strings.Trim(text, "0123456789.") == "" { // "10 Mbps"
		next := p.pos
		if _, unit := p.word(); unit != "" && unit != "," && unit != "as" {
			text += " " + unit
		} else {
			p.pos = next
		}
	}
	a, err := parseRateAction(text)
	if err != nil {
		return Action{}, p.wrap(at, "", err).advise("write discard or a rate of at least 8bps or 1pps, such as 10Mbps or 5kpps")
	}
	if err := a.Validate(); err != nil { // too great for the wire
		return Action{}, p.wrap(at, text, err)
	}
	return a, nil
}

// parseRateAction reads a rate in bits, bytes or packets per second; the unit tells which.
func parseRateAction(text string) (Action, error) {
	if strings.HasSuffix(text, "pps") {
		r, err := ParsePacketRate(text)
		return RatePackets(r), err
	}
	r, err := ParseRate(text)
	return RateLimit(r), err
}

// routeTarget reads what follows redirect.
func (p *parser) routeTarget() (RouteTarget, error) {
	at, text := p.word()
	colon := strings.LastIndexByte(text, ':')
	if colon < 0 {
		return RouteTarget{}, p.fail(at, text, ErrValue, "not a route target").advise("write one such as 65001:666, 192.0.2.1:666 or [2001:db8::1]:666")
	}
	admin := text[:colon]
	local, err := strconv.ParseUint(text[colon+1:], 10, 32)
	if err != nil {
		return RouteTarget{}, p.fail(at+colon+1, text[colon+1:], ErrValue, "not a number of up to four octets")
	}
	t := RouteTarget{Local: uint32(local)}
	number, long := strings.CutSuffix(admin, "L")
	inner, open := strings.CutPrefix(admin, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	switch asn, err := strconv.ParseUint(number, 10, 32); {
	case err == nil && (long || asn > math.MaxUint16):
		t.Form, t.ASN = RTFormAS4, ASN(asn)
	case err == nil:
		t.Form, t.ASN = RTFormAS2, ASN(asn)
	default:
		a, err := netip.ParseAddr(inner)
		if err != nil || a.Is4() == open || open != closed || a.Zone() != "" {
			return t, p.fail(at, admin, ErrValue, "neither an AS number, nor an IPv4 address, nor an IPv6 address in brackets")
		}
		t.Form, t.Address = RTFormIPv6, a
		if a.Is4() {
			t.Form = RTFormIPv4
		}
	}
	if err := t.Validate(); err != nil {
		return t, p.fail(at, text, ErrValue, "%s is above %d, all that fits beside %s", text[colon+1:], math.MaxUint16, admin)
	}
	return t, nil
}

// redirectIP reads what follows redirect-ip.
func (p *parser) redirectIP() (Action, error) {
	at, text := p.word()
	a, err := netip.ParseAddr(text)
	if err != nil {
		return Action{}, p.fail(at, text, ErrValue, "not an address").advise("write one such as 192.0.2.1 or 2001:db8::1")
	}
	if err := validateNextHop(a); err != nil {
		return Action{}, p.wrap(at, text, err)
	}
	return RedirectIP(a, p.take("copy")), nil
}

// ParseRouteTarget reads a route target as it stands in the text form of a rule: ASN:LOCAL, with an L after an ASN that
// shall have four octets although it fits into two, ADDRESS:LOCAL for IPv4, [ADDRESS]:LOCAL for IPv6. RouteTarget.String
// leads back. Errors wrap ErrValue.
func ParseRouteTarget(s string) (RouteTarget, error) {
	p := &parser{in: s}
	t, err := p.routeTarget()
	if err == nil && p.pos < len(p.in) {
		err = p.fail(p.pos, p.in[p.pos:], ErrValue, "not part of a route target")
	}
	var syntax *SyntaxError
	if errors.As(err, &syntax) {
		return RouteTarget{}, fmt.Errorf("cannot parse route target %q: %w", quoted(s), syntax.Err)
	}
	return t, err
}

// quoted shortens what an error repeats.
func quoted(s string) string { return s[:min(len(s), maxQuote)] }
