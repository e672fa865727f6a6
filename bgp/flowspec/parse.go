package flowspec

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// SyntaxError is a text that is not a rule. Its message names the column and, where there is one, the fix.
type SyntaxError struct {
	Column int    // of the first wrong octet, from 1
	Text   string // what stands there, shortened
	Err    error  // what is wrong with it; it may wrap one of the Err values of this package
	Fix    string // what to write instead, e.g. "did you mean len?"; empty if the error itself tells
}

// Error returns a sentence such as: cannot parse rule: column 24: "70000": port is above 65535.
func (e *SyntaxError) Error() string {
	s := fmt.Sprintf("cannot parse rule: column %d: ", e.Column)
	if e.Text != "" {
		s += fmt.Sprintf("%q: ", e.Text)
	}
	s += e.Err.Error()
	if e.Fix != "" {
		s += "; " + e.Fix
	}
	return s
}

// Unwrap returns what is wrong.
func (e *SyntaxError) Unwrap() error { return e.Err }

// ParseRule reads the text form of a rule: conditions in any order, each once, then => and what is done.
//
//	dst 203.0.113.0/24 proto udp sport 53|123 len 1000-1500 => rate 10Mbps
//	dst 2001:db8::/32 proto tcp tcp-flags syn&!ack => discard
//	ipv4 proto gre => accept
//
// The conditions are dst and src with a prefix; proto, port (either one), dport, sport, icmp-type, icmp-code, len,
// dscp and label with numbers; tcp-flags and frag with bits. A bare address is a prefix of full length; a prefix with
// host bits is refused. An IPv6 prefix whose first bits do not count is written ADDRESS/OFFSET-LENGTH (RFC 8956
// section 3.1). A rule without a prefix begins with ipv4 or ipv6.
//
// Numbers: 53, 1000-1500, >=1024, >, <=, <, !=53; false:N and true:N are the constant operators. Some protocols have
// names. Bits are joined by +: syn+ack means that both are set, any:syn+ack that one of them is, a ! before it the
// contrary. Items are joined by | (or) and & (and); & binds closer. Items stay in the order given, so that every
// valid rule has a text.
//
// After => stands accept, which is no action, or one or more actions joined by commas, in any order:
//
//	discard                      everything (traffic-rate-bytes of 0, RFC 8955 section 7.1)
//	rate 10Mbps                  what is above the rate, as in ParseRate (section 7.1)
//	rate 5kpps                   the same in packets, as in ParsePacketRate (section 7.2)
//	sample                       sample and log (section 7.3)
//	continue                     evaluate later rules too: T set (section 7.3); sample continue is both
//	stop                         a traffic-action that says neither, as if there were none
//	redirect 65001:666           into the VRF that imports the route target (section 7.4)
//	redirect 192.0.2.1:666       the same with an IPv4 address, or [2001:db8::1]:666 with an IPv6 address
//	mark 8                       set the DSCP (section 7.5)
//	redirect-ip 192.0.2.1        forward to that address (draft-ietf-idr-flowspec-redirect-ip)
//	redirect-ip 192.0.2.1 copy   forward a copy to that address
//
// "as ASN" may follow discard and rate. A route target whose AS fits into two octets but is sent in four is written
// 65001L:666. Actions that interfere are refused (see Rule.Validate).
//
// Errors are of type *SyntaxError.
func ParseRule(s string) (Rule, error) {
	p := &parser{in: s}
	m, err := p.match()
	if err != nil {
		return Rule{}, err
	}
	at, word := p.word()
	if word != "=>" {
		return Rule{}, p.fail(at, word, nil, "no action").advise("write => and what is done, such as => discard")
	}
	actions, err := p.actions(m.Family)
	if err != nil {
		return Rule{}, err
	}
	r, err := NewRule(m, actions...)
	if err != nil { // an error of the actions has had its column before
		return Rule{}, p.wrap(at, "", err)
	}
	return r, nil
}

// ParseMatch reads the text form of a match: what stands before => in a rule. Errors are of type *SyntaxError.
func ParseMatch(s string) (Match, error) {
	p := &parser{in: s}
	m, err := p.match()
	if err != nil {
		return Match{}, err
	}
	if at, word := p.word(); word != "" {
		return Match{}, p.fail(at, word, nil, "only the conditions are wanted here").advise("leave the action away")
	}
	return m, nil
}

// parser reads in from left to right; pos is the next octet.
type parser struct {
	in  string
	pos int
}

// maxQuote is how much of the input an error repeats.
const maxQuote = 40

func (p *parser) fail(at int, text string, kind error, format string, args ...any) *SyntaxError {
	return p.wrap(at, text, refuse(kind, format, args...))
}

// advise returns the error with its fix.
func (e *SyntaxError) advise(format string, args ...any) *SyntaxError {
	e.Fix = fmt.Sprintf(format, args...)
	return e
}

