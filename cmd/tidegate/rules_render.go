package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/render"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/output"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

const renderLong = `Prints the rules as configuration to paste, for the hour in which BGP itself is down: for Junos and
IOS XR as rules of the router's own, for BIRD, ExaBGP and GoBGP as announcements of a speaker that still works. Any node
answers, leader or no leader. The top of the text says where it goes.

What a format cannot say exactly is left out, named with the reason, and the command ends with code 3. Print
the --undo at the same time and keep it: rules that end in the meantime are in no later list.

  tidegate rules render --format junos --router edge1 > edge1.txt
  tidegate rules render --format junos --router edge1 --undo > edge1-undo.txt`

// renderOld is from when on the rules may be old: two missed heartbeats of a leader and more.
const renderOld = 2 * time.Second

// rendered is what -o json and -o yaml print.
type rendered struct {
	Format   string   `json:"format"`
	Text     string   `json:"text"`
	Problems []string `json:"problems"`
}

func (a *app) rulesRender() *cobra.Command {
	var format string
	var routers []string
	var undo bool
	c := a.command("render --format FORMAT", "print the rules as configuration, for when BGP is down", renderLong, exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			if format == "" {
				return &client.UsageError{Text: "--format is missing; name one of " + formatNames() + ", e.g. --format junos"}
			}
			f, err := render.ParseFormat(format)
			if err != nil {
				return &client.UsageError{Text: "--format: " + err.Error()}
			}
			items, err := a.renderItems(ctx, c, routers)
			if err != nil {
				return err
			}
			options, err := discardHops(ctx, c, routers)
			if err != nil {
				return err
			}
			write := render.Rules
			if undo {
				write = render.Undo
			}
			text, problems := write(f, items, options)
			return a.renderPrint(p, f, text, problems)
		})
	c.Flags().StringVar(&format, "format", "", "junos, iosxr, bird, exabgp or gobgp (mandatory)")
	c.Flags().StringSliceVar(&routers, "router", nil, "only what these routers are to hear (default: what any of them is)")
	c.Flags().BoolVar(&undo, "undo", false, "print what takes the same rules back")
	return c
}

func notRendered(n int) string {
	if n == 1 {
		return "1 rule is not rendered"
	}
	return fmt.Sprintf("%d rules are not rendered", n)
}

// formatNames lists what --format may be.
func formatNames() string {
	var names []string
	for _, f := range render.Formats() {
		names = append(names, f.String())
	}
	return strings.Join(names, ", ")
}

func (a *app) renderPrint(p *output.Printer, f render.Format, text []byte, problems []render.Problem) error {
	out := rendered{Format: f.String(), Text: string(text), Problems: []string{}}
	for _, problem := range problems {
		out.Problems = append(out.Problems, problem.String())
		a.notice("not rendered: " + problem.String())
	}
	done, err := p.Value(out)
	if !done {
		_, err = a.stdout.Write(text)
	}
	if err == nil && len(problems) > 0 {
		err = told(&client.RefusedError{Verdict: &pb.Verdict{Text: notRendered(len(problems))}})
	}
	return err
}

// renderItems are the rules that the routers are to hear; of no router, all.
func (a *app) renderItems(ctx context.Context, c *client.Client, routers []string) ([]render.Item, error) {
	if len(routers) == 0 {
		routers = []string{""}
	}
	var out []render.Item
	seen := make(map[string]bool)
	for _, name := range routers {
		r, err := c.ListRules(ctx, &pb.ListRulesRequest{Router: name})
		if err != nil {
			return nil, err
		}
		if age := r.GetRead().GetAge().AsDuration(); r.GetRead().GetNoLeaderSinceStart() || age >= renderOld {
			a.notice(fmt.Sprintf("node %s last heard from a leader %s ago; the rules may be old", r.GetRead().GetNode(), output.Short(age)))
		}
		for _, rule := range r.GetRules() {
			// A rule of no mitigation is on its way out: a session still has it, and nobody wants it any more.
			if seen[rule.GetKey()] || len(rule.GetMitigations()) == 0 {
				continue
			}
			seen[rule.GetKey()] = true
			item, err := renderItem(rule)
			if err != nil {
				return nil, err
			}
			out = append(out, item)
		}
	}
	return out, nil
}

// renderItem reads a rule from its text and its key, which must agree: a rule that is misread is worse than none.
func renderItem(rule *pb.Rule) (render.Item, error) {
	note := strings.Join(rule.GetMitigations(), " ")
	raw, err := hex.DecodeString(rule.GetKey())
	if err != nil {
		return render.Item{}, fmt.Errorf("cannot read the key of rule %q: %w", rule.GetRule(), err)
	}
	key := flowspec.Key(raw)
	if p, ok := wanted.RTBHPrefix(key); ok {
		family := flowspec.IPv6
		if p.Addr().Is4() {
			family = flowspec.IPv4
		}
		m, err := flowspec.NewMatch(family, flowspec.Destination(p))
		return render.Item{Rule: flowspec.Rule{Match: m}, RTBH: true, Note: note}, err
	}
	r, err := flowspec.ParseRule(rule.GetRule())
	if err != nil {
		return render.Item{}, fmt.Errorf("cannot read rule %q: %w; is this tidegate older than the cluster?", rule.GetRule(), err)
	}
	if r.Match.Key() != key {
		return render.Item{}, fmt.Errorf("cannot use rule %q: its key is %s; is this tidegate older than the cluster?", rule.GetRule(), rule.GetKey())
	}
	return render.Item{Rule: r, Note: note}, nil
}

// discardHops are the next hops for RTBH routes that the documents of the routers name. Where two routers name different
// ones there is none: the rendering cannot hold both.
func discardHops(ctx context.Context, c *client.Client, routers []string) (render.Options, error) {
	r, err := c.ListDocuments(ctx, &pb.ListDocumentsRequest{Kind: "Router"})
	if err != nil {
		return render.Options{}, err
	}
	var four, six []netip.Addr
	for _, d := range r.GetDocuments() {
		router := d.GetRouter()
		if len(routers) > 0 && !slices.Contains(routers, router.GetName()) {
			continue
		}
		if hop, err := netip.ParseAddr(router.GetDiscardIpv4()); err == nil {
			four = append(four, hop)
		}
		if hop, err := netip.ParseAddr(router.GetDiscardIpv6()); err == nil {
			six = append(six, hop)
		}
	}
	return render.Options{DiscardIPv4: agreed(four), DiscardIPv6: agreed(six)}, nil
}

// agreed is the one value of all, else zero.
func agreed(all []netip.Addr) netip.Addr {
	slices.SortFunc(all, netip.Addr.Compare)
	if all = slices.Compact(all); len(all) == 1 {
		return all[0]
	}
	return netip.Addr{}
}
