package controller

import (
	"fmt"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
	raftv1 "github.com/tidegate/tidegate/proto/tidegate/raft/v1"
)

// The place of a word is its number in the enum of the records: words are appended, never moved.

func documentKinds() []policy.DocumentKind {
	return []policy.DocumentKind{
		"", policy.KindCustomer, policy.KindProtectedBlock, policy.KindRouter, policy.KindPolicy, policy.KindSafeguards,
		policy.KindDetector,
	}
}

func linkStates() []policy.LinkState {
	return []policy.LinkState{"", policy.LinkInUse, policy.LinkMoving, policy.LinkClean, policy.LinkUnstated}
}

func blockKinds() []policy.BlockKind {
	return []policy.BlockKind{
		"", policy.BlockLinks, policy.BlockInfrastructure, policy.BlockCustomerEdge, policy.BlockIXPLAN,
		policy.BlockResolver, policy.BlockController, policy.BlockDetector,
	}
}

func validations() []policy.Validation {
	return []policy.Validation{"", policy.ValidationIBGP9117, policy.ValidationDisabled}
}

func (c *codec) packDocument(d policy.Document) *raftv1.Document {
	switch d := d.(type) {
	case *policy.Customer:
		return &raftv1.Document{Document: &raftv1.Document_Customer{Customer: c.packCustomer(d)}}
	case *policy.ProtectedBlock:
		return &raftv1.Document{Document: &raftv1.Document_ProtectedBlock{ProtectedBlock: &raftv1.ProtectedBlock{
			Name:     d.Name,
			Purpose:  wordToEnum[raftv1.BlockKind](c, d.Kind, blockKinds(), "block kind"),
			Prefixes: list(d.Prefixes, packPrefix),
			Note:     d.Note,
		}}}
	case *policy.Router:
		return &raftv1.Document{Document: &raftv1.Document_Router{Router: c.packRouter(d)}}
	case *policy.Policy:
		return &raftv1.Document{Document: &raftv1.Document_Policy{Policy: c.packPolicy(d)}}
	case *policy.Safeguards:
		return &raftv1.Document{Document: &raftv1.Document_Safeguards{Safeguards: &raftv1.Safeguards{
			Name:                   d.Name,
			WidestIpv4:             uint32(d.WidestIPv4),
			WidestIpv6:             uint32(d.WidestIPv6),
			MaxPieces:              int64(d.MaxPieces),
			MaxMitigations:         int64(d.MaxMitigations),
			DefaultLifetime:        span(d.DefaultLifetime),
			MaxLifetime:            span(d.MaxLifetime),
			MaxRemovedLinksPercent: d.MaxRemovedLinksPercent,
			ShortestRtbhIpv4:       uint32(d.ShortestRTBHIPv4),
			ShortestRtbhIpv6:       uint32(d.ShortestRTBHIPv6),
			MaxRtbhRoutes:          int64(d.MaxRTBHRoutes),
			ApprovalTimeout:        span(d.ApprovalTimeout),
			ApprovalAddresses:      int64(d.ApprovalAddresses),
			ApprovalWithdrawals:    int64(d.ApprovalWithdrawals),
			ApprovalRemovals:       int64(d.ApprovalRemovals),
			BreakGlassLifetime:     span(d.BreakGlassLifetime),

			Widest:                      packWidest(&d.Widest),
			MinConfidence:               packConfidence(&d.MinConfidence),
			MaxRules:                    int64(d.MaxRules),
			OperatorShare:               d.OperatorShare,
			SourceShare:                 d.SourceShare,
			MaxStartsPerMinute:          int64(d.MaxStartsPerMinute),
			MaxStartsPerMinutePerSource: int64(d.MaxStartsPerMinutePerSource),
			MaxRulesPerMinute:           int64(d.MaxRulesPerMinute),
			Quarantine:                  packThresholds(&d.Quarantine),
		}}}
	case *policy.Detector:
		return &raftv1.Document{Document: &raftv1.Document_Detector{Detector: &raftv1.Detector{Name: d.Name, Trust: d.Trust, Note: d.Note}}}
	}
	c.unknown("document of type", fmt.Sprintf("%T", d))
	return nil
}

