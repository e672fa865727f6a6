package integration_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/render"
	"github.com/tidegate/tidegate/integration/lab"
)

// The speaker that loads a rendering, and the router that hears it.
var (
	renderSpeaker = netip.MustParseAddr("127.0.0.1")
	renderWitness = netip.MustParseAddrPort("127.0.0.15:1790")
	renderOptions = render.Options{DiscardIPv4: netip.MustParseAddr("192.0.2.66"), DiscardIPv6: netip.MustParseAddr("2001:db8:66::1")}
)

const (
	renderASN = 65001
	// The session is eBGP: NO_EXPORT must not keep the rules from the routers.
	renderWitnessASN = 65050
	noExport         = 0xffffff01 // RFC 1997
	blackhole        = 0xffff029a // RFC 7999
)

// renderCases are the formats whose daemons run here, and how a rendering gets into them.
var renderCases = []struct {
	format render.Format
	load   func(t *testing.T, l *lab.Lab, config string) func(undo string)
	random int // rules made at random, beside those of the golden files; gobgp takes a program start for each
}{
	{render.BIRD, loadBIRD, 400},
	{render.ExaBGP, loadExaBGP, 400},
	{render.GoBGP, loadGoBGP, 40},
}

// TestRenderedConfigurationsLoad loads what is rendered for BIRD, ExaBGP and GoBGP into these daemons and compares what
// they announce, by its octets, with the rules that were rendered: match, actions and NO_EXPORT. Then it undoes it.
func TestRenderedConfigurationsLoad(t *testing.T) {
	lab.Require(t)
	t.Parallel()
	for _, c := range renderCases {
		t.Run(c.format.String(), func(t *testing.T) {
			t.Parallel()
			items := append(renderItems(t), randomItems(t, c.random)...)
			text, problems := render.Rules(c.format, items, renderOptions)
			want := renderedRules(c.format, items, problems)
			if len(want) < 40 {
				t.Fatalf("%d rules are rendered, too few to show anything", len(want))
			}
			l, witness := renderLab(t)
			undo := c.load(t, l, string(text))

			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			err := witness.WaitRoutes(ctx, func(table bgptest.Table) bool { return table.Len() >= len(want) })
			got := heardRules(t, witness.Table())
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("what the daemon announces of the rendered rules (-want +got):\n%s", d)
			}
			if err != nil {
				t.Fatalf("not all rules were announced: %v", err)
			}

			text, _ = render.Undo(c.format, items, renderOptions)
			undo(string(text))
			if err := witness.WaitRoutes(ctx, func(table bgptest.Table) bool { return table.Len() == 0 }); err != nil {
				t.Errorf("after the undo %d rules are left: %v", witness.Table().Len(), err)
			}
		})
	}
}

// renderItems are the rules of the renderer's golden files.
func renderItems(t *testing.T) []render.Item {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "bgp", "render", "testdata", "rules.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var out []render.Item
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		i := render.Item{Note: "announce flow route { }; `reboot` $(reboot)\n'"}
		var err error
		if match, ok := strings.CutPrefix(line, "rtbh "); ok {
			i.RTBH = true
			i.Rule.Match, err = flowspec.ParseMatch(match)
		} else {
			i.Rule, err = flowspec.ParseRule(line)
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, i)
	}
	return out
}

// randomItems makes n rules of random conditions and actions, each with a destination of its own.
func randomItems(t *testing.T, n int) []render.Item {
	t.Helper()
	r := rand.New(rand.NewPCG(3, 1))
	out := make([]render.Item, n)
	for i := range out {
		dst := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 32)
		family := flowspec.IPv4
		if r.IntN(2) == 0 {
			dst, family = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 14: byte(i >> 8), 15: byte(i)}), 128), flowspec.IPv6
		}
		components := []flowspec.Component{flowspec.Destination(dst)}
		for c := flowspec.IPProtocol; c.In(family); c++ {
			if r.IntN(3) == 0 {
				components = append(components, randomComponent(r, c))
			}
		}
		m, err := flowspec.NewMatch(family, components...)
		if err != nil {
			t.Fatal(err)
		}
		actions := []flowspec.Action{
			flowspec.Discard(), flowspec.RateLimit(flowspec.BytesPerSecond(1 + r.IntN(1e9))), flowspec.RatePackets(flowspec.PacketsPerSecond(1 + r.IntN(1e6))),
			flowspec.SampleAndContinue(), flowspec.Mark(uint8(r.IntN(64))),
			flowspec.Redirect(flowspec.RouteTarget{Form: flowspec.RTFormAS2, ASN: flowspec.ASN(r.IntN(1 << 16)), Local: r.Uint32()}),
		}
		rule, err := flowspec.NewRule(m, actions[r.IntN(len(actions))])
		if err != nil {
			t.Fatal(err)
		}
		out[i] = render.Item{Rule: rule}
	}
	return out
}

