package render_test

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/render"
)

var update = flag.Bool("update", false, "write the golden files")

// options has the discard next hops of the tests' router.
var options = render.Options{DiscardIPv4: netip.MustParseAddr("192.0.2.66"), DiscardIPv6: netip.MustParseAddr("2001:db8:66::1")}

// readItems reads a list such as testdata/rules.txt.
func readItems(t testing.TB, name string) []render.Item {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var out []render.Item
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, item(t, line))
		}
	}
	return out
}

// item makes an item of a rule's text, or of an RTBH route's.
func item(t testing.TB, text string) render.Item {
	t.Helper()
	if match, ok := strings.CutPrefix(text, "rtbh "); ok {
		m, err := flowspec.ParseMatch(match)
		if err != nil {
			t.Fatal(err)
		}
		return render.Item{Rule: flowspec.Rule{Match: m}, RTBH: true}
	}
	r, err := flowspec.ParseRule(text)
	if err != nil {
		t.Fatal(err)
	}
	return render.Item{Rule: r}
}

// golden compares text with the golden file of the test.
func golden(t *testing.T, text []byte) {
	t.Helper()
	name := filepath.Join("testdata", strings.ReplaceAll(t.Name(), "/", "_")+".golden")
	if *update {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(text)); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

func TestRules(t *testing.T) {
	items := readItems(t, filepath.Join("testdata", "rules.txt"))
	for _, f := range render.Formats() {
		t.Run(f.String(), func(t *testing.T) {
			text, problems := render.Rules(f, items, options)
			golden(t, text)
			if n := bytes.Count(text, []byte("NOT RENDERED")); n != 1 {
				t.Errorf("the text speaks %d times of what is not rendered, want once", n)
			}
			for _, p := range problems {
				if !bytes.Contains(text, []byte(p.String())) {
					t.Errorf("the text does not say: %s", p)
				}
			}
			// The order that the items come in must not matter.
			other := slices.Clone(items)
			slices.Reverse(other)
			again, _ := render.Rules(f, other, options)
			if d := cmp.Diff(string(text), string(again)); d != "" {
				t.Errorf("of the same items in another order (-want +got):\n%s", d)
			}
		})
	}
}

func TestUndo(t *testing.T) {
	items := readItems(t, filepath.Join("testdata", "rules.txt"))
	for _, f := range render.Formats() {
		t.Run(f.String(), func(t *testing.T) {
			text, problems := render.Undo(f, items, options)
			golden(t, text)
			if len(problems) > 0 {
				t.Errorf("problems %v, want none: what is not there needs no undoing", problems)
			}
		})
	}
}

func TestParseFormat(t *testing.T) {
	for _, f := range render.Formats() {
		if got, err := render.ParseFormat(f.String()); got != f || err != nil {
			t.Errorf("ParseFormat(%q) = %v, %v", f, got, err)
		}
	}
	const want = `cannot render as "cisco": known formats are junos, iosxr, bird, exabgp, gobgp`
	if _, err := render.ParseFormat("cisco"); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestProblems: what cannot be rendered says why, and is nowhere in the configuration.
func TestProblems(t *testing.T) {
	rule := item(t, "dst 203.0.113.1/32 => discard")
	wide := item(t, "rtbh dst 203.0.113.9/32")
	wide.Rule.Actions = rule.Rule.Actions
	broken := rule
	broken.Rule.Match = flowspec.Match{}
	for _, c := range []struct {
		name    string
		format  render.Format
		items   []render.Item
		options render.Options
		want    []string
	}{
		{"nothing", render.Junos, nil, options, nil},
		{"the same match twice", render.Junos, []render.Item{rule, item(t, "dst 203.0.113.1/32 => rate 1Mbps")}, options, []string{
			"dst 203.0.113.1/32 => rate 1Mbps: another rule of this list has the same match",
		}},
		{"the same packets in other words", render.Junos, []render.Item{
			item(t, "dst 203.0.113.1/32 dport 80-90 => discard"), item(t, "dst 203.0.113.1/32 dport >79&<91 => rate 1Mbps"),
		}, options, []string{
			"dst 203.0.113.1/32 dport 80-90 => discard: another rule of this list matches the same packets and reads the same in this format",
		}},
		{"an order that the router could change", render.Junos, []render.Item{
			item(t, "dst 203.0.113.1/32 dport 256|300 => rate 1Mbps"), item(t, "dst 203.0.113.1/32 dport 80-300 => discard"),
		}, options, []string{
			`dst 203.0.113.1/32 dport 80-300 => discard: the router could apply it before "dst 203.0.113.1/32 dport 256|300 => rate 1Mbps", by how it encodes numbers, and that would change what happens`,
		}},
		{"an order that does not matter: equal actions", render.Junos, []render.Item{
			item(t, "dst 203.0.113.1/32 dport 256|300 => discard"), item(t, "dst 203.0.113.1/32 dport 80-300 => discard"),
		}, options, nil},
		{"an order that does not matter: other packets", render.IOSXR, []render.Item{
			item(t, "dst 203.0.113.1/32 dport 256|300 => rate 1Mbps"), item(t, "dst 203.0.113.1/32 dport 80-255 => discard"),
		}, options, nil},
		{"an order that BIRD passes on as it is", render.BIRD, []render.Item{
			item(t, "dst 203.0.113.1/32 dport 256|300 => rate 1Mbps"), item(t, "dst 203.0.113.1/32 dport 80-300 => discard"),
		}, options, nil},
		{"an RTBH route and a rule of the same prefix", render.Junos, []render.Item{rule, item(t, "rtbh dst 203.0.113.1/32")}, options, nil},
		{"an RTBH route with an action", render.Junos, []render.Item{wide}, options, []string{
			"rtbh dst 203.0.113.9/32: an RTBH route has a destination, and neither another condition nor an action",
		}},
		{"no discard next hop", render.BIRD, []render.Item{item(t, "rtbh dst 203.0.113.9/32")}, render.Options{}, []string{
			"rtbh dst 203.0.113.9/32: no discard next hop for IPv4 is known: name the router, whose document has it",
		}},
		{"a discard next hop of the other family", render.GoBGP, []render.Item{item(t, "rtbh dst 2001:db8::9/128")}, render.Options{DiscardIPv6: options.DiscardIPv4}, []string{
			"rtbh dst 2001:db8::9/128: no discard next hop for IPv6 is known: name the router, whose document has it",
		}},
		{"no value at all", render.Junos, []render.Item{item(t, "dst 203.0.113.1/32 dport >5&<3 => discard")}, options, []string{
			"dst 203.0.113.1/32 dport >5&<3 => discard: no destination port satisfies the condition",
		}},
		{"a four-octet AS below 65536", render.IOSXR, []render.Item{item(t, "dst 203.0.113.1/32 => redirect 65001:666")}, options, nil},
		{"an invalid rule", render.ExaBGP, []render.Item{broken}, options, []string{"family 0 => discard: cannot use match of family 0: wrong address family"}},
		{"an unknown format", render.Format(9), []render.Item{rule}, options, []string{"dst 203.0.113.1/32 => discard: format 9 is not known"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, problems := render.Rules(c.format, c.items, c.options)
			var got []string
			for _, p := range problems {
				got = append(got, p.String())
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("problems (-want +got):\n%s", d)
			}
		})
	}
}

// TestNotes: whatever a note holds, it stays in its comment.
func TestNotes(t *testing.T) {
	i := item(t, "dst 203.0.113.1/32 => discard")
	i.Note = "m-1\nset system root-authentication\r\n! \x00\x1b[2J é */ ' ; $(reboot) `reboot` " + strings.Repeat("long", 200)
	for _, f := range render.Formats() {
		text, _ := render.Rules(f, []render.Item{i}, options)
		plain := i
		plain.Note = ""
		want, _ := render.Rules(f, []render.Item{plain}, options)
		if d := cmp.Diff(commands(want), commands(text)); d != "" {
			t.Errorf("%s with a note (-want +got):\n%s", f, d)
		}
		if n := bytes.Count(text, []byte("\n")) - bytes.Count(want, []byte("\n")); n != 0 {
			t.Errorf("%s: the note makes %d more lines", f, n)
		}
		for _, b := range text {
			if b != '\n' && (b < ' ' || b > '~') {
				t.Fatalf("%s: octet 0x%02x in the text", f, b)
			}
		}
	}
}

// commands are the lines that are no comment.
func commands(text []byte) []string {
	var out []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "!") {
			out = append(out, line)
		}
	}
	return out
}