func (c *codec) document(d *raftv1.Document) policy.Document {
	switch d := d.GetDocument().(type) {
	case *raftv1.Document_Customer:
		return c.customer(d.Customer)
	case *raftv1.Document_ProtectedBlock:
		b := d.ProtectedBlock
		return &policy.ProtectedBlock{
			Name:     b.GetName(),
			Kind:     enumToWord(c, b.GetPurpose(), blockKinds(), "block kind"),
			Prefixes: c.prefixes(b.GetPrefixes()),
			Note:     b.GetNote(),
		}
	case *raftv1.Document_Router:
		return c.router(d.Router)
	case *raftv1.Document_Policy:
		return c.policy(d.Policy)
	case *raftv1.Document_Safeguards:
		s := d.Safeguards
		return &policy.Safeguards{
			Name:                   s.GetName(),
			WidestIPv4:             number[uint8](c, s.GetWidestIpv4()),
			WidestIPv6:             number[uint8](c, s.GetWidestIpv6()),
			MaxPieces:              number[int](c, s.GetMaxPieces()),
			MaxMitigations:         number[int](c, s.GetMaxMitigations()),
			DefaultLifetime:        c.duration(s.GetDefaultLifetime()),
			MaxLifetime:            c.duration(s.GetMaxLifetime()),
			MaxRemovedLinksPercent: s.GetMaxRemovedLinksPercent(),
			ShortestRTBHIPv4:       number[uint8](c, s.GetShortestRtbhIpv4()),
			ShortestRTBHIPv6:       number[uint8](c, s.GetShortestRtbhIpv6()),
			MaxRTBHRoutes:          number[int](c, s.GetMaxRtbhRoutes()),
			ApprovalTimeout:        c.duration(s.GetApprovalTimeout()),
			ApprovalAddresses:      number[int](c, s.GetApprovalAddresses()),
			ApprovalWithdrawals:    number[int](c, s.GetApprovalWithdrawals()),
			ApprovalRemovals:       number[int](c, s.GetApprovalRemovals()),
			BreakGlassLifetime:     c.duration(s.GetBreakGlassLifetime()),

			Widest:                      c.widest(s.GetWidest()),
			MinConfidence:               confidence(s.GetMinConfidence()),
			MaxRules:                    number[int](c, s.GetMaxRules()),
			OperatorShare:               s.GetOperatorShare(),
			SourceShare:                 s.GetSourceShare(),
			MaxStartsPerMinute:          number[int](c, s.GetMaxStartsPerMinute()),
			MaxStartsPerMinutePerSource: number[int](c, s.GetMaxStartsPerMinutePerSource()),
			MaxRulesPerMinute:           number[int](c, s.GetMaxRulesPerMinute()),
			Quarantine:                  c.thresholds(s.GetQuarantine()),
		}
	case *raftv1.Document_Detector:
		return &policy.Detector{Name: d.Detector.GetName(), Trust: d.Detector.GetTrust(), Note: d.Detector.GetNote()}
	}
	c.unknown("document", "without a kind")
	return nil
}

func (c *codec) packPolicy(d *policy.Policy) *raftv1.Policy {
	return &raftv1.Policy{
		Name:           d.Name,
		Priority:       int64(d.Priority),
		Vectors:        texts[string](d.Vectors),
		Customers:      texts[string](d.Customers),
		Sources:        d.Sources,
		Tags:           d.Tags,
		MinRate:        float64(d.MinRate),
		MinPackets:     float64(d.MinPackets),
		MinConfidence:  d.MinConfidence,
		When:           d.When,
		Mode:           string(d.Mode),
		MatchOn:        texts[string](d.MatchOn),
		MaxMatches:     int64(d.MaxMatches),
		MaxMitigations: int64(d.MaxMitigations),
		MaxPerHour:     int64(d.MaxPerHour),
		Quorum:         int64(d.Quorum),
		Aggregate:      packAggregate(d.Aggregate),
		Action:         c.packAction(d.Action),
		Ladder:         list(d.Ladder, c.packStep),
		Quiet:          span(d.Quiet),
		Relax:          string(d.Relax),
		Lifetime:       span(d.Lifetime),
		Groups:         d.Groups,
	}
}

func (c *codec) policy(p *raftv1.Policy) *policy.Policy {
	return &policy.Policy{
		Name:           p.GetName(),
		Priority:       number[int](c, p.GetPriority()),
		Vectors:        texts[policy.Vector](p.GetVectors()),
		Customers:      texts[policy.CustomerID](p.GetCustomers()),
		Sources:        p.GetSources(),
		Tags:           p.GetTags(),
		MinRate:        flowspec.BytesPerSecond(p.GetMinRate()),
		MinPackets:     flowspec.PacketsPerSecond(p.GetMinPackets()),
		MinConfidence:  p.GetMinConfidence(),
		When:           p.GetWhen(),
		Mode:           policy.Mode(p.GetMode()),
		MatchOn:        texts[policy.Hint](p.GetMatchOn()),
		MaxMatches:     number[int](c, p.GetMaxMatches()),
		MaxMitigations: number[int](c, p.GetMaxMitigations()),
		MaxPerHour:     number[int](c, p.GetMaxPerHour()),
		Quorum:         number[int](c, p.GetQuorum()),
		Aggregate:      c.aggregate(p.GetAggregate()),
		Action:         c.action(p.GetAction()),
		Ladder:         list(p.GetLadder(), c.step),
		Quiet:          c.duration(p.GetQuiet()),
		Relax:          policy.Relax(p.GetRelax()),
		Lifetime:       c.duration(p.GetLifetime()),
		Groups:         p.GetGroups(),
	}
}