// randomComponent makes up to five pairs of any operators, values of all lengths among them.
func randomComponent(r *rand.Rand, c flowspec.ComponentType) flowspec.Component {
	most := map[flowspec.ComponentType]uint64{
		flowspec.IPProtocol: 0xff, flowspec.ICMPType: 0xff, flowspec.ICMPCode: 0xff, flowspec.TCPFlags: 0xff,
		flowspec.DSCP: 0x3f, flowspec.Fragment: 0x0f, flowspec.FlowLabel: 0xfffff,
	}[c]
	if most == 0 {
		most = 0xffff
	}
	out := flowspec.Component{Type: c}
	for i := range 1 + r.IntN(5) {
		op := flowspec.Op{Flags: flowspec.OpFlags(r.IntN(8)), Value: r.Uint64N(most+1) >> r.IntN(17)}
		if c == flowspec.TCPFlags || c == flowspec.Fragment {
			op.Flags = flowspec.OpFlags(r.IntN(4))
			if c == flowspec.Fragment {
				op.Value = 1 << (1 + r.IntN(3)) // a single bit, and none that IPv6 lacks
			}
			op.Value = max(op.Value, 2)
		}
		if i > 0 && r.IntN(2) == 0 {
			op.Flags |= flowspec.And
		}
		out.Ops = append(out.Ops, op)
	}
	return out
}

// renderedRules are the texts of the rules that are in the configuration, in the form in which all routers can be
// compared.
func renderedRules(f render.Format, items []render.Item, problems []render.Problem) []string {
	var out []string
	for _, i := range items {
		switch dst, _ := i.Rule.Match.Destination(); {
		case slices.ContainsFunc(problems, func(p render.Problem) bool { return p.Item.Rule.Equal(i.Rule) }):
		case i.RTBH && dst.Addr().Is4():
			out = append(out, fmt.Sprintf("rtbh %s over %s", dst, renderOptions.DiscardIPv4))
		case i.RTBH:
			out = append(out, fmt.Sprintf("rtbh %s over %s", dst, renderOptions.DiscardIPv6))
		default:
			r := lab.Plain(i.Rule)
			for n, a := range r.Actions {
				r.Actions[n].ASN = a.ASN & 0xffff // what the wire has room for
				if f == render.ExaBGP {
					r.Actions[n].ASN = 0 // informative; ExaBGP would give it to other rules too
				}
			}
			out = append(out, r.String())
		}
	}
	slices.Sort(out)
	return out
}

