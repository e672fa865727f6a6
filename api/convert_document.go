package api

import (
	"fmt"
	"math"
	"net/netip"
	"slices"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// documentsFrom reads documents. It collects the violations of all of them, those that policy finds in each document
// by itself included, so that a whole inventory is mended in one go.
func documentsFrom(in []*tidegatev1.Document) ([]policy.Document, []*tidegatev1.FieldViolation) {
	var out []policy.Document
	var list []*tidegatev1.FieldViolation
	seen := make(map[policy.DocumentRef]bool, len(in))
	for i, d := range in {
		v := &violations{}
		doc := documentFrom(v, d)
		if doc == nil {
			v.add(item("documents", i), "it is empty", "make it a Customer, ProtectedBlock, Router, Policy, Safeguards or Detector")
			list = append(list, v.list...)
			continue
		}
		if ref := doc.Ref(); seen[ref] {
			v.add("", "the document stands twice in the request", "remove one of the two")
		} else {
			seen[ref] = true
		}
		// What could not be read has no value that policy could judge.
		for _, p := range doc.Validate() {
			if f := fieldName(p); !v.has(f) {
				v.add(f, p.Problem, p.Fix)
			}
		}
		list = append(list, v.list...)
		out = append(out, doc)
	}
	return out, list
}

// documentFrom reads one document; nil when there is none in it.
func documentFrom(v *violations, d *tidegatev1.Document) policy.Document {
	name := func(k policy.DocumentKind, s string) { v.document = refText(policy.DocumentRef{Kind: k, Name: s}) }
	switch x := d.GetDocument().(type) {
	case *tidegatev1.Document_Customer:
		name(policy.KindCustomer, x.Customer.GetId())
		return customerFrom(v, x.Customer)
	case *tidegatev1.Document_ProtectedBlock:
		name(policy.KindProtectedBlock, x.ProtectedBlock.GetName())
		return blockFrom(v, x.ProtectedBlock)
	case *tidegatev1.Document_Router:
		name(policy.KindRouter, x.Router.GetName())
		return routerFrom(v, x.Router)
	case *tidegatev1.Document_Policy:
		name(policy.KindPolicy, x.Policy.GetName())
		return policyFrom(v, x.Policy)
	case *tidegatev1.Document_Safeguards:
		name(policy.KindSafeguards, x.Safeguards.GetName())
		return safeguardsFrom(v, x.Safeguards)
	case *tidegatev1.Document_Detector:
		name(policy.KindDetector, x.Detector.GetName())
		return detectorFrom(x.Detector)
	default:
		return nil
	}
}

func customerFrom(v *violations, in *tidegatev1.Customer) *policy.Customer {
	out := &policy.Customer{
		ID:             policy.CustomerID(in.GetId()),
		Name:           in.GetName(),
		Within:         policy.CustomerID(in.GetWithin()),
		Contacts:       slices.Clone(in.GetContacts()),
		Tags:           slices.Clone(in.GetTags()),
		MaxMitigations: int(in.GetMaxMitigations()),
		MaxRules:       int(in.GetMaxRules()),
		Mitigation:     consent(in.GetMitigation()),
	}
	for _, s := range in.GetManualVectors() {
		out.ManualVectors = append(out.ManualVectors, policy.Vector(s)) // which there are is for policy to say
	}
	for _, s := range in.GetSelfService() {
		out.SelfService = append(out.SelfService, policy.SelfService(s)) // the same
	}
	out.Official, _ = v.networks("official", in.GetOfficial(), false, false)
	out.Services = v.services(in.GetServices())
	for i, l := range in.GetLinks() {
		state := policy.LinkState(l.GetState())
		if state == "" {
			state = policy.LinkUnstated
		}
		out.Links = append(out.Links, policy.Link{
			Prefix:    v.network(item("links", i)+".prefix", l.GetPrefix(), false),
			PE:        l.GetPe(),
			Interface: l.GetInterface(),
			Block:     l.GetBlock(),
			State:     state,
		})
	}
	return out
}

func blockFrom(v *violations, in *tidegatev1.ProtectedBlock) *policy.ProtectedBlock {
	out := &policy.ProtectedBlock{Name: in.GetName(), Kind: policy.BlockKind(in.GetPurpose()), Note: in.GetNote()}
	out.Prefixes, _ = v.networks("prefixes", in.GetPrefixes(), false, false)
	return out
}

func routerFrom(v *violations, in *tidegatev1.Router) *policy.Router {
	out := &policy.Router{
		Name:           in.GetName(),
		ASN:            flowspec.ASN(in.GetAsn()),
		Group:          in.GetGroup(),
		Validation:     policy.Validation(in.GetValidation()),
		Profile:        in.GetProfile(),
		MaxPrefix:      int(in.GetMaxPrefix()),
		RulesPerSecond: int(in.GetRulesPerSecond()),
		PasswordSecret: in.GetPasswordSecret(),
		TTLSecurity:    in.GetTtlSecurity(),
		AcceptUntested: in.GetAcceptUntested(),
		MaxEntries:     int(in.GetMaxEntries()),
		DiscardIPv4:    v.nextHop("discard_ipv4", in.GetDiscardIpv4()),
		DiscardIPv6:    v.nextHop("discard_ipv6", in.GetDiscardIpv6()),
	}
	switch s := in.GetCarries(); s {
	case "", kindText(wanted.FlowSpec): // the default, as if it were left out
	case kindText(wanted.RTBH):
		out.Carries = wanted.RTBH
	default:
		v.add("carries", quote(s)+" is not what a session can carry", "write flowspec or rtbh")
	}
	// A zone or a mapped address parses, and policy has a sentence for each.
	if a, err := netip.ParseAddr(in.GetAddress()); err == nil {
		out.Address = a
	} else if in.GetAddress() != "" {
		v.add("address", quote(in.GetAddress())+" is not an IP address", "write the address of the BGP session, without a port or length, for example 192.0.2.1")
	}
	if n := in.GetPort(); n > math.MaxUint16 {
		v.add("port", fmt.Sprintf("port %d is above 65535", n), "write a number from 1 to 65535, or leave it out for 179")
	} else {
		out.Port = uint16(n)
	}
	if n := in.GetMultihop(); n > math.MaxUint8 {
		v.add("multihop", fmt.Sprintf("%d is above 255", n), "write the number of hops to the router")
	} else {
		out.Multihop = uint8(n)
	}
	for i, s := range in.GetFamilies() {
		switch s {
		case "ipv4":
			out.Families = append(out.Families, flowspec.IPv4)
		case "ipv6":
			out.Families = append(out.Families, flowspec.IPv6)
		default:
			v.add(item("families", i), quote(s)+" is not an address family", "write ipv4 or ipv6")
		}
	}
	return out
}

// nextHop reads an address that may be missing. What it may be is for policy to say.
func (v *violations) nextHop(field, s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		v.add(field, quote(s)+" is not an IP address", "write the address that the router has a discard route for, without a length")
	}
	return a
}