// FuzzRules renders what the fuzzer makes of a rule's octets: nothing panics, every item is rendered or a problem, and
// no text has an octet that could end a comment or a quotation.
func FuzzRules(f *testing.F) {
	for _, i := range readItems(f, filepath.Join("testdata", "rules.txt")) {
		octets, err := flowspec.AppendComponents(nil, i.Rule.Match)
		if err != nil {
			f.Fatal(err)
		}
		var communities []byte
		for _, a := range i.Rule.Actions {
			if a.Attribute() != flowspec.AttrExtendedCommunities {
				continue
			}
			if communities, err = flowspec.AppendCommunity(communities, a); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(i.Rule.Match.Family == flowspec.IPv6, i.RTBH, octets, communities, "note")
	}
	f.Fuzz(func(t *testing.T, six, rtbh bool, octets, communities []byte, note string) {
		family := flowspec.IPv4
		if six {
			family = flowspec.IPv6
		}
		m, err := flowspec.DecodeComponents(family, octets)
		if err != nil {
			return
		}
		i := render.Item{Rule: flowspec.Rule{Match: m}, RTBH: rtbh, Note: note}
		for part := range slices.Chunk(communities, 8) {
			if len(part) < 8 {
				break
			}
			if a, ok, err := flowspec.DecodeCommunity([8]byte(part)); ok && err == nil {
				i.Rule.Actions = append(i.Rule.Actions, a)
			}
		}
		for _, format := range render.Formats() {
			checkText(t, format, i)
		}
	})
}

func checkText(t *testing.T, f render.Format, i render.Item) {
	t.Helper()
	empty, _ := render.Rules(f, nil, options)
	text, problems := render.Rules(f, []render.Item{i}, options)
	if len(problems) == 0 && len(commands(text)) <= len(commands(empty)) {
		t.Errorf("%s: %s is neither rendered nor a problem:\n%s", f, i.Rule, text)
	}
	if len(problems) > 0 && !slices.Equal(commands(text), commands(empty)) {
		t.Errorf("%s: %s is a problem and rendered:\n%s", f, i.Rule, text)
	}
	undo, _ := render.Undo(f, []render.Item{i}, options)
	for _, line := range append(commands(text), commands(undo)...) {
		if n := strings.Count(line, "'"); n%2 != 0 {
			t.Errorf("%s: a quotation does not end: %s", f, line)
		}
		if strings.ContainsAny(line, "`$\\\r") || strings.Contains(strings.TrimSpace(line), "#") {
			t.Errorf("%s: an octet that a shell or a parser would act on: %s", f, line)
		}
	}
}
