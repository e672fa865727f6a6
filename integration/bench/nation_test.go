package bench_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

// The size that the design is made for: a national network.
const (
	customers = 2000
	links     = 5000
	blocks    = 22
)

// benchVector gets one rule for each address, benchUnheard is taken by no policy.
const (
	benchVector  = policy.VectorUDPFlood
	benchUnheard = policy.VectorGREFlood
)

func prefix(format string, args ...any) netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf(format, args...))
}

// nation is the inventory of that size, without routers: customers with a /22 each and two or three links.
func nation() []policy.Document {
	docs := []policy.Document{
		&policy.Policy{Name: "floods", Vectors: []policy.Vector{benchVector}, Action: policy.Action{Kind: policy.Discard}, Lifetime: time.Hour},
		&policy.Safeguards{
			Name: "default", WidestIPv4: 20, WidestIPv6: 40, MaxPieces: 32, MaxMitigations: 50_000, DefaultLifetime: time.Hour,
			MaxLifetime: 24 * time.Hour, MaxRemovedLinksPercent: 2,
		},
	}
	for i := range blocks {
		docs = append(docs, &policy.ProtectedBlock{
			Name: fmt.Sprintf("links-%d", i), Kind: policy.BlockLinks, Prefixes: []netip.Prefix{prefix("100.%d.0.0/20", 64+i)},
		})
	}
	link := 0
	for i := range customers {
		c := &policy.Customer{
			ID: policy.CustomerID(fmt.Sprintf("c%04d", i)), Name: fmt.Sprintf("Customer %d", i),
			Official: []netip.Prefix{prefix("20.%d.%d.0/22", i/64, i%64*4)}, Contacts: []string{fmt.Sprintf("noc@c%04d.example", i)},
		}
		for range links/customers + i%2 {
			b, at := link%blocks, link/blocks*4
			c.Links = append(c.Links, policy.Link{
				Prefix: prefix("100.%d.%d.%d/30", 64+b, at/256, at%256), PE: fmt.Sprintf("pe%d", link%50),
				Interface: fmt.Sprintf("xe-0/0/%d", link), Block: fmt.Sprintf("links-%d", b), State: policy.LinkInUse,
			})
			link++
		}
		docs = append(docs, c)
	}
	return docs
}

// target is an address of a customer: number i of round n has an address of its own for n from 0 to 1000.
func target(i, n int) netip.Prefix {
	return prefix("20.%d.%d.%d/32", i/64, i%64*4+(n+1)/256, (n+1)%256)
}

// yamlOf writes the inventory as an operator would.
func yamlOf(docs []policy.Document) string {
	var b strings.Builder
	for _, d := range docs {
		if b.Len() > 0 {
			b.WriteString("---\n")
		}
		switch d := d.(type) {
		case *policy.Policy:
			fmt.Fprintf(&b, "kind: Policy\nname: %s\nvectors: [%s]\naction: {discard: true}\nlifetime: %s\n", d.Name, d.Vectors[0], d.Lifetime)
		case *policy.Safeguards:
			fmt.Fprintf(&b, "kind: Safeguards\nname: %s\nmax_mitigations: %d\noperator_share: 0\nsource_share: 0\nmax_starts_per_minute: 0\n"+
				"max_starts_per_minute_per_source: 0\nmax_rules_per_minute: 0\n", d.Name, d.MaxMitigations) // one detector, as fast as it can
		case *policy.ProtectedBlock:
			fmt.Fprintf(&b, "kind: ProtectedBlock\nname: %s\npurpose: %s\nprefixes: [%s]\n", d.Name, d.Kind, d.Prefixes[0])
		case *policy.Customer:
			fmt.Fprintf(&b, "kind: Customer\nid: %s\nname: %s\nofficial: [%s]\ncontacts: [%s]\nlinks:\n", d.ID, d.Name, d.Official[0], d.Contacts[0])
			for _, l := range d.Links {
				fmt.Fprintf(&b, "  - {prefix: %s, pe: %s, interface: %s, block: %s, state: %s}\n", l.Prefix, l.PE, l.Interface, l.Block, l.State)
			}
		}
	}
	return b.String()
}

// routerYAML is the document of one router on the loopback interface.
func routerYAML(at netip.AddrPort) string {
	return fmt.Sprintf("kind: Router\nname: edge1\naddress: %s\nport: %d\nasn: %d\ngroup: edge\nfamilies: [ipv4]\n"+
		"validation: disabled-by-import-policy\nprofile: gobgp\nmax_prefix: 50000\n", at.Addr(), at.Port(), routerASN)
}

// floodRule is the rule that a flood on an address becomes.
func floodRule(b testing.TB, to netip.Prefix) flowspec.Rule {
	b.Helper()
	m, err := flowspec.NewMatch(flowspec.IPv4, flowspec.Destination(to), flowspec.Proto(17))
	if err != nil {
		b.Fatal(err)
	}
	return flowspec.Rule{Match: m, Actions: []flowspec.Action{flowspec.Discard()}}
}

// world is a State of the nation, with entries applied one by one.
type world struct {
	b     *testing.B
	state *policy.State
	now   time.Time
}

func newWorld(b *testing.B) *world {
	b.Helper()
	w := &world{b: b, state: policy.NewState(), now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}
	w.must(&policy.ApplyRequest{Documents: append(nation(), edge())})
	return w
}

// edge is a router for those who need one and speak to none.
func edge() policy.Document {
	return &policy.Router{
		Name: "edge1", Address: netip.MustParseAddr("127.0.0.1"), Port: 1790, ASN: routerASN, Group: "edge",
		Families: []flowspec.Family{flowspec.IPv4}, Validation: policy.ValidationDisabled, Profile: "gobgp", MaxPrefix: 50_000,
	}
}

// must decides a request and applies what it changes.
func (w *world) must(r policy.Request) {
	w.b.Helper()
	e := w.entry()
	d := policy.Decide(w.state, r, e)
	if d.Verdict.Kind != policy.Mitigated {
		w.b.Fatalf("verdict %d: %s", d.Verdict.Kind, d.Verdict.Reason.Text)
	}
	next, err := w.state.Apply(e, d.Changes)
	if err != nil {
		w.b.Fatal(err)
	}
	w.state = next
}

func (w *world) entry() policy.Entry {
	return policy.Entry{Index: w.state.Index() + 1, At: w.now, By: "member/n1"}
}

// flood is a signal about one address.
func flood(id string, to netip.Prefix) policy.Signal {
	return policy.Signal{
		Source: "flowmon", AttackID: id, Seq: 1, Kind: policy.SignalStart, Vector: benchVector, Targets: []netip.Prefix{to},
		BitsPerSecond: 1e9, PacketsPerSecond: 1e5, Confidence: 0.9,
	}
}

// TestNation: the benchmark's inventory has the size that it claims.
func TestNation(t *testing.T) {
	var nc, nl, nb int
	for _, d := range nation() {
		switch d := d.(type) {
		case *policy.Customer:
			nc++
			nl += len(d.Links)
		case *policy.ProtectedBlock:
			nb++
		}
	}
	if nc != customers || nl != links || nb != blocks {
		t.Errorf("%d customers, %d links, %d blocks, want %d, %d, %d", nc, nl, nb, customers, links, blocks)
	}
}
