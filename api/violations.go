package api

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// violations collects what is malformed in one request, document or signal, field by field.
type violations struct {
	document string // "Customer/uni-a"; empty for a request
	prefix   string // put before every field, e.g. "start."
	list     []*tidegatev1.FieldViolation
}

// add notes a violation. Problem says what is wrong, fix how to mend it; neither repeats the field.
func (v *violations) add(field, problem, fix string) {
	v.list = append(v.list, &tidegatev1.FieldViolation{Document: v.document, Field: v.prefix + field, Problem: problem, Fix: fix})
}

// has reports whether something is known to be wrong with the field, or with a part of it.
func (v *violations) has(field string) bool {
	for _, f := range v.list {
		rest, ok := strings.CutPrefix(f.GetField(), v.prefix+field)
		if ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}

// err returns the violations as an error, if there are any.
func (v *violations) err() error {
	if len(v.list) == 0 {
		return nil
	}
	return &malformedError{violations: v.list}
}

func item(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// quote quotes what a caller wrote, shortened.
func quote(s string) string {
	if len(s) > 80 {
		cut := 80
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	return strconv.Quote(s)
}

// network reads a prefix without host bits. A bare address is taken for the prefix of full length if bare is set.
// The zero prefix means that a violation was noted.
func (v *violations) network(field, s string, bare bool) netip.Prefix {
	p, problem, fix := parseNetwork(s, bare)
	if problem != "" {
		v.add(field, problem, fix)
		return netip.Prefix{}
	}
	return p
}

// address reads one address. A prefix of full length is one, too. The zero address means that a violation was noted.
func (v *violations) address(field, s string) netip.Addr {
	const example = "write one address such as 203.0.113.5 or 2001:db8::5"
	p, problem, fix := parseNetwork(s, true)
	switch {
	case strings.Contains(s, "/") && (!p.IsValid() || !p.IsSingleIP()):
		v.add(field, quote(s)+" is a prefix", example)
	case strings.HasSuffix(problem, "is not an IP prefix"):
		v.add(field, quote(s)+" is not an IP address", example)
	case s == "":
		v.add(field, problem, example)
	case problem != "":
		v.add(field, problem, fix)
	default:
		return p.Addr()
	}
	return netip.Addr{}
}

func parseNetwork(s string, bare bool) (p netip.Prefix, problem, fix string) {
	const example = "write a prefix such as 203.0.113.0/24 or 2001:db8::/32"
	switch {
	case s == "":
		return p, "it is empty", example
	case strings.Contains(s, "%"):
		return p, quote(s) + " has a zone, which means nothing outside of one machine", "leave out the % and what follows"
	}
	addr, bits, slash := strings.Cut(s, "/")
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return p, quote(s) + " is not an IP prefix", example
	}
	length := a.BitLen()
	if slash {
		if length, err = strconv.Atoi(bits); err != nil || bits != strconv.Itoa(length) || length < 0 || length > a.BitLen() {
			return p, fmt.Sprintf("%s has no valid prefix length", quote(s)), fmt.Sprintf("write a length from 0 to %d after the /", a.BitLen())
		}
	}
	if a.Is4In6() {
		fix := "write " + a.Unmap().String()
		if slash && length >= 96 {
			fix = "write " + netip.PrefixFrom(a.Unmap(), length-96).String()
		}
		return p, quote(s) + " is an IPv4-mapped IPv6 address", fix
	}
	if !slash && !bare {
		return p, quote(s) + " has no prefix length", "write " + netip.PrefixFrom(a, a.BitLen()).String()
	}
	p = netip.PrefixFrom(a, length)
	if m := p.Masked(); m != p {
		return netip.Prefix{}, quote(s) + " has host bits", "write " + m.String()
	}
	return p, "", ""
}

// networks reads a list of prefixes. Of one family if single is set; then the family is returned, 0 when there is none.
func (v *violations) networks(field string, list []string, bare, single bool) ([]netip.Prefix, flowspec.Family) {
	if len(list) == 0 {
		return nil, 0
	}
	out := make([]netip.Prefix, 0, len(list))
	var family flowspec.Family
	for i, s := range list {
		p := v.network(item(field, i), s, bare)
		if p.IsValid() {
			switch f := familyOf(p.Addr()); {
			case family == 0:
				family = f
			case single && f != family:
				v.add(item(field, i), fmt.Sprintf("%s is %s, the ones before it are %s", p, f, family), "send one request per address family")
			}
		}
		out = append(out, p)
	}
	return out, family
}

func familyOf(a netip.Addr) flowspec.Family {
	if a.Is4() {
		return flowspec.IPv4
	}
	return flowspec.IPv6
}

// tooMany notes a list that is longer than it may be, and reports whether it is.
func (v *violations) tooMany(field string, n, most int) bool {
	if n > most {
		v.add(field, fmt.Sprintf("the list has %d entries", n), fmt.Sprintf("send at most %d", most))
	}
	return n > most
}

// ranges reads ranges of a 16-bit field.
func (v *violations) ranges(field, what string, list []*tidegatev1.Range) []flowspec.Range {
	if v.tooMany(field, len(list), policy.MaxRanges) {
		return nil
	}
	var out []flowspec.Range
	for i, r := range list {
		low, high := r.GetLow(), r.GetHigh()
		if high == 0 {
			high = low
		}
		switch {
		case low > math.MaxUint16:
			v.add(item(field, i)+".low", fmt.Sprintf("%s %d is above 65535", what, low), "write a number from 0 to 65535")
		case high > math.MaxUint16:
			v.add(item(field, i)+".high", fmt.Sprintf("%s %d is above 65535", what, high), "write a number from 0 to 65535")
		case high < low:
			v.add(item(field, i), fmt.Sprintf("the range %d-%d ends before it begins", low, high), fmt.Sprintf("write %d-%d", high, low))
		default:
			out = append(out, flowspec.Range{Lo: uint64(low), Hi: uint64(high)})
		}
	}
	return out
}

// duration reads a duration above zero; unset is 0 and fine unless it is required.
func (v *violations) duration(field string, d *durationpb.Duration, required bool) time.Duration {
	const example = "write a duration such as 30m or 2h"
	if d == nil {
		if required {
			v.add(field, "it is missing", example)
		}
		return 0
	}
	if err := d.CheckValid(); err != nil {
		v.add(field, "it is not a valid duration", example)
		return 0
	}
	switch t := d.AsDuration(); {
	case t < 0:
		v.add(field, t.String()+" is negative", example)
	case t == 0:
		v.add(field, "it is zero", example+", or leave it out for the default")
	default:
		return t
	}
	return 0
}

// plain is an error as a problem: without the words that say which of our functions failed, and without the name of the
// kind of error at its end, which the words before it say better.
func plain(err error) string {
	text := bare(err)
	_, rest, ok := strings.Cut(text, ": ")
	if !ok || !strings.HasPrefix(text, "cannot ") {
		return text
	}
	return rest
}

// bare is the text of an error without that of the innermost error that it wraps.
func bare(err error) string {
	inner := err
	for next := errors.Unwrap(inner); next != nil; next = errors.Unwrap(inner) {
		inner = next
	}
	return strings.TrimSuffix(err.Error(), ": "+inner.Error())
}

// tooLong notes a text of more octets than it may have, and reports whether it does.
func (v *violations) tooLong(field, s string, most int) bool {
	if len(s) > most {
		v.add(field, fmt.Sprintf("it has %d octets", len(s)), fmt.Sprintf("use at most %d", most))
	}
	return len(s) > most
}

// text checks a line for people.
func (v *violations) text(field, s string, most int, missing string) {
	switch {
	case strings.TrimSpace(s) == "":
		v.add(field, "it is missing", missing)
	case !utf8.ValidString(s):
		v.add(field, "it is not UTF-8", "send valid UTF-8")
	case utf8.RuneCountInString(s) > most:
		v.add(field, fmt.Sprintf("it has %d characters", utf8.RuneCountInString(s)), fmt.Sprintf("use at most %d", most))
	case strings.ContainsFunc(s, unicode.IsControl):
		v.add(field, "it has control characters", "write one line of plain text")
	}
}

// matchProblem is why the text of a match was refused, with the column in what the caller wrote, and how to mend it.
func matchProblem(err error, shift int) (problem, fix string) {
	const example = `write conditions such as "proto udp sport 53", without a destination`
	var syntax *flowspec.SyntaxError
	if !errors.As(err, &syntax) {
		return plain(err), example
	}
	problem = fmt.Sprintf("column %d: ", max(1, syntax.Column-shift))
	if syntax.Text != "" {
		problem += quote(syntax.Text) + ": "
	}
	return problem + bare(syntax.Err), cmp.Or(syntax.Fix, example)
}

// mitigationID reads an id such as M17.
func (v *violations) mitigationID(field, s string) policy.MitigationID {
	const example = "write an id as the list shows it, such as M17"
	if s == "" {
		v.add(field, "it is missing", example)
		return 0
	}
	digits, ok := strings.CutPrefix(s, "M")
	n, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || n == 0 || strconv.FormatUint(n, 10) != digits {
		v.add(field, quote(s)+" is not the id of a mitigation", example)
		return 0
	}
	return policy.MitigationID(n)
}

func formatID(id policy.MitigationID) string {
	if id == 0 {
		return ""
	}
	return "M" + strconv.FormatUint(uint64(id), 10)
}

// fromPolicy translates violations that policy found.
func fromPolicy(list []policy.Violation) []*tidegatev1.FieldViolation {
	var out []*tidegatev1.FieldViolation
	for _, p := range list {
		out = append(out, &tidegatev1.FieldViolation{Document: refText(p.Document), Field: fieldName(p), Problem: p.Problem, Fix: p.Fix})
	}
	return out
}

func refText(ref policy.DocumentRef) string {
	if ref == (policy.DocumentRef{}) {
		return ""
	}
	return string(ref.Kind) + "/" + ref.Name
}

// fieldName is the path of a field in the proto's names, which are the keys of the YAML form. They are policy's too, but
// for ProtectedBlock.Kind: it is called purpose there, because kind selects the document.
func fieldName(p policy.Violation) string {
	if p.Document.Kind == policy.KindProtectedBlock && p.Field == "kind" {
		return "purpose"
	}
	return p.Field
}