func safeguardsFrom(v *violations, in *tidegatev1.Safeguards) *policy.Safeguards {
	out := *policy.DefaultSafeguards()
	out.Name = in.GetName()
	if in.WidestIpv4 != nil {
		out.WidestIPv4 = v.octet("widest_ipv4", in.GetWidestIpv4(), "a prefix length, such as 20")
	}
	if in.WidestIpv6 != nil {
		out.WidestIPv6 = v.octet("widest_ipv6", in.GetWidestIpv6(), "a prefix length, such as 40")
	}
	if in.MaxPieces != nil {
		out.MaxPieces = int(in.GetMaxPieces())
	}
	if in.MaxMitigations != nil {
		out.MaxMitigations = int(in.GetMaxMitigations())
	}
	if in.ShortestRtbhIpv4 != nil {
		out.ShortestRTBHIPv4 = v.octet("shortest_rtbh_ipv4", in.GetShortestRtbhIpv4(), "a prefix length, such as 32")
	}
	if in.ShortestRtbhIpv6 != nil {
		out.ShortestRTBHIPv6 = v.octet("shortest_rtbh_ipv6", in.GetShortestRtbhIpv6(), "a prefix length, such as 128")
	}
	if in.MaxRtbhRoutes != nil {
		out.MaxRTBHRoutes = int(in.GetMaxRtbhRoutes())
	}
	if in.MaxRemovedLinksPercent != nil {
		out.MaxRemovedLinksPercent = in.GetMaxRemovedLinksPercent()
	}
	if in.GetDefaultLifetime() != nil {
		out.DefaultLifetime = v.duration("default_lifetime", in.GetDefaultLifetime(), false)
	}
	if in.GetMaxLifetime() != nil {
		out.MaxLifetime = v.duration("max_lifetime", in.GetMaxLifetime(), false)
	}
	v.bounds(&out, in)
	approvalBounds(v, &out, in)
	return &out
}

