package policy

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// checker collects what is wrong with one document.
type checker struct {
	ref   DocumentRef
	found []Violation
}

func (c *checker) add(field, problem, fix string) {
	c.found = append(c.found, Violation{Document: c.ref, Field: field, Problem: problem, Fix: fix})
}

func item(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }

// isName reports whether s can name a document, a group or a secret: it begins with a letter or digit and goes on
// with those, dots, dashes and underscores, in ASCII, so that it can stand in a URI, a file name and a command line.
func isName(s string) bool {
	if s == "" || len(s) > maxNameLength {
		return false
	}
	for i := range len(s) {
		switch b := s[i]; {
		case 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9':
		case i > 0 && (b == '.' || b == '-' || b == '_'):
		default:
			return false
		}
	}
	return true
}

func (c *checker) name(field, s string) {
	switch {
	case s == "":
		c.add(field, "it is missing", "write a name of letters, digits, dots, dashes and underscores")
	case !isName(s):
		c.add(field, fmt.Sprintf("%q is not a name", clip(s)),
			fmt.Sprintf("write at most %d letters, digits, dots, dashes and underscores, a letter or digit first", maxNameLength))
	}
}

func (c *checker) optionalName(field, s string) {
	if s != "" {
		c.name(field, s)
	}
}

// names checks a list of names, none twice.
func names[S ~string](c *checker, field string, list []S) {
	c.count(field, len(list), maxEntries)
	seen := make(map[S]bool, len(list))
	for i, s := range list {
		c.name(item(field, i), string(s))
		if seen[s] {
			c.add(item(field, i), fmt.Sprintf("%q is listed twice", clip(string(s))), "remove one of the two")
		}
		seen[s] = true
	}
}

// text checks a text for people: one line that can be printed.
func (c *checker) text(field, s string) {
	switch {
	case !utf8.ValidString(s):
		c.add(field, "the text is not UTF-8", "save the file as UTF-8")
	case strings.ContainsFunc(s, unicode.IsControl):
		c.add(field, fmt.Sprintf("%q has control characters", clip(s)), "write one line of plain text")
	case len(s) > maxTextLength:
		c.add(field, fmt.Sprintf("the text has %d octets, at most %d", len(s), maxTextLength), "shorten it")
	}
}

// contact checks a mail address or a telephone number, roughly: enough to notice that it is neither.
func (c *checker) contact(field, s string) {
	before := len(c.found)
	if c.text(field, s); len(c.found) > before {
		return
	}
	user, host, mail := strings.Cut(s, "@")
	if mail && user != "" && host != "" && !strings.ContainsAny(s, " ,;<>") && !strings.Contains(host, "@") {
		return
	}
	digits := 0
	for _, r := range s {
		switch {
		case '0' <= r && r <= '9':
			digits++
		case !strings.ContainsRune("+-()./ ", r):
			digits = -maxTextLength
		}
	}
	if digits < 3 {
		c.add(field, fmt.Sprintf("%q is neither a mail address nor a telephone number", clip(s)), "write noc@example.net or +49 30 1234567")
	}
}

func (c *checker) count(field string, n, limit int) {
	if n > limit {
		c.add(field, fmt.Sprintf("there are %d, at most %d", n, limit), "split the document, or remove some")
	}
}

func (c *checker) between(field string, v, lo, hi int) {
	if v < lo || v > hi {
		c.add(field, fmt.Sprintf("%d is not between %d and %d", v, lo, hi), fmt.Sprintf("write a number from %d to %d", lo, hi))
	}
}

func (c *checker) lifetime(field string, d time.Duration) {
	if d < shortestLife || d > longestLifetime {
		c.add(field, fmt.Sprintf("%s is not between %s and %s", span(d), span(shortestLife), span(longestLifetime)), "write a lifetime such as 1h")
	}
}

// prefixes checks a list of prefixes, none twice.
func (c *checker) prefixes(field string, list []netip.Prefix, widest breadth) {
	c.count(field, len(list), maxPrefixes)
	seen := make(map[netip.Prefix]int, len(list))
	for i, p := range list {
		at := item(field, i)
		if !c.prefix(at, p) {
			continue
		}
		c.breadth(at, p, widest)
		if j, twice := seen[p]; twice {
			c.add(at, fmt.Sprintf("%s is listed twice, also as %s", p, item(field, j)), "remove one of the two")
			continue
		}
		seen[p] = i
	}
}

// prefix checks that p is a prefix in canonical form.
func (c *checker) prefix(field string, p netip.Prefix) bool {
	switch {
	case !p.IsValid():
		c.add(field, "it is missing or is no prefix", "write for example 203.0.113.0/24 or 2001:db8::/48")
	case p.Addr().Is4In6():
		fix := "write it as an IPv4 prefix"
		if q, ok := canonical(p); ok && q.Addr().Is4() {
			fix = "write " + q.String()
		}
		c.add(field, fmt.Sprintf("%s is an IPv4-mapped IPv6 prefix", p), fix)
	case p != p.Masked():
		c.add(field, fmt.Sprintf("%s has host bits", p), "write "+p.Masked().String())
	default:
		return true
	}
	return false
}

func (c *checker) breadth(field string, p netip.Prefix, widest breadth) {
	limit := widest.v6
	if p.Addr().Is4() {
		limit = widest.v4
	}
	if p.Bits() < limit {
		c.add(field, fmt.Sprintf("%s is wider than /%d", p, limit), "check the prefix length, or list its parts")
	}
}

func (c *checker) notBuiltIn(field string, p netip.Prefix) {
	for _, b := range builtInProtected() {
		if p.IsValid() && p.Overlaps(b.Prefix) {
			c.add(field, fmt.Sprintf("%s overlaps %s, which is %s space", p, b.Prefix, b.Name), "list the customer's own prefixes only")
			return
		}
	}
}

// overlaps yields the pairs of elements that overlap, the later element first, each later element once. Prefixes that
// are not canonical are left out: they have a violation of their own.
func overlaps(list []netip.Prefix) iter.Seq2[int, int] {
	order := make([]int, 0, len(list))
	for i, p := range list {
		if q, ok := canonical(p); ok && q == p {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(i, j int) int { return list[i].Compare(list[j]) })
	return func(yield func(int, int) bool) {
		// In address order, wider first, a prefix overlaps an earlier one only if the widest run before it holds it.
		for k, run := 1, 0; k < len(order); k++ {
			i, j := order[run], order[k]
			if !list[i].Overlaps(list[j]) {
				run = k
				continue
			}
			if !yield(max(i, j), min(i, j)) {
				return
			}
		}
	}
}

// clip shortens what somebody wrote, so that a message stays a message.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