// heardRules are the texts of the rules in a table, read from the octets of their communities.
func heardRules(t *testing.T, table bgptest.Table) []string {
	t.Helper()
	var out []string
	for _, key := range table.Keys() {
		route, _ := table.Best(key)
		text := fmt.Sprintf("rtbh %s over %s", route.Prefix, route.NextHop)
		if route.Unicast {
			if !slices.Contains(route.Communities, uint32(blackhole)) {
				text += " without BLACKHOLE"
			}
		} else {
			text = heardRule(t, route)
		}
		if !slices.Contains(route.Communities, uint32(noExport)) {
			text += " without NO_EXPORT"
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

// heardRule is the text of a rule, with its actions read from the octets of its communities.
func heardRule(t *testing.T, route bgptest.Route) string {
	t.Helper()
	r := flowspec.Rule{Match: route.Rule.Match}
	add := func(a flowspec.Action, known bool, err error) {
		if !known || err != nil {
			t.Errorf("a community of %s is no action: %v", r.Match, err)
		}
		r.Actions = append(r.Actions, a)
	}
	for _, c := range route.Extended {
		add(flowspec.DecodeCommunity(c))
	}
	for _, c := range route.Extended6 {
		add(flowspec.DecodeCommunity6(c))
	}
	slices.SortFunc(r.Actions, func(a, b flowspec.Action) int { return int(a.Type) - int(b.Type) })
	return lab.Plain(r).String()
}

// renderLab is a namespace with a router that hears the speaker.
func renderLab(t *testing.T) (*lab.Lab, *bgptest.Router) {
	t.Helper()
	l, err := lab.New(lab.Config{ASN: renderASN, Neighbours: []netip.Addr{renderSpeaker}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			var b strings.Builder
			l.Logs(&b, 40)
			t.Log(b.String())
		}
		if err := l.Close(); err != nil {
			t.Errorf("cannot close the lab: %v", err)
		}
	})
	var witness *bgptest.Router
	families := []flowspec.Family{flowspec.IPv4, flowspec.IPv6}
	err = l.Namespace().Do(func() (err error) {
		witness, err = bgptest.NewRouter(bgptest.Config{Addr: renderWitness, ASN: renderWitnessASN, RouterID: renderWitness.Addr(), ExtendedMessages: true, Families: families, Unicast: families})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	runWitness(t, witness)
	return l, witness
}

func loadBIRD(t *testing.T, l *lab.Lab, config string) func(string) {
	t.Helper()
	socket := filepath.Join(l.Dir(), "bird.ctl")
	rules := writeIn(t, l, "tidegate.conf", config)
	main := writeIn(t, l, "bird.conf", fmt.Sprintf(`router id %s;
flow4 table flowtab4; flow6 table flowtab6; ipv4 table rtbhtab4; ipv6 table rtbhtab6;
include "%s";
protocol device {}
protocol bgp edge {
  local %[1]s as %[3]d; neighbor %[4]s port %[5]d as %[6]d;
  multihop; connect delay time 1;
  flow4 { table flowtab4; import none; export all; };  flow6 { table flowtab6; import none; export all; };
  ipv4 { table rtbhtab4; import none; export filter tidegate_rtbh4; };
  ipv6 { table rtbhtab6; import none; export filter tidegate_rtbh6; };
}
`, renderSpeaker, rules, renderASN, renderWitness.Addr(), renderWitness.Port(), renderWitnessASN))
	start(t, l, "bird", "bird", "-f", "-c", main, "-s", socket)
	return func(undo string) {
		for line := range strings.Lines(undo) {
			if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") {
				runIn(t, l, nil, "birdc", append([]string{"-s", socket}, strings.Fields(line)...)...)
			}
		}
	}
}

func loadGoBGP(t *testing.T, l *lab.Lab, config string) func(string) {
	t.Helper()
	main := writeIn(t, l, "gobgpd.toml", fmt.Sprintf(`[global.config]
  as = %d
  router-id = "%s"
  port = -1
[[neighbors]]
  [neighbors.config]
    neighbor-address = "%s"
    peer-as = %[5]d
  [neighbors.transport.config]
    remote-port = %[4]d
    local-address = "%[2]s"
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv4-flowspec"
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv6-flowspec"
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv4-unicast"
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv6-unicast"
`, renderASN, renderSpeaker, renderWitness.Addr(), renderWitness.Port(), renderWitnessASN))
	start(t, l, "gobgpd", "gobgpd", "-f", main, "--pprof-disable", "--api-hosts", "127.0.0.1:50051")
	until(t, func(ctx context.Context) error { return succeeds(l.Run(ctx, nil, "gobgp", "neighbor")) })
	runIn(t, l, nil, "sh", writeIn(t, l, "rules.sh", config))
	return func(undo string) { runIn(t, l, nil, "sh", writeIn(t, l, "undo.sh", undo)) }
}

// exabgpConfig is ExaBGP's configuration toward the witness; more goes before it.
func exabgpConfig(more, api string) string {
	return fmt.Sprintf(`%s
neighbor %s {
  router-id %s; local-address %[3]s; local-as %d; peer-as %d;
  connect %d;
  family { ipv4 flow; ipv6 flow; ipv4 unicast; ipv6 unicast; }
  %s
}
`, more, renderWitness.Addr(), renderSpeaker, renderASN, renderWitnessASN, renderWitness.Port(), api)
}

// loadExaBGP runs the rendered script with an exabgpcli that hands its argument to ExaBGP as any process of its can. The
// real one starts an interpreter for each rule, which takes ten times as long; TestRenderedScriptWithExabgpcli has it.
func loadExaBGP(t *testing.T, l *lab.Lab, config string) func(string) {
	t.Helper()
	commands := writeIn(t, l, "commands", "")
	main := writeIn(t, l, "exabgp.conf", exabgpConfig(
		fmt.Sprintf("process commands { run /usr/bin/tail -n +1 -f %s; encoder text; }", commands), "api { processes [ commands ]; }"))
	cli := writeIn(t, l, "exabgpcli", fmt.Sprintf("#!/bin/sh\nprintf '%%s\\n' \"$*\" >> %s\n", commands))
	if err := os.Chmod(cli, 0o700); err != nil {
		t.Fatal(err)
	}
	start(t, l, "exabgp", "env", "exabgp.daemon.user=root", "exabgp.daemon.drop=false", "exabgp.api.cli=false", "exabgp.api.ack=false", "exabgp", main)
	env := []string{"PATH=" + l.Dir() + ":" + os.Getenv("PATH")}
	runIn(t, l, env, "sh", writeIn(t, l, "rules.sh", config))
	return func(undo string) { runIn(t, l, env, "sh", writeIn(t, l, "undo.sh", undo)) }
}

// TestRenderedScriptWithExabgpcli runs a rendered script of a few rules, and its undo, with ExaBGP's own client.
func TestRenderedScriptWithExabgpcli(t *testing.T) {
	lab.Require(t)
	t.Parallel()
	items := renderItems(t)[:2]
	text, problems := render.Rules(render.ExaBGP, items, renderOptions)
	want := renderedRules(render.ExaBGP, items, problems)
	l, witness := renderLab(t)
	// exabgpcli and ExaBGP find each other by the name of the pipes, in a directory of the machine's.
	pipe := filepath.Base(l.Dir())
	for _, suffix := range []string{".in", ".out"} {
		name := filepath.Join("/run", pipe+suffix)
		runIn(t, l, nil, "mkfifo", "-m", "600", name)
		t.Cleanup(func() {
			if err := os.Remove(name); err != nil {
				t.Errorf("cannot remove a pipe of exabgpcli: %v", err)
			}
		})
	}
	start(t, l, "exabgp", "env", "exabgp.daemon.user=root", "exabgp.daemon.drop=false", "exabgp.api.pipename="+pipe, "exabgp", writeIn(t, l, "exabgp.conf", exabgpConfig("", "")))
	env := []string{"exabgp_api_pipename=" + pipe} // a name with points does not get through sh
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := witness.WaitSession(ctx, renderSpeaker); err != nil {
		t.Fatal(err)
	}
	runIn(t, l, env, "sh", writeIn(t, l, "rules.sh", string(text)))
	err := witness.WaitRoutes(ctx, func(table bgptest.Table) bool { return table.Len() >= len(want) })
	if d := cmp.Diff(want, heardRules(t, witness.Table())); d != "" || err != nil {
		t.Fatalf("%v; what ExaBGP announces (-want +got):\n%s", err, d)
	}
	text, _ = render.Undo(render.ExaBGP, items, renderOptions)
	runIn(t, l, env, "sh", writeIn(t, l, "undo.sh", string(text)))
	if err := witness.WaitRoutes(ctx, func(table bgptest.Table) bool { return table.Len() == 0 }); err != nil {
		t.Errorf("after the undo %d rules are left: %v", witness.Table().Len(), err)
	}
}

// writeIn writes a file into the directory of a lab.
func writeIn(t *testing.T, l *lab.Lab, name, text string) string {
	t.Helper()
	path := filepath.Join(l.Dir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func start(t *testing.T, l *lab.Lab, name string, argv ...string) {
	t.Helper()
	if _, err := l.Start(name, argv...); err != nil {
		t.Fatal(err)
	}
}

// run runs a program in the lab to its end, which must be a good one.
func runIn(t *testing.T, l *lab.Lab, env []string, program string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := succeeds(l.Run(ctx, env, append([]string{program}, args...)...)); err != nil {
		t.Fatalf("%s %s: %v", program, args, err)
	}
}

func succeeds(r lab.Result, err error) error {
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("exit code %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	return err
}

func until(t *testing.T, cond func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	if err := lab.Until(ctx, 50*time.Millisecond, cond); err != nil {
		t.Fatal(err)
	}
}