func (v *violations) octet(field string, n uint32, what string) uint8 {
	if n > math.MaxUint8 {
		v.add(field, fmt.Sprintf("%d is too great", n), "write "+what)
		return 0
	}
	return uint8(n)
}

// documentProto is a document in the API's form.
func documentProto(d policy.Document) *tidegatev1.Document {
	switch x := d.(type) {
	case *policy.Customer:
		return &tidegatev1.Document{Document: &tidegatev1.Document_Customer{Customer: customerProto(x)}}
	case *policy.ProtectedBlock:
		return &tidegatev1.Document{Document: &tidegatev1.Document_ProtectedBlock{ProtectedBlock: &tidegatev1.ProtectedBlock{
			Name: x.Name, Purpose: string(x.Kind), Prefixes: prefixText(x.Prefixes), Note: x.Note,
		}}}
	case *policy.Router:
		return &tidegatev1.Document{Document: &tidegatev1.Document_Router{Router: routerProto(x)}}
	case *policy.Policy:
		return &tidegatev1.Document{Document: &tidegatev1.Document_Policy{Policy: policyProto(x)}}
	case *policy.Safeguards:
		return &tidegatev1.Document{Document: &tidegatev1.Document_Safeguards{Safeguards: safeguardsProto(x)}}
	case *policy.Detector:
		return &tidegatev1.Document{Document: &tidegatev1.Document_Detector{Detector: detectorProto(x)}}
	default:
		return nil
	}
}

func customerProto(x *policy.Customer) *tidegatev1.Customer {
	out := &tidegatev1.Customer{
		Id: string(x.ID), Name: x.Name, Official: prefixText(x.Official), Within: string(x.Within),
		Contacts: x.Contacts, Tags: x.Tags, MaxMitigations: uint32(x.MaxMitigations), MaxRules: uint32(x.MaxRules),
		Mitigation: string(x.Mitigation), Services: servicesProto(x.Services),
	}
	for _, v := range x.ManualVectors {
		out.ManualVectors = append(out.ManualVectors, string(v))
	}
	for _, w := range x.SelfService {
		out.SelfService = append(out.SelfService, string(w))
	}
	for _, l := range x.Links {
		out.Links = append(out.Links, linkProto(l))
	}
	return out
}

func linkProto(l policy.Link) *tidegatev1.Link {
	state := string(l.State)
	if l.State == policy.LinkUnstated {
		state = "" // the default, as it was left out
	}
	return &tidegatev1.Link{Prefix: l.Prefix.String(), Pe: l.PE, Interface: l.Interface, Block: l.Block, State: state}
}

