package api

import (
	"context"
	"fmt"
	"net/netip"

	"google.golang.org/protobuf/protoadapt"

	"github.com/tidegate/tidegate/controller"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

type inventoryService struct {
	tidegatev1.UnimplementedInventoryServiceServer
	*Server
}

// documentKinds are the kinds, in the order in which they are listed.
func documentKinds() []policy.DocumentKind {
	return []policy.DocumentKind{policy.KindSafeguards, policy.KindProtectedBlock, policy.KindCustomer, policy.KindRouter, policy.KindPolicy, policy.KindDetector}
}

// applyRequest reads the documents of a plan or an apply.
func applyRequest(v *violations, docs []*tidegatev1.Document, prune bool, allow uint32) *policy.ApplyRequest {
	if len(docs) == 0 {
		v.add("documents", "there is none", "send at least one document; to remove one, apply all others with prune")
	}
	out, list := documentsFrom(docs)
	v.list = append(v.list, list...)
	return &policy.ApplyRequest{Documents: out, Prune: prune, AllowRemovals: int(allow)}
}

// Plan says what Apply would do. A refusal is a verdict here: it is what was asked for, and the plan explains it.
func (s *inventoryService) Plan(ctx context.Context, req *tidegatev1.PlanRequest) (*tidegatev1.PlanResponse, error) {
	by, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	v := &violations{}
	apply := applyRequest(v, req.GetDocuments(), req.GetPrune(), req.GetAllowRemovals())
	if err := v.err(); err != nil {
		return nil, err
	}
	return onLeaderFirst(ctx, s.Server, tidegatev1.InventoryService_Plan_FullMethodName, req, func(ctx context.Context) (*tidegatev1.PlanResponse, error) {
		d, index, err := s.ctrl.Preview(ctx, controller.Command{By: by.Principal(), Request: apply})
		if err != nil {
			return nil, err
		}
		if len(d.Violations) > 0 {
			return nil, refusal(d)
		}
		return &tidegatev1.PlanResponse{Verdict: planVerdict(d.Verdict), Plan: planProto(d.Plan), Read: s.readInfoAt(s.ctrl.State(), index)}, nil
	})
}

// planVerdict is the verdict on documents. What is not refused is neither mitigated nor any other kind of verdict: those
// are about attacks.
func planVerdict(in policy.Verdict) *tidegatev1.Verdict {
	out := verdictProto(in)
	if in.Kind != policy.Refused && in.Kind != policy.Retry && in.Kind != policy.AwaitsApproval {
		out.Kind = tidegatev1.VerdictKind_VERDICT_KIND_UNSPECIFIED
	}
	return out
}

// Apply changes documents.
func (s *inventoryService) Apply(ctx context.Context, req *tidegatev1.ApplyRequest) (*tidegatev1.ApplyResponse, error) {
	return onLeader(ctx, s.Server, tidegatev1.InventoryService_Apply_FullMethodName, req, func(ctx context.Context) (*tidegatev1.ApplyResponse, error) {
		v := &violations{}
		cmd, err := command(ctx, v, req)
		if err != nil {
			return nil, err
		}
		apply := applyRequest(v, req.GetDocuments(), req.GetPrune(), req.GetAllowRemovals())
		apply.BreakGlass, cmd.Request = req.GetBreakGlass(), apply
		if err := v.err(); err != nil {
			return nil, err
		}
		out, err := s.ctrl.Write(ctx, cmd)
		if err != nil {
			return nil, err
		}
		plan := planProto(out.Decision.Plan)
		var details []protoadapt.MessageV1
		if plan != nil {
			details = append(details, protoadapt.MessageV1Of(shortened(plan)))
		}
		if err := refusal(out.Decision, details...); err != nil {
			return nil, err
		}
		resp := &tidegatev1.ApplyResponse{Plan: plan, Write: writeInfo(out)}
		if out.Decision.Verdict.Kind == policy.AwaitsApproval {
			resp.Verdict = verdictProto(out.Decision.Verdict)
		}
		return resp, nil
	})
}

// shortened is a plan that fits into the header of a refusal: the numbers, and the first of each list.
func shortened(p *tidegatev1.Plan) *tidegatev1.Plan {
	return &tidegatev1.Plan{
		Added: first(p.GetAdded()), Changed: first(p.GetChanged()), Removed: first(p.GetRemoved()), Unchanged: p.GetUnchanged(),
		LinksBefore: p.GetLinksBefore(), LinksAfter: p.GetLinksAfter(),
		LinksRemoved: first(p.GetLinksRemoved()), ProtectedRemoved: first(p.GetProtectedRemoved()),
		RemovalsToAllow: p.GetRemovalsToAllow(), Narrowed: first(p.GetNarrowed()), Ended: first(p.GetEnded()), Unenforced: first(p.GetUnenforced()),
	}
}

func first[T any](list []T) []T { return list[:min(len(list), maxDetails)] }

// GetDocument shows one document.
func (s *inventoryService) GetDocument(_ context.Context, req *tidegatev1.GetDocumentRequest) (*tidegatev1.GetDocumentResponse, error) {
	v := &violations{prefix: "ref."}
	kind := documentKind(v, req.GetRef().GetKind())
	name := req.GetRef().GetName()
	if name == "" {
		v.add("name", "it is missing", "name the document")
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	st := s.ctrl.State()
	d, ok := st.Document(policy.DocumentRef{Kind: kind, Name: name})
	if !ok {
		return nil, &notFoundError{what: fmt.Sprintf("there is no %s named %s", kind, quote(name))}
	}
	return &tidegatev1.GetDocumentResponse{Document: documentProto(d), Read: s.readInfo(st)}, nil
}

func documentKind(v *violations, s string) policy.DocumentKind {
	for _, k := range documentKinds() {
		if string(k) == s {
			return k
		}
	}
	problem := quote(s) + " is not a kind of document"
	if s == "" {
		problem = "it is missing"
	}
	v.add("kind", problem, "write Customer, ProtectedBlock, Router, Policy, Safeguards or Detector")
	return ""
}

// ListDocuments shows the documents of one kind, or all.
func (s *inventoryService) ListDocuments(_ context.Context, req *tidegatev1.ListDocumentsRequest) (*tidegatev1.ListDocumentsResponse, error) {
	kinds := documentKinds()
	if req.GetKind() != "" {
		v := &violations{}
		kinds = []policy.DocumentKind{documentKind(v, req.GetKind())}
		if err := v.err(); err != nil {
			return nil, err
		}
	}
	st := s.ctrl.State()
	out := &tidegatev1.ListDocumentsResponse{Read: s.readInfo(st)}
	for _, k := range kinds {
		for d := range st.Documents(k) {
			out.Documents = append(out.Documents, documentProto(d))
		}
	}
	return out, nil
}

// Lookup says whose an address is, and whether it is protected.
func (s *inventoryService) Lookup(_ context.Context, req *tidegatev1.LookupRequest) (*tidegatev1.LookupResponse, error) {
	v := &violations{}
	p := v.address("address", req.GetAddress())
	if err := v.err(); err != nil {
		return nil, err
	}
	st := s.ctrl.State()
	return lookupProto(st, p, s.readInfo(st)), nil
}

func lookupProto(st *policy.State, a netip.Addr, read *tidegatev1.ReadInfo) *tidegatev1.LookupResponse {
	l := st.Lookup(a)
	out := &tidegatev1.LookupResponse{Protected: l.Protected, Read: read}
	if l.Customer != nil {
		out.Customer, out.CustomerName, out.Official = string(l.Customer.ID), l.Customer.Name, l.Official.String()
	}
	if l.Protected {
		out.Protection = exemptionProto(l.Protection)
		if l.Protection.Kind == policy.ExemptLink {
			out.Link, out.LinkCustomer = linkAt(st, l)
		}
	}
	out.Text = lookupText(a, l, out)
	return out
}

// linkAt is the link that protects an address, and whose it is: the exemption of a link carries the customer's name.
func linkAt(st *policy.State, l policy.Lookup) (*tidegatev1.Link, string) {
	c, ok := st.Customer(policy.CustomerID(l.Protection.Name))
	if !ok {
		return nil, ""
	}
	for _, link := range c.Links {
		if link.Prefix == l.Protection.Prefix {
			return linkProto(link), string(c.ID)
		}
	}
	return nil, string(c.ID)
}

func lookupText(a netip.Addr, l policy.Lookup, out *tidegatev1.LookupResponse) string {
	switch {
	case l.Protected && out.GetLink() != nil:
		return fmt.Sprintf("No rule ever acts on packets to %s: it lies in link %s of customer %s.", a, l.Protection.Prefix, out.GetLinkCustomer())
	case l.Protected && l.Protection.Name != "":
		return fmt.Sprintf("No rule ever acts on packets to %s: it lies in %s, %s %s.", a, l.Protection.Prefix, l.Protection.Kind, l.Protection.Name)
	case l.Protected:
		return fmt.Sprintf("No rule ever acts on packets to %s: it lies in %s, which is protected (%s).", a, l.Protection.Prefix, l.Protection.Kind)
	case l.Customer != nil:
		text := fmt.Sprintf("Rules may act on packets to %s: it is official space of customer %s (%s) and not protected.", a, l.Customer.ID, l.Official)
		if kept := policy.ServicesAt(l.Customer, a); len(kept) > 0 {
			text += fmt.Sprintf(" They leave alone what the customer keeps: %s.", servicesText(kept))
		}
		return text
	default:
		return fmt.Sprintf("No rule acts on packets to %s: it is not official space of any customer.", a)
	}
}
