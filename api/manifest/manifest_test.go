package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

const inventory = `# the campus
kind: Customer
id: uni-a
name: University A
official: [203.0.113.0/24, 2001:db8:a::/48]
links:
  - {prefix: 203.0.113.4/30, pe: pe1, interface: xe-0/0/1, block: links-1}
  - prefix: 2001:db8:f::/127
    pe: pe2
    interface: "1/1/1"
contacts: [noc@uni-a.example]
max_mitigations: 20
---
kind: ProtectedBlock
name: links-1
purpose: link-block
prefixes:
  - 198.51.100.0/24
---
kind: Router
name: edge1
address: 192.0.2.1
asn: 65001
group: transit
families: [ipv4, ipv6]
validation: ibgp-9117
max_prefix: 3000
ttl_security: true
---
kind: Policy
name: dns
priority: -5
vectors: [dns_amplification]
action: {rate: 10Mbps}
lifetime: 1h30m
---
kind: Safeguards
name: default
widest_ipv4: 20
max_removed_links_percent: 2.5
max_lifetime: 24h
`

func wantInventory() []*tidegatev1.Document {
	return []*tidegatev1.Document{
		{Document: &tidegatev1.Document_Customer{Customer: &tidegatev1.Customer{
			Id: "uni-a", Name: "University A", Official: []string{"203.0.113.0/24", "2001:db8:a::/48"},
			Links: []*tidegatev1.Link{
				{Prefix: "203.0.113.4/30", Pe: "pe1", Interface: "xe-0/0/1", Block: "links-1"},
				{Prefix: "2001:db8:f::/127", Pe: "pe2", Interface: "1/1/1"},
			},
			Contacts: []string{"noc@uni-a.example"}, MaxMitigations: 20,
		}}},
		{Document: &tidegatev1.Document_ProtectedBlock{ProtectedBlock: &tidegatev1.ProtectedBlock{
			Name: "links-1", Purpose: "link-block", Prefixes: []string{"198.51.100.0/24"},
		}}},
		{Document: &tidegatev1.Document_Router{Router: &tidegatev1.Router{
			Name: "edge1", Address: "192.0.2.1", Asn: 65001, Group: "transit", Families: []string{"ipv4", "ipv6"},
			Validation: "ibgp-9117", MaxPrefix: 3000, TtlSecurity: true,
		}}},
		{Document: &tidegatev1.Document_Policy{Policy: &tidegatev1.Policy{
			Name: "dns", Priority: -5, Vectors: []string{"dns_amplification"}, Action: &tidegatev1.Action{Rate: "10Mbps"},
			Lifetime: durationpb.New(90 * time.Minute),
		}}},
		{Document: &tidegatev1.Document_Safeguards{Safeguards: &tidegatev1.Safeguards{
			Name: "default", WidestIpv4: proto.Uint32(20), MaxRemovedLinksPercent: proto.Float64(2.5), MaxLifetime: durationpb.New(24 * time.Hour),
		}}},
	}
}

func TestParse(t *testing.T) {
	docs, err := Parse("inv.yaml", []byte(inventory))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantInventory(), Protos(docs), protocmp.Transform()); diff != "" {
		t.Errorf("documents (-want +got):\n%s", diff)
	}
	var refs []string
	for _, d := range docs {
		refs = append(refs, fmt.Sprintf("%s at %s", d.Ref(), d.Pos))
	}
	want := []string{
		"Customer/uni-a at inv.yaml:2:1", "ProtectedBlock/links-1 at inv.yaml:14:1", "Router/edge1 at inv.yaml:20:1",
		"Policy/dns at inv.yaml:30:1", "Safeguards/default at inv.yaml:37:1",
	}
	if diff := cmp.Diff(want, refs); diff != "" {
		t.Errorf("references (-want +got):\n%s", diff)
	}
}

