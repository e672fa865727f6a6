// Package render prints rules as configuration to paste, for the hour in which BGP itself is down: for Junos and IOS XR
// as rules of the router's own, for BIRD, ExaBGP and GoBGP as announcements of a speaker that still works.
//
// It owns the five formats and what each of them cannot say. What a format cannot say exactly is never approximated: it
// becomes a Problem and a comment. It renders no rule that only accepts, because exemption is the absence of a rule. It
// knows nothing of mitigations, routers or sessions, and imports only package flowspec; the command line calls it with
// the rules that any node lists.
//
// BIRD 2.0.12, ExaBGP 4.2.21 and gobgp 3.10.0 have loaded what is rendered for them and announced equal rules
// (integration, TestRenderedConfigurationsLoad). The renderings for Junos and IOS XR follow the vendors' published syntax
// and have not been loaded into a router by us.
package render

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// Format is a language of configuration.
type Format uint8

// The formats.
const (
	Junos  Format = iota + 1 // Junos OS set commands: the router's own flow routes
	IOSXR                    // Cisco IOS XR: the router's own class maps and a policy map
	BIRD                     // BIRD 2: static protocols, a file to include
	ExaBGP                   // ExaBGP 4: a shell script of exabgpcli commands
	GoBGP                    // GoBGP 3: a shell script of gobgp commands
)

// Formats returns all formats, in the order in which they are shown to users.
func Formats() []Format { return []Format{Junos, IOSXR, BIRD, ExaBGP, GoBGP} }

// String returns the name as on the command line: "junos".
func (f Format) String() string {
	switch f {
	case Junos:
		return "junos"
	case IOSXR:
		return "iosxr"
	case BIRD:
		return "bird"
	case ExaBGP:
		return "exabgp"
	case GoBGP:
		return "gobgp"
	}
	return fmt.Sprintf("format %d", uint8(f))
}

// ParseFormat returns the format of that name. The error lists the names that there are.
func ParseFormat(name string) (Format, error) {
	var names []string
	for _, f := range Formats() {
		if f.String() == name {
			return f, nil
		}
		names = append(names, f.String())
	}
	return 0, fmt.Errorf("cannot render as %q: known formats are %s", name, strings.Join(names, ", "))
}

// Item is one rule to render.
type Item struct {
	Rule flowspec.Rule
	// RTBH marks a route instead of a rule: Rule has a destination and nothing else, and all traffic to it is discarded
	// (RFC 7999).
	RTBH bool
	// Note goes into the comment above the rule, such as the id of its mitigation. It may hold anything: what is not
	// printable ASCII is replaced, and a long one is cut.
	Note string
}

// Options are what some formats need to know beyond the rules.
type Options struct {
	// DiscardIPv4 and DiscardIPv6 are the next hops of RTBH routes, which the routers discard. BIRD, ExaBGP and GoBGP
	// cannot announce such a route without one; Junos and IOS XR discard by themselves.
	DiscardIPv4, DiscardIPv6 netip.Addr
}

// Problem is an item that is not in the configuration, and why.
type Problem struct {
	Item   Item
	Reason string // a sentence without its capital and full stop
}

// String is the problem in one line of printable ASCII.
func (p Problem) String() string {
	return fmt.Sprintf("%s: %s", p.Item.describe(), clean(p.Reason))
}

// Rules renders the items as a configuration that is complete but for the items in the returned problems; who shows it
// must show them, and end unsuccessfully if there are any. Rules stand in the order in which routers apply them (RFC 8955
// section 5.1), whatever the order of items; RTBH routes stand behind them. The text is ASCII and the same for the same
// items. An unknown format gives no text and a problem for every item.
func Rules(f Format, items []Item, o Options) ([]byte, []Problem) {
	d := f.dialect()
	if d == nil {
		return nil, unknown(f, items)
	}
	set := build(d, items, o)
	w := &writer{comment: d.comment()}
	w.head(f, set, d.paste(set))
	d.write(w, set)
	return w.b, set.problems
}

// Undo renders what takes back everything that Rules of the same items puts in place. Items that Rules cannot render
// need no undoing and are left out. To be sure that nothing stays behind, it is made together with the configuration and
// kept: rules that have ended since are in no later list.
func Undo(f Format, items []Item, o Options) ([]byte, []Problem) {
	d := f.dialect()
	if d == nil {
		return nil, unknown(f, items)
	}
	set := build(d, items, o)
	w := &writer{comment: d.comment()}
	d.undo(w, set)
	return w.b, nil
}

func unknown(f Format, items []Item) []Problem {
	var out []Problem
	for _, i := range items {
		out = append(out, Problem{Item: i, Reason: fmt.Sprintf("%s is not known", f)})
	}
	return out
}

// dialect is one format.
type dialect interface {
	// comment begins a line that means nothing.
	comment() string
	// match and then return the conditions and the actions of a rule, in pieces as write needs them; the error is why the
	// format cannot say them.
	match(flowspec.Match) ([]string, error)
	then([]flowspec.Action, flowspec.Family) ([]string, error)
	// sorts reports whether the router encodes and sorts the rules by itself.
	sorts() bool
	// route reports why an RTBH route for p cannot be said.
	route(p netip.Prefix, o Options) error
	// paste tells where the text goes.
	paste(set) []string
	write(*writer, set)
	undo(*writer, set)
}

func (f Format) dialect() dialect {
	switch f {
	case Junos:
		return junos{}
	case IOSXR:
		return iosxr{}
	case BIRD:
		return bird{}
	case ExaBGP:
		return exabgp{}
	case GoBGP:
		return gobgp{}
	}
	return nil
}