func (c *codec) packCustomer(d *policy.Customer) *raftv1.Customer {
	return &raftv1.Customer{
		Id:             string(d.ID),
		Name:           d.Name,
		Official:       list(d.Official, packPrefix),
		Within:         string(d.Within),
		Contacts:       d.Contacts,
		Tags:           d.Tags,
		MaxMitigations: int64(d.MaxMitigations),
		Services:       list(d.Services, c.packService),
		MaxRules:       int64(d.MaxRules),
		Mitigation:     string(d.Mitigation),
		ManualVectors:  texts[string](d.ManualVectors),
		SelfService:    texts[string](d.SelfService),
		Links: list(d.Links, func(l policy.Link) *raftv1.Link {
			return &raftv1.Link{
				Prefix: packPrefix(l.Prefix), Pe: l.PE, Interface: l.Interface, Block: l.Block,
				State: wordToEnum[raftv1.LinkState](c, l.State, linkStates(), "link state"),
			}
		}),
	}
}

func (c *codec) customer(d *raftv1.Customer) *policy.Customer {
	return &policy.Customer{
		ID:             policy.CustomerID(d.GetId()),
		Name:           d.GetName(),
		Official:       c.prefixes(d.GetOfficial()),
		Within:         policy.CustomerID(d.GetWithin()),
		Contacts:       d.GetContacts(),
		Tags:           d.GetTags(),
		MaxMitigations: number[int](c, d.GetMaxMitigations()),
		Services:       list(d.GetServices(), c.service),
		MaxRules:       number[int](c, d.GetMaxRules()),
		Mitigation:     policy.Consent(d.GetMitigation()),
		ManualVectors:  texts[policy.Vector](d.GetManualVectors()),
		SelfService:    texts[policy.SelfService](d.GetSelfService()),
		Links: list(d.GetLinks(), func(l *raftv1.Link) policy.Link {
			return policy.Link{
				Prefix: c.prefix(l.GetPrefix()), PE: l.GetPe(), Interface: l.GetInterface(), Block: l.GetBlock(),
				State: enumToWord(c, l.GetState(), linkStates(), "link state"),
			}
		}),
	}
}

func (c *codec) packRouter(d *policy.Router) *raftv1.Router {
	return &raftv1.Router{
		Name:    d.Name,
		Address: packAddr(d.Address),
		Port:    uint32(d.Port),
		Asn:     uint32(d.ASN),
		Group:   d.Group,
		Families: list(d.Families, func(f flowspec.Family) raftv1.Family {
			return enumerated[raftv1.Family](c, f, raftv1.Family_name, "family")
		}),
		Validation:     wordToEnum[raftv1.Validation](c, d.Validation, validations(), "validation"),
		Profile:        d.Profile,
		MaxPrefix:      int64(d.MaxPrefix),
		RulesPerSecond: int64(d.RulesPerSecond),
		PasswordSecret: d.PasswordSecret,
		TtlSecurity:    d.TTLSecurity,
		Multihop:       uint32(d.Multihop),
		Carries:        enumerated[raftv1.RouteKind](c, d.Carries, raftv1.RouteKind_name, "kind of route"),
		DiscardIpv4:    packAddr(d.DiscardIPv4),
		DiscardIpv6:    packAddr(d.DiscardIPv6),
		AcceptUntested: d.AcceptUntested,
		MaxEntries:     int64(d.MaxEntries),
	}
}

func (c *codec) router(d *raftv1.Router) *policy.Router {
	return &policy.Router{
		Name:    d.GetName(),
		Address: c.addr(d.GetAddress()),
		Port:    number[uint16](c, d.GetPort()),
		ASN:     flowspec.ASN(d.GetAsn()),
		Group:   d.GetGroup(),
		Families: list(d.GetFamilies(), func(f raftv1.Family) flowspec.Family {
			return enumerated[flowspec.Family](c, f, raftv1.Family_name, "family")
		}),
		Validation:     enumToWord(c, d.GetValidation(), validations(), "validation"),
		Profile:        d.GetProfile(),
		MaxPrefix:      number[int](c, d.GetMaxPrefix()),
		RulesPerSecond: number[int](c, d.GetRulesPerSecond()),
		PasswordSecret: d.GetPasswordSecret(),
		TTLSecurity:    d.GetTtlSecurity(),
		Multihop:       number[uint8](c, d.GetMultihop()),
		Carries:        enumerated[wanted.Kind](c, d.GetCarries(), raftv1.RouteKind_name, "kind of route"),
		DiscardIPv4:    c.addr(d.GetDiscardIpv4()),
		DiscardIPv6:    c.addr(d.GetDiscardIpv6()),
		AcceptUntested: d.GetAcceptUntested(),
		MaxEntries:     number[int](c, d.GetMaxEntries()),
	}
}
