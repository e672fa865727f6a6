package api

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

const actionExample = "write discard: true, a rate such as 10Mbps or 5kpps, redirect, redirect_ip, mark or rtbh: true"

// action reads an action: exactly one of discard, rate, redirect, redirect_ip, mark and rtbh. Whether it can be done to
// the targets is for policy to say.
func (v *violations) action(a *tidegatev1.Action) policy.Action {
	const field = "action" // of a policy and of an order alike
	var said []string
	for _, main := range []struct {
		name string
		set  bool
	}{
		{"discard", a.GetDiscard()},
		{"rate", a.GetRate() != ""},
		{"redirect", a.GetRedirect() != ""},
		{"redirect_ip", a.GetRedirectIp() != ""},
		{"mark", a.GetMark() != ""},
		{"rtbh", a.GetRtbh()},
	} {
		if main.set {
			said = append(said, main.name)
		}
	}
	switch {
	case len(said) == 0 && (a.GetSample() || a.GetContinue()):
		v.add(field, "sample and continue go with an action, and there is none", actionExample)
		return policy.Action{}
	case len(said) == 0:
		v.add(field, "it is not said what to do", actionExample)
		return policy.Action{}
	case len(said) > 1:
		v.add(field, strings.Join(said, " and ")+" exclude each other", "leave all but one out")
		return policy.Action{}
	case a.GetCopy() && a.GetRedirectIp() == "":
		v.add(field+".copy", "there is no address to copy to", "write redirect_ip, or leave copy out")
	}
	out := v.mainAction(field, a)
	out.Sample, out.Continue = a.GetSample(), a.GetContinue()
	return out
}

// mainAction reads the one that is said.
func (v *violations) mainAction(field string, a *tidegatev1.Action) policy.Action {
	switch {
	case a.GetDiscard():
		return policy.Action{Kind: policy.Discard}
	case a.GetRtbh():
		return policy.Action{Kind: policy.RTBH}
	case a.GetRate() != "":
		return v.rateAction(field+".rate", a.GetRate())
	case a.GetRedirect() != "":
		t, err := flowspec.ParseRouteTarget(a.GetRedirect())
		if err != nil {
			v.add(field+".redirect", strings.TrimSuffix(quote(a.GetRedirect())+" is no route target: "+plain(err), ": not a route target"), "write the VRF's import route target, such as 65001:666, 192.0.2.1:666 or [2001:db8::1]:666")
			return policy.Action{}
		}
		return policy.Action{Kind: policy.Redirect, Target: t}
	case a.GetRedirectIp() != "":
		addr, err := netip.ParseAddr(a.GetRedirectIp())
		if err != nil {
			v.add(field+".redirect_ip", quote(a.GetRedirectIp())+" is not an IP address", "write one address, such as 192.0.2.1 or 2001:db8::1")
			return policy.Action{}
		}
		return policy.Action{Kind: policy.RedirectIP, Address: addr, Copy: a.GetCopy()}
	}
	n, ok := parseDSCP(a.GetMark())
	if !ok {
		v.add(field+".mark", quote(a.GetMark())+" is not a DSCP", "write a number from 0 to 63, or a name such as ef, cs1 or af31")
		return policy.Action{}
	}
	return policy.Action{Kind: policy.Mark, DSCP: n}
}

// rateAction reads a rate of bits, bytes or packets; the unit tells which.
func (v *violations) rateAction(field, s string) policy.Action {
	var out policy.Action
	var err error
	if strings.HasSuffix(s, "pps") {
		out.Kind = policy.RateLimitPackets
		out.Packets, err = flowspec.ParsePacketRate(s)
	} else {
		out.Kind = policy.RateLimit
		out.Rate, err = flowspec.ParseRate(s)
	}
	switch {
	case err != nil:
		v.add(field, plain(err), "write a rate with its unit, at least 8bps or 1pps, such as 10Mbps, 125kBps or 5kpps")
		return policy.Action{}
	case out.Rate == 0 && out.Packets == 0:
		v.add(field, quote(s)+" lets nothing through", "write discard: true if that is meant")
		return policy.Action{}
	}
	return out
}

// parseDSCP reads a DSCP by number or by the name of its per-hop behaviour: RFC 2474 (cs), 2597 (af), 3246 (ef), 5865 (va),
// 8622 (le). Policy says what is above 63.
func parseDSCP(s string) (uint8, bool) {
	name := strings.ToLower(s)
	switch name {
	case "be", "df":
		return 0, true
	case "le":
		return 1, true
	case "ef":
		return 46, true
	case "va":
		return 44, true
	}
	for class := range uint8(8) {
		if name == fmt.Sprintf("cs%d", class) {
			return class << 3, true
		}
		for drop := uint8(1); drop <= 3 && 1 <= class && class <= 4; drop++ {
			if name == fmt.Sprintf("af%d%d", class, drop) {
				return class<<3 | drop<<1, true
			}
		}
	}
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || strconv.FormatUint(n, 10) != s {
		return 0, false
	}
	return uint8(n), true
}

// actionProto is an action in the API's form: what it reads again as the same action.
func actionProto(a policy.Action) *tidegatev1.Action {
	out := &tidegatev1.Action{Sample: a.Sample, Continue: a.Continue, Copy: a.Copy}
	switch a.Kind {
	case policy.Discard:
		out.Discard = true
	case policy.RateLimit:
		out.Rate = a.Rate.String()
	case policy.RateLimitPackets:
		out.Rate = a.Packets.String()
	case policy.Redirect:
		out.Redirect = a.Target.String()
	case policy.RedirectIP:
		out.RedirectIp = a.Address.String()
	case policy.Mark:
		out.Mark = strconv.Itoa(int(a.DSCP))
	case policy.RTBH:
		out.Rtbh = true
	}
	return out
}

// ruleText is a route in text form. What a blackhole does is not said by its rule, which has no action.
func ruleText(k wanted.Kind, r *flowspec.Rule) string {
	if k == wanted.RTBH {
		return r.Match.String() + " => rtbh"
	}
	return r.String()
}

// actionTexts are the actions of a route, one by one.
func actionTexts(k wanted.Kind, r *flowspec.Rule) []string {
	if k == wanted.RTBH {
		return []string{"rtbh"}
	}
	var out []string
	for _, a := range r.Actions {
		out = append(out, a.String())
	}
	return out
}

func kindText(k wanted.Kind) string {
	switch k {
	case wanted.FlowSpec:
		return "flowspec"
	case wanted.RTBH:
		return "rtbh"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}