// wrap says where err is. The fix moves from what is wrong to the sentence as a whole.
func (p *parser) wrap(at int, text string, err error) *SyntaxError {
	if len(text) > maxQuote {
		text = text[:maxQuote]
	}
	out := &SyntaxError{Column: at + 1, Text: text, Err: err}
	if r, ok := err.(*refusal); ok { //nolint:errorlint // only the outermost text is taken apart
		out.Err, out.Fix = refuse(r.kind, "%s", r.text), r.fix
	}
	return out
}

func (p *parser) space() {
	for p.pos < len(p.in) && (p.in[p.pos] == ' ' || p.in[p.pos] == '\t') {
		p.pos++
	}
}

// until skips spaces and returns where it stands then, and what stands there up to a space or one of the octets in
// ends.
func (p *parser) until(ends string) (int, string) {
	p.space()
	at := p.pos
	if n := strings.IndexAny(p.in[at:], ends); n >= 0 {
		p.pos += n
	} else {
		p.pos = len(p.in)
	}
	return at, p.in[at:p.pos]
}

// word returns the next word and where it begins. A comma is a word of its own.
func (p *parser) word() (int, string) {
	at, word := p.until(" \t,")
	if word == "" && at < len(p.in) {
		p.pos++
		word = p.in[at:p.pos]
	}
	return at, word
}

// conditions is what a parser has read of a match.
type conditions struct {
	family Family // 0 until something tells
	told   string // the word that told it
	comps  []Component
	at     [FlowLabel + 1]int // where the values of a type stand, plus one; 0 if it was not read
}

// match reads conditions up to => or the end.
func (p *parser) match() (Match, error) {
	var cs conditions
	for {
		at, word := p.word()
		if word == "" || word == "=>" {
			p.pos = at
			break
		}
		if f := familyWord(word); f != 0 {
			if cs.family != 0 {
				return Match{}, p.fail(at, word, ErrFamily, "%s already says %s", cs.told, cs.family).advise("write ipv4 or ipv6 once and first")
			}
			cs.family, cs.told = f, word
			continue
		}
		if err := p.condition(&cs, at, word); err != nil {
			return Match{}, err
		}
	}
	if len(cs.comps) == 0 {
		return Match{}, p.fail(p.pos, "", ErrEmpty, "no condition: the rule would apply to every packet")
	}
	if cs.family == 0 {
		return Match{}, p.fail(0, "", ErrFamily, "no prefix tells the family").advise("begin with ipv4 or ipv6")
	}
	// What depends on the family can be judged only now, for the prefix may stand last.
	for i := range cs.comps {
		c := &cs.comps[i]
		if err := c.validate(cs.family); err != nil {
			return Match{}, p.wrap(cs.at[c.Type]-1, "", err)
		}
	}
	m, err := NewMatch(cs.family, cs.comps...)
	if err != nil {
		return Match{}, p.wrap(0, "", err)
	}
	return m, nil
}

// condition reads the condition that begins with word.
func (p *parser) condition(cs *conditions, at int, word string) error {
	t := typeOfWord(word)
	if t == 0 {
		if word == "," {
			return p.fail(at, word, nil, "a comma joins nothing here").advise("use | for a list, such as sport 53|123, and a space between conditions")
		}
		return p.fail(at, word, nil, "unknown condition").advise("%s", fixCondition(word))
	}
	if cs.at[t] != 0 {
		return p.fail(at, word, ErrOrder, "%s stands twice", word)
	}
	p.space()
	start := p.pos
	c, err := p.component(t)
	if err != nil {
		return err
	}
	if t.prefix() {
		f := familyOf(c.Prefix)
		if cs.family != 0 && f != cs.family {
			return p.fail(start, p.in[start:p.pos], ErrFamily, "%s prefix, but %s says %s", f, cs.told, cs.family).advise("write rules of one family")
		}
		cs.family, cs.told = f, word
	}
	cs.at[t] = start + 1
	cs.comps = append(cs.comps, c)
	return nil
}

func familyWord(word string) Family {
	switch word {
	case "ipv4":
		return IPv4
	case "ipv6":
		return IPv6
	}
	return 0
}

func familyOf(p netip.Prefix) Family {
	if p.Addr().Is4() {
		return IPv4
	}
	return IPv6
}

func typeOfWord(word string) ComponentType {
	for t, w := range words() {
		if t > 0 && w == word {
			return ComponentType(t)
		}
	}
	return 0
}

func (p *parser) component(t ComponentType) (Component, error) {
	if t.prefix() {
		return p.prefix(t)
	}
	c := Component{Type: t}
	var join OpFlags
	for {
		at, item := p.until(" \t,|&")
		if item == "" || item == "=>" {
			return c, p.fail(at, item, ErrEmptyList, "%s needs a value", words()[t])
		}
		read := p.numbers
		if t.bitmask() {
			read = p.mask
		}
		ops, err := read(t, at, item)
		if err != nil {
			return c, err
		}
		ops[0].Flags |= join
		c.Ops = append(c.Ops, ops...)
		end := p.pos
		if p.space(); p.pos == len(p.in) || p.in[p.pos] != '|' && p.in[p.pos] != '&' {
			p.pos = end
			return c, nil
		}
		join = 0
		if p.in[p.pos] == '&' {
			join = And
		}
		p.pos++
	}
}