func TestRoundTrip(t *testing.T) {
	want := wantInventory()
	var first, second bytes.Buffer
	if err := Write(&first, want...); err != nil {
		t.Fatal(err)
	}
	docs, err := Parse("out.yaml", first.Bytes())
	if err != nil {
		t.Fatalf("cannot read what was written: %v\n%s", err, first.String())
	}
	if diff := cmp.Diff(want, Protos(docs), protocmp.Transform()); diff != "" {
		t.Errorf("parse(write(x)) is not x (-want +got):\n%s", diff)
	}
	if err := Write(&second, Protos(docs)...); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first.String(), second.String()); diff != "" {
		t.Errorf("write(parse(s)) is not s (-want +got):\n%s", diff)
	}
}

// Words that YAML would read as something other than text must come back as the text they were.
func TestRoundTripOfAwkwardText(t *testing.T) {
	for _, s := range []string{
		"yes", "no", "null", "~", "true", "010", "1e3", "0x10", "2024-01-01", "- x", "a: b", "#x", "", " lead", "trail ",
		"multi\nline", "tab\tin", "quote\"'", "<<", "*a", "&a", "!x", "12:30:00", "ünï", "...", "---", "\u2028", "emoji 🙂", "=",
	} {
		doc := &tidegatev1.Document{Document: &tidegatev1.Document_ProtectedBlock{ProtectedBlock: &tidegatev1.ProtectedBlock{
			Name: "b", Note: s, Prefixes: []string{s},
		}}}
		var b bytes.Buffer
		if err := Write(&b, doc); err != nil {
			t.Errorf("%q: %v", s, err)
			continue
		}
		docs, err := Parse("x", b.Bytes())
		if err != nil {
			t.Errorf("%q: cannot read %q: %v", s, b.String(), err)
			continue
		}
		if diff := cmp.Diff(doc, docs[0].Proto, protocmp.Transform()); diff != "" {
			t.Errorf("%q written as %q (-want +got):\n%s", s, b.String(), diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, row := range []struct {
		name, in string
		want     []string
	}{
		{"empty", "", []string{`f: there is no document in the file; begin one with kind: Customer, for example`}},
		{"comment only", "# nothing\n", []string{`f: there is no document in the file; begin one with kind: Customer, for example`}},
		{"separators only", "---\n---\n", []string{`f: there is no document in the file; begin one with kind: Customer, for example`}},
		{"no kind", "id: a\n", []string{`f:1:1: kind: it is missing; write kind: with one of Customer, ProtectedBlock, Router, Policy, Safeguards, Detector`}},
		{"unknown kind", "kind: Custmer\nid: a\n", []string{`f:1:7: kind: "Custmer" is not a kind of document; did you mean Customer?`}},
		{"unknown kind far away", "kind: Zebra\n", []string{`f:1:7: kind: "Zebra" is not a kind of document; known are Customer, Detector, Policy, ProtectedBlock, Router, Safeguards`}},
		{"unknown key", "kind: Customer\nid: a\noficial: [203.0.113.0/24]\n", []string{`f:3:1: oficial: there is no such key in Customer; did you mean official?`}},
		{"camel case", "kind: Customer\nid: a\nmaxMitigations: 3\n", []string{`f:3:1: maxMitigations: there is no such key in Customer; did you mean max_mitigations?`}},
		{
			"unknown key below", "kind: Customer\nid: a\nlinks:\n  - prefix: 203.0.113.4/30\n    ifname: x\n",
			[]string{`f:5:5: links[0].ifname: there is no such key in Link; known are block, interface, pe, prefix, state`},
		},
		{"duplicate key", "kind: Customer\nid: a\nid: b\n", []string{`f:3:1: id: the key stands twice, first in line 2; remove one of the two; a line of three hyphens separates documents`}},
		{"two kinds", "kind: Customer\nid: a\nkind: Router\n", []string{`f:3:1: kind: the key stands twice in the document; remove one of the two; a line of three hyphens separates documents`}},
		{
			"scalar for a list", "kind: Customer\nid: a\nofficial: 203.0.113.0/24\n",
			[]string{`f:3:11: official: a list is needed, this is the text "203.0.113.0/24"; write each entry in a line of its own after a hyphen, or all of them in [ ]`},
		},
		{"list for text", "kind: Customer\nid: [a]\n", []string{`f:2:5: id: one value is needed, this is a list`}},
		{"number for text", "kind: Customer\nid: 17\n", []string{`f:2:5: id: text is needed, this is the number 17; write it in quotes: "17"`}},
		{"text for a number", "kind: Router\nname: r\nasn: AS65001\n", []string{`f:3:6: asn: "AS65001" is not a whole number from 0 to 4294967295; write digits only, without quotes or a leading 0`}},
		{"quoted number", "kind: Router\nname: r\nasn: \"65001\"\n", []string{`f:3:6: asn: "65001" is not a whole number from 0 to 4294967295; write digits only, without quotes or a leading 0`}},
		{"octal", "kind: Router\nname: r\nport: 0179\n", []string{`f:3:7: port: "0179" is not a whole number from 0 to 4294967295; write digits only, without quotes or a leading 0`}},
		{"negative", "kind: Router\nname: r\nport: -1\n", []string{`f:3:7: port: "-1" is not a whole number from 0 to 4294967295; write digits only, without quotes or a leading 0`}},
		{"yes for true", "kind: Router\nname: r\nttl_security: yes\n", []string{`f:3:15: ttl_security: "yes" is not a truth value; write true or false`}},
		{"bare number as duration", "kind: Policy\nname: p\nlifetime: 60\n", []string{`f:3:11: lifetime: "60" is not a duration; write it with its unit, such as 90s, 5m or 1h30m`}},
		{"list as duration", "kind: Policy\nname: p\nlifetime: [1h]\n", []string{`f:3:11: lifetime: "" is not a duration; write it with its unit, such as 90s, 5m or 1h30m`}},
		{"infinite number", "kind: Safeguards\nname: default\nmax_removed_links_percent: .inf\n", []string{`f:3:28: max_removed_links_percent: ".inf" is not a number; write a number such as 2 or 2.5`}},
		{"no value", "kind: Customer\nid: a\nofficial:\n", []string{`f:3:10: official: it has no value; write a value or remove the key; is the file complete?`}},
		{"no value in a list", "kind: Customer\nid: a\nofficial:\n  - 203.0.113.0/24\n  -\n", []string{`f:5:4: official[1]: it has no value; write a value or remove the entry`}},
		{"truncated", "kind: Customer\nid: a\nofficial: [203.0.113.0/24,", []string{`f:4:1: this is not valid YAML: did not find expected node content; is the file complete?`}},
		{"truncated text", "kind: Customer\nid: a\nname: \"Univ", []string{`f:3:12: this is not valid YAML: found unexpected end of stream; is the file complete?`}},
		{"tab", "kind: Customer\n\tid: a\n", []string{`f:2:1: this is not valid YAML: found a tab character that violates indentation; is the file complete?`}},
		{"anchor", "kind: Customer\nid: &x a\n", []string{`f:2:5: id: anchors are not allowed; remove &x and write values out where they are needed`}},
		{
			"alias", "kind: Customer\nid: a\ncontacts: [&x a@b.example]\nofficial: [*x]\n",
			[]string{`f:3:12: contacts[0]: anchors are not allowed; remove &x and write values out where they are needed`, `f:4:12: official[0]: aliases are not allowed; write the value out`},
		},
		{"merge key", "kind: Customer\nid: a\n<<: {name: b}\n", []string{`f:3:1: <<: there is no such key in Customer; known are contacts, id, links, manual_vectors, max_mitigations, max_rules, mitigation, name, official, self_service, services, tags, within`}},
		{"tag", "kind: Customer\nid: !!binary YQ==\n", []string{`f:2:5: id: tags are not allowed; remove !!binary`}},
		{"list as document", "- kind: Customer\n", []string{`f:1:1: a document is made of keys and values, this is a list; begin it with kind: Customer, for example`}},
		{"text as document", "hello\n", []string{`f:1:1: a document is made of keys and values, this is the text "hello"; begin it with kind: Customer, for example`}},
		{"complex key", "kind: Customer\n? [a, b]\n: c\n", []string{`f:2:3: a key is a word, this is a list`}},
		{"empty mapping", "kind: Policy\nname: p\naction: {}\n", []string{`f:3:9: action: it is empty; write discard, rate, redirect, redirect_ip, copy, mark, rtbh, sample, continue, or remove the key`}},
		{"stands twice", "kind: Customer\nid: a\n---\nkind: Customer\nid: a\n", []string{`f:4:1: Customer/a stands twice, first at f:1:1; remove one of the two`}},
		{"several at once", "kind: Customer\nid: 1\nnaem: x\n---\nkind: Router\nport: x\n", []string{
			`f:2:5: id: text is needed, this is the number 1; write it in quotes: "1"`,
			`f:3:1: naem: there is no such key in Customer; did you mean name?`,
			`f:6:7: port: "x" is not a whole number from 0 to 4294967295; write digits only, without quotes or a leading 0`,
		}},
		{"not UTF-8", "kind: Customer\nid: \xff\n", []string{`f: the file is not UTF-8 text`}},
		{"10 MB", "kind: Customer\nid: a\nname: " + strings.Repeat("x", 10<<20), []string{`f: the file is longer than 8 MiB; apply it in several parts`}},
	} {
		t.Run(row.name, func(t *testing.T) {
			docs, err := Parse("f", []byte(row.in))
			var errs Errors
			if !errors.As(err, &errs) || docs != nil {
				t.Fatalf("Parse() = %v, %v; want errors", docs, err)
			}
			var got []string
			for _, e := range errs {
				got = append(got, e.Error())
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
		})
	}
}

// A billion laughs: no alias is ever followed, so the text costs what it is long.
func TestParseRefusesAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("kind: Customer\nid: a\nofficial:\n  - &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 30; i++ {
		fmt.Fprintf(&b, "  - &a%d [%s]\n", i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), ", "))
	}
	_, err := Parse("f", []byte(b.String()))
	if err == nil || !strings.Contains(err.Error(), "anchors are not allowed") {
		t.Errorf("Parse() = %v", err)
	}
}

func TestParseRefusesDepth(t *testing.T) {
	in := "kind: Customer\nid: a\nofficial: " + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	if _, err := Parse("f", []byte(in)); err == nil {
		t.Error("100,000 nested lists were accepted")
	}
}

func TestLocate(t *testing.T) {
	docs, err := Parse("inv.yaml", []byte(inventory))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, document, field, want string }{
		{"key", "Customer/uni-a", "official", "inv.yaml:5:1"},
		{"entry", "Customer/uni-a", "official[1]", "inv.yaml:5:28"},
		{"key of an entry", "Customer/uni-a", "links[1].prefix", "inv.yaml:8:5"},
		{"key that is not there", "Customer/uni-a", "links[1].block", "inv.yaml:8:5"},
		{"field that is not there", "Router/edge1", "multihop", "inv.yaml:20:1"},
		{"whole document", "Policy/dns", "", "inv.yaml:30:1"},
		{"nested", "Policy/dns", "action.rate", "inv.yaml:34:10"},
		{"not in the file", "Customer/other", "official", "Customer/other"},
	} {
		t.Run(row.name, func(t *testing.T) {
			e, ok := Locate(docs, &tidegatev1.FieldViolation{Document: row.document, Field: row.field, Problem: "p", Fix: "f"})
			if e.Pos.String() != row.want || ok != (row.document != "Customer/other") {
				t.Errorf("Locate() = %v, %v; want %v", e, ok, row.want)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Load(dir, nil); err == nil || !strings.Contains(err.Error(), "no file that ends in .yaml") {
		t.Errorf("Load(empty directory) = %v", err)
	}
	write("b.yaml", "kind: Customer\nid: b\n")
	write("sub/a.yml", "kind: Customer\nid: a\n")
	write("notes.txt", "not a document")
	docs, err := Load(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	var refs []string
	for _, d := range docs {
		refs = append(refs, d.Ref())
	}
	if diff := cmp.Diff([]string{"Customer/b", "Customer/a"}, refs); diff != "" {
		t.Errorf("documents (-want +got):\n%s", diff)
	}
	write("z.yaml", "kind: Customer\nid: a\n")
	if _, err := Load(dir, nil); err == nil || !strings.Contains(err.Error(), "z.yaml:1:1: Customer/a stands twice, first at "+filepath.Join(dir, "sub/a.yml")+":1:1") {
		t.Errorf("Load(twice) = %v", err)
	}
	write("z.yaml", "kind: Customer\nid: z\nname: "+strings.Repeat("x", 9<<20))
	if _, err := Load(dir, nil); err == nil || !strings.Contains(err.Error(), "8 MiB") {
		t.Errorf("Load(9 MiB) = %.200v", err)
	}
	if _, err := Load(filepath.Join(dir, "missing"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Load(missing) = %v", err)
	}
	docs, err = Load("-", strings.NewReader("kind: Customer\nid: in\n"))
	if err != nil || docs[0].Ref() != "Customer/in" {
		t.Errorf("Load(-) = %v, %v", docs, err)
	}
}

// The key kind selects the document, so no document may have a field of that name.
func TestNoFieldIsCalledKind(t *testing.T) {
	kinds := (&tidegatev1.Document{}).ProtoReflect().Descriptor().Oneofs().Get(0).Fields()
	for i := range kinds.Len() {
		if kinds.Get(i).Message().Fields().ByName(kindKey) != nil {
			t.Errorf("%s has a field %q", kinds.Get(i).Message().Name(), kindKey)
		}
	}
}

func TestPrint(t *testing.T) {
	for _, row := range []struct {
		name string
		in   proto.Message
		want string
	}{
		{"mitigation", &tidegatev1.Mitigation{
			Id: "M17", Targets: []string{"203.0.113.7/32"}, Action: &tidegatev1.Action{Discard: true}, Lifetime: durationpb.New(time.Hour),
			Created: timestamppb.New(time.Date(2026, 3, 1, 2, 3, 4, 0, time.UTC)),
		}, "id: M17\ntargets:\n- 203.0.113.7/32\naction:\n  discard: true\nrules: []\npieces: []\nexempt: []\nunprotected: []\nnotes: []\n" +
			"groups: []\nlifetime: 1h\ncreated: '2026-03-01T02:03:04Z'\ncauses: []\nrouters: []\noverridden: []\nladder: []\nhistory: []\nprices: []\nspared: []\nnear_misses: []\n"},
		{"enum", &tidegatev1.Verdict{Kind: tidegatev1.VerdictKind_VERDICT_KIND_MITIGATED}, "kind: mitigated\nviolations: []\n"},
		{"unknown enum", &tidegatev1.Verdict{Kind: 99}, "kind: '99'\nviolations: []\n"},
		{
			"document inside", &tidegatev1.GetDocumentResponse{Document: wantInventory()[1], Read: &tidegatev1.ReadInfo{Index: 7}},
			"document:\n  kind: ProtectedBlock\n  name: links-1\n  purpose: link-block\n  prefixes:\n  - 198.51.100.0/24\nread:\n  index: 7\n",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := Print(&b, row.in); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(row.want, b.String()); diff != "" {
				t.Errorf("Print (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(inventory))
	f.Add([]byte("kind: Customer\nid: a\nlinks: [{prefix: 1.2.3.4/30}]\n"))
	f.Add([]byte("kind: Policy\nname: p\naction: &x {rate: 1bps}\nlifetime: 1h\n---\n*x"))
	f.Add([]byte("? [a]\n: !!binary x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		docs, err := Parse("f", data)
		if err != nil {
			if docs != nil || err.Error() == "" {
				t.Fatalf("Parse() = %v, %q", docs, err)
			}
			return
		}
		var b bytes.Buffer
		if err := Write(&b, Protos(docs)...); err != nil {
			t.Fatalf("cannot write what was read: %v", err)
		}
		again, err := Parse("f", b.Bytes())
		if err != nil {
			t.Fatalf("cannot read what was written: %v\n%s", err, b.String())
		}
		if diff := cmp.Diff(Protos(docs), Protos(again), protocmp.Transform()); diff != "" {
			t.Fatalf("parse(write(x)) is not x (-want +got):\n%s\n%s", diff, b.String())
		}
	})
}

// JSON says what Print says.
func TestJSON(t *testing.T) {
	got, err := JSON(&tidegatev1.ListResponse{
		Mitigations: []*tidegatev1.Mitigation{{
			Id: "M17", Rules: []string{`dst 203.0.113.7/32 => "x"`}, Lifetime: durationpb.New(90 * time.Second), Rounded: true, Changed: 1 << 60,
		}},
		Read: &tidegatev1.ReadInfo{Index: 7},
	})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, got); err != nil {
		t.Fatal(err)
	}
	want := `{"mitigations":[{"id":"M17","targets":[],"rules":["dst 203.0.113.7/32 => \"x\""],"pieces":[],"exempt":[],"unprotected":[],` +
		`"rounded":true,"notes":[],"groups":[],"lifetime":"1m30s","causes":[],"changed":1152921504606846976,"routers":[],"overridden":[],"ladder":[],"history":[],"prices":[],"spared":[],"near_misses":[]}],` +
		`"read":{"index":7}}`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}

// Actions stand in a file as an engineer would write them: a DSCP and a route target need no quotes.
func TestParseActions(t *testing.T) {
	for _, row := range []struct {
		in   string
		want *tidegatev1.Action
	}{
		{"{rate: 5kpps, sample: true}", &tidegatev1.Action{Rate: "5kpps", Sample: true}},
		{"{redirect: 65001:666}", &tidegatev1.Action{Redirect: "65001:666"}},
		{"{redirect: 65001:59}", &tidegatev1.Action{Redirect: "65001:59"}}, // sixty to the minute in YAML 1.1
		{"{redirect: 192.0.2.1:666}", &tidegatev1.Action{Redirect: "192.0.2.1:666"}},
		{`{redirect: "[2001:db8::1]:666"}`, &tidegatev1.Action{Redirect: "[2001:db8::1]:666"}},
		{"{redirect_ip: 2001:db8::1, copy: true}", &tidegatev1.Action{RedirectIp: "2001:db8::1", Copy: true}},
		{"{mark: 46}", &tidegatev1.Action{Mark: "46"}},
		{"{mark: 0, continue: true}", &tidegatev1.Action{Mark: "0", Continue: true}},
		{"{mark: af31}", &tidegatev1.Action{Mark: "af31"}},
		{"{mark: '8'}", &tidegatev1.Action{Mark: "8"}},
		{"{rtbh: true}", &tidegatev1.Action{Rtbh: true}},
	} {
		docs, err := Parse("f", []byte("kind: Policy\nname: p\naction: "+row.in+"\n"))
		if err != nil {
			t.Errorf("%s: %v", row.in, err)
			continue
		}
		want := []*tidegatev1.Document{{Document: &tidegatev1.Document_Policy{Policy: &tidegatev1.Policy{Name: "p", Action: row.want}}}}
		if diff := cmp.Diff(want, Protos(docs), protocmp.Transform()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", row.in, diff)
		}
		var b bytes.Buffer
		if err := Write(&b, want...); err != nil {
			t.Fatal(err)
		}
		if again, err := Parse("f", b.Bytes()); err != nil || !proto.Equal(Protos(again)[0], want[0]) {
			t.Errorf("%s: written as %s, read as %v, %v", row.in, b.String(), again, err)
		}
	}
	for in, want := range map[string]string{
		"{mark: 4.6}":   "f:3:16: action.mark: text is needed",
		"{rate: 10}":    "f:3:16: action.rate: text is needed",
		"{rtbh: 'yes'}": `f:3:16: action.rtbh: "yes" is not a truth value`,
	} {
		if _, err := Parse("f", []byte("kind: Policy\nname: p\naction: "+in+"\n")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
}