// piece is an item that can be said.
type piece struct {
	item        Item
	name        string // from the key, stable
	family      flowspec.Family
	prefix      netip.Prefix // the destination of an RTBH route
	match, then []string
}

// set is what a text is written from.
type set struct {
	options  Options
	rules    []piece // in the order of RFC 8955 section 5.1
	routes   []piece // RTBH, in the order of their prefixes
	problems []Problem
}

// of returns the pieces of family f.
func of(f flowspec.Family, pieces []piece) []piece {
	var out []piece
	for _, p := range pieces {
		if p.family == f {
			out = append(out, p)
		}
	}
	return out
}

// families are those of FlowSpec, in order.
func families() [2]flowspec.Family { return [...]flowspec.Family{flowspec.IPv4, flowspec.IPv6} }

func build(d dialect, items []Item, o Options) set {
	s := set{options: o}
	items = slices.Clone(items)
	slices.SortStableFunc(items, compare)
	taken := make(map[string]bool) // names, and conditions as the format says them
	for _, i := range items {
		p, err := s.piece(d, i)
		said := fmt.Sprint(p.family, p.prefix, p.match)
		switch {
		case err == nil && taken[p.name]:
			err = fmt.Errorf("another rule of this list has the same match")
		case err == nil && taken[said]:
			err = fmt.Errorf("another rule of this list matches the same packets and reads the same in this format")
		}
		switch {
		case err != nil:
			s.problems = append(s.problems, Problem{Item: i, Reason: err.Error()})
			continue
		case i.RTBH:
			s.routes = append(s.routes, p)
		default:
			s.rules = append(s.rules, p)
		}
		taken[p.name], taken[said] = true, true
	}
	if d.sorts() {
		s.inversions()
	}
	return s
}

func compare(a, b Item) int {
	if a.RTBH != b.RTBH {
		if a.RTBH {
			return 1
		}
		return -1
	}
	return flowspec.Compare(a.Rule.Match, b.Rule.Match)
}

func (s *set) piece(d dialect, i Item) (piece, error) {
	if err := i.Rule.Validate(); err != nil {
		return piece{}, err
	}
	p := piece{item: i, name: name(i), family: i.Rule.Match.Family}
	if i.RTBH {
		dst, ok := i.Rule.Match.Destination()
		if !ok || len(i.Rule.Match.Components) != 1 || len(i.Rule.Actions) != 0 {
			return piece{}, fmt.Errorf("an RTBH route has a destination, and neither another condition nor an action")
		}
		p.prefix = dst
		return p, d.route(dst, s.options)
	}
	if accepts(i.Rule.Actions) {
		return piece{}, fmt.Errorf("the rule would only accept, and could open what other rules protect; no accept rule is rendered")
	}
	for _, c := range i.Rule.Match.Components {
		if err := sayable(c); err != nil {
			return piece{}, err
		}
	}
	var err error
	if p.match, err = d.match(i.Rule.Match); err != nil {
		return piece{}, err
	}
	p.then, err = d.then(i.Rule.Actions, p.family)
	return p, err
}

// accepts reports whether actions do nothing to a packet but to keep later rules from it.
func accepts(actions []flowspec.Action) bool {
	for _, a := range actions {
		if a.Type != flowspec.TrafficAction || a.Sample || a.Continue {
			return false
		}
	}
	return true
}

// sayable refuses what says nothing in any format.
func sayable(c flowspec.Component) error {
	for _, op := range c.Ops {
		if masks(c.Type) && op.Value == 0 {
			return fmt.Errorf("%s: a mask without bits is the same for every packet", c.Type)
		}
	}
	return nil
}

// nameBytes is how much of the hash of a key its name has: of 10,000 rules two share a name once in 5 million lists, and
// then one of them becomes a problem.
const nameBytes = 6

// name is what a rule is called in configurations: stable, because it comes from the key alone.
func name(i Item) string {
	kind := "flow:"
	if i.RTBH {
		kind = "rtbh:"
	}
	sum := sha256.Sum256([]byte(kind + string(i.Rule.Match.Key())))
	return "tidegate-" + hex.EncodeToString(sum[:nameBytes])
}

// describe is the item in one line of printable ASCII.
func (i Item) describe() string {
	text := i.Rule.String()
	if i.RTBH {
		text = "rtbh " + i.Rule.Match.String()
	}
	if i.Note != "" {
		text = i.Note + ": " + text
	}
	return clean(text)
}

// maxLine is how long a comment may be, in octets.
const maxLine = 400

// clean makes one line of printable ASCII from any text, so that nothing in it can end a comment.
func clean(text string) string {
	var b strings.Builder
	for _, r := range text {
		if b.Len() == maxLine {
			return b.String() + "..."
		}
		if r < ' ' || r > '~' {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// writer collects lines.
type writer struct {
	comment string
	b       []byte
}

func (w *writer) line(format string, args ...any) {
	w.b = append(fmt.Appendf(w.b, format, args...), '\n')
}

// say writes comments. They are made of our own words and of clean text.
func (w *writer) say(lines ...string) {
	for _, l := range lines {
		w.line("%s %s", w.comment, l)
	}
}

// head says what the text is, where it goes, and what is missing from it.
func (w *writer) head(f Format, s set, paste []string) {
	w.say(fmt.Sprintf("tidegate rules as %s: %d FlowSpec rules, %d RTBH routes.", f, len(s.rules), len(s.routes)))
	w.say(paste...)
	w.say("Nothing here ends by itself: no lifetime, no guard. Make the undo now and keep it:",
		fmt.Sprintf("  tidegate rules render --format %s --undo", f))
	if len(s.problems) > 0 {
		w.say(fmt.Sprintf("NOT RENDERED, %d:", len(s.problems)))
	}
	for _, p := range s.problems {
		w.say("  " + p.String())
	}
}