func (p *parser) prefix(t ComponentType) (Component, error) {
	c := Component{Type: t}
	at, text := p.word()
	if text == "" || text == "=>" || text == "," {
		return c, p.fail(at, text, ErrPrefix, "%s needs a prefix", words()[t])
	}
	address, length, _ := strings.Cut(text, "/")
	offset, end, hasOffset := strings.Cut(length, "-")
	if hasOffset {
		n, err := strconv.ParseUint(offset, 10, 7)
		if err != nil {
			return c, p.fail(at, text, ErrOffset, "offset is not a number up to 127")
		}
		c.Offset, text = uint8(n), address+"/"+end
	}
	prefix, err := netip.ParsePrefix(text)
	if addr, err2 := netip.ParseAddr(text); err2 == nil && addr.Zone() == "" {
		prefix, err = addr.Prefix(addr.BitLen())
	}
	if err != nil {
		return c, p.fail(at, text, ErrPrefix, "not a prefix such as 203.0.113.0/24 or 2001:db8::/32")
	}
	c.Prefix = prefix
	if hasOffset && c.Offset == 0 {
		return c, p.fail(at, text, ErrOffset, "an offset of 0 is not written")
	}
	if err := c.validatePrefix(familyOf(prefix)); err != nil {
		return c, p.wrap(at, p.in[at:p.pos], err)
	}
	return c, nil
}

// numbers reads one numeric item, which is two operators if it is a range.
func (p *parser) numbers(t ComponentType, at int, item string) ([]Op, error) {
	flags, text := EQ, item
	for _, flag := range []OpFlags{GT | EQ, LT | EQ, LT | GT, GT, LT, 0, LT | GT | EQ} {
		if rest, ok := strings.CutPrefix(item, comparisons()[flag]); ok {
			flags, text = flag, rest
			break
		}
	}
	at += len(item) - len(text)
	lo, hi, isRange := strings.Cut(text, "-")
	if !isRange || flags != EQ {
		v, err := p.number(t, at, text)
		return []Op{{Flags: flags, Value: v}}, err
	}
	from, err := p.number(t, at, lo)
	if err != nil {
		return nil, err
	}
	to, err := p.number(t, at+len(lo)+1, hi)
	if err != nil {
		return nil, err
	}
	switch {
	case from > to:
		return nil, p.fail(at, item, ErrEmptyList, "range ends before it begins")
	case from == to:
		return []Op{{Flags: EQ, Value: from}}, nil
	}
	return []Op{{Flags: GT | EQ, Value: from}, {Flags: And | LT | EQ, Value: to}}, nil
}

func (p *parser) number(t ComponentType, at int, text string) (uint64, error) {
	for _, n := range t.names() {
		if n.text == text {
			return n.value, nil
		}
	}
	if text == "" || strings.Trim(text, "0123456789") != "" {
		if t == IPProtocol {
			return 0, p.fail(at, text, ErrValue, "not a protocol").advise("write a number or one of %s", joinNames(t))
		}
		return 0, p.fail(at, text, ErrValue, "%s is not a number", t)
	}
	v, err := strconv.ParseUint(text, 10, 64)
	if limit := t.maxValue(IPv6); err != nil || v > limit {
		return 0, p.fail(at, text, ErrValue, "%s is above %d", t, limit)
	}
	return v, nil
}

// mask reads one bitmask item.
func (p *parser) mask(t ComponentType, at int, item string) ([]Op, error) {
	op, text := Op{Flags: All}, item
	if rest, ok := strings.CutPrefix(text, "!"); ok {
		op.Flags, text = op.Flags|Not, rest
	}
	if rest, ok := strings.CutPrefix(text, anyOf); ok {
		op.Flags, text = op.Flags&^All, rest
	}
	at += len(item) - len(text)
	for bit := range strings.SplitSeq(text, "+") {
		v, err := p.bits(t, at, bit)
		if err != nil {
			return nil, err
		}
		op.Value |= v
		at += len(bit) + 1
	}
	return []Op{op}, nil
}

// joinNames lists the words for values of type t.
func joinNames(t ComponentType) string {
	var out []string
	for _, n := range t.names() {
		out = append(out, n.text)
	}
	return strings.Join(out, " ")
}

func (p *parser) bits(t ComponentType, at int, text string) (uint64, error) {
	for _, n := range t.names() {
		if n.text == text {
			return n.value, nil
		}
	}
	if text != "0" && !strings.HasPrefix(text, "0x") {
		return 0, p.fail(at, text, ErrValue, "unknown bit").advise("known are %s, or write 0x and hexadecimal", joinNames(t))
	}
	v, err := strconv.ParseUint(strings.TrimPrefix(text, "0x"), 16, 64)
	// IPv4 has the greater mask; what IPv6 lacks is found when the family is known.
	if limit := t.maxValue(IPv4); err != nil || v&^limit != 0 {
		return 0, p.fail(at, text, ErrValue, "%s has the bits 0x%x", t, limit)
	}
	return v, nil
}