func routerProto(x *policy.Router) *tidegatev1.Router {
	out := &tidegatev1.Router{
		Name: x.Name, Address: x.Address.String(), Port: uint32(x.Port), Asn: uint32(x.ASN), Group: x.Group,
		Validation: string(x.Validation), Profile: x.Profile, MaxPrefix: uint32(x.MaxPrefix),
		RulesPerSecond: uint32(x.RulesPerSecond), PasswordSecret: x.PasswordSecret, TtlSecurity: x.TTLSecurity,
		Multihop: uint32(x.Multihop), AcceptUntested: x.AcceptUntested, MaxEntries: uint32(x.MaxEntries),
	}
	if x.Kind() != wanted.FlowSpec {
		out.Carries = kindText(x.Kind())
	}
	if x.DiscardIPv4.IsValid() {
		out.DiscardIpv4 = x.DiscardIPv4.String()
	}
	if x.DiscardIPv6.IsValid() {
		out.DiscardIpv6 = x.DiscardIPv6.String()
	}
	for _, f := range x.Families {
		out.Families = append(out.Families, familyWord(f))
	}
	return out
}

func familyWord(f flowspec.Family) string {
	if f == flowspec.IPv6 {
		return "ipv6"
	}
	return "ipv4"
}

func safeguardsProto(x *policy.Safeguards) *tidegatev1.Safeguards {
	v4, v6 := uint32(x.WidestIPv4), uint32(x.WidestIPv6)
	pieces, most, percent := uint32(x.MaxPieces), uint32(x.MaxMitigations), x.MaxRemovedLinksPercent
	rtbh4, rtbh6, routes := uint32(x.ShortestRTBH(flowspec.IPv4)), uint32(x.ShortestRTBH(flowspec.IPv6)), uint32(x.RTBHRoutes())
	addresses, withdrawals, removals := uint32(x.ApprovalAddresses), uint32(x.ApprovalWithdrawals), uint32(x.UnapprovedRemovals())
	out := &tidegatev1.Safeguards{
		Name: x.Name, WidestIpv4: &v4, WidestIpv6: &v6, MaxPieces: &pieces, MaxMitigations: &most,
		DefaultLifetime: durationProto(x.DefaultLifetime), MaxLifetime: durationProto(x.MaxLifetime),
		MaxRemovedLinksPercent: &percent, ShortestRtbhIpv4: &rtbh4, ShortestRtbhIpv6: &rtbh6, MaxRtbhRoutes: &routes,
		ApprovalTimeout: durationProto(x.ApproveTimeout()), ApprovalAddresses: &addresses, ApprovalWithdrawals: &withdrawals,
		ApprovalRemovals: &removals, BreakGlassLifetime: durationProto(x.UnapprovedLifetime()),
	}
	boundsProto(out, x)
	return out
}

func refProto(ref policy.DocumentRef) *tidegatev1.DocumentRef {
	return &tidegatev1.DocumentRef{Kind: string(ref.Kind), Name: ref.Name}
}

func planProto(p *policy.Plan) *tidegatev1.Plan {
	if p == nil {
		return nil
	}
	refs := func(list []policy.DocumentRef) []*tidegatev1.DocumentRef {
		var out []*tidegatev1.DocumentRef
		for _, r := range list {
			out = append(out, refProto(r))
		}
		return out
	}
	ids := func(list []policy.MitigationID) []string {
		var out []string
		for _, id := range list {
			out = append(out, formatID(id))
		}
		return out
	}
	return &tidegatev1.Plan{
		Added: refs(p.Added), Changed: refs(p.Changed), Removed: refs(p.Removed), Unchanged: uint32(len(p.Unchanged)),
		LinksBefore: uint32(p.LinksBefore), LinksAfter: uint32(p.LinksAfter),
		LinksRemoved: prefixText(p.LinksRemoved), ProtectedRemoved: prefixText(p.ProtectedRemoved),
		RemovalsToAllow: uint32(p.RemovalsToAllow), Narrowed: ids(p.Narrowed), Ended: ids(p.Ended), Unenforced: ids(p.Unenforced),
	}
}
