package output

import (
	"fmt"
	"strings"

	"github.com/tidegate/tidegate/api/manifest"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// shownRemovals is how many removed prefixes a plan shows before it counts the rest.
const shownRemovals = 20

// Planned prints what an apply would do.
func (p *Printer) Planned(r *pb.PlanResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	p.Sentence("Plan: nothing was changed.")
	p.plan(r.GetPlan(), true)
	if k := r.GetVerdict().GetKind(); k == pb.VerdictKind_VERDICT_KIND_REFUSED || k == pb.VerdictKind_VERDICT_KIND_PENDING {
		p.verdict(r.GetVerdict())
	}
	return nil
}

// Applied prints what an apply did.
func (p *Printer) Applied(r *pb.ApplyResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	if r.GetVerdict() != nil { // it awaits approval
		p.Sentence("Nothing was changed yet.")
		p.plan(r.GetPlan(), true)
		p.verdict(r.GetVerdict())
		p.written(r.GetWrite())
		return nil
	}
	p.plan(r.GetPlan(), false)
	p.written(r.GetWrite())
	return nil
}

func (p *Printer) plan(pl *pb.Plan, dry bool) {
	if pl == nil {
		return
	}
	for _, part := range []struct {
		word string
		tone tone
		refs []*pb.DocumentRef
	}{{"add", green, pl.GetAdded()}, {"change", yellow, pl.GetChanged()}, {"remove", red, pl.GetRemoved()}} {
		for i, ref := range part.refs {
			if i == shownRules && len(part.refs) > shownRules+1 {
				p.Sentence("  %s  and %d more (-o json prints all)", part.word, len(part.refs)-i)
				break
			}
			p.Sentence("  %s%s %s %s", p.paint(cell{part.word, part.tone}), strings.Repeat(" ", 6-len(part.word)), ref.GetKind(), ref.GetName())
		}
	}
	p.Sentence("%s added, %d changed, %d removed, %d unchanged; links %d -> %d.", count(len(pl.GetAdded()), "document"),
		len(pl.GetChanged()), len(pl.GetRemoved()), pl.GetUnchanged(), pl.GetLinksBefore(), pl.GetLinksAfter())
	p.lines("links gone", pl.GetLinksRemoved(), shownRemovals)
	p.lines("space gone", pl.GetProtectedRemoved(), shownRemovals)
	if n := pl.GetRemovalsToAllow(); n > 0 && dry {
		p.Sentence("%s", p.paint(cell{fmt.Sprintf("This takes protection away: apply needs --allow-removals %d.", n), yellow}))
	}
	narrowed, ended := "Narrowed, since protection was added", "Ended, since nothing was left to act on"
	if dry {
		narrowed, ended = "Would be narrowed, since protection is added", "Would end, since nothing is left to act on"
	}
	if m := pl.GetNarrowed(); len(m) > 0 {
		p.Sentence("%s: %s.", narrowed, strings.Join(m, ", "))
	}
	if m := pl.GetEnded(); len(m) > 0 {
		p.Sentence("%s: %s.", ended, strings.Join(m, ", "))
	}
	if m := pl.GetUnenforced(); len(m) > 0 {
		p.Caution(fmt.Sprintf("after this change no router hears %s: nothing enforces what is active there.", strings.Join(m, ", ")))
	}
}

// Customers prints customers as a list.
func (p *Printer) Customers(r *pb.ListDocumentsResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	t := &table{head: []string{"ID", "NAME", "OFFICIAL", "LINKS", "WITHIN", "CONTACT"}, empty: "No customers."}
	for _, d := range r.GetDocuments() {
		if c := d.GetCustomer(); c != nil {
			t.add(cell{c.GetId(), bold}, cell{text: orDash(cut(c.GetName(), 28))}, cell{text: first(c.GetOfficial())},
				cell{text: fmt.Sprint(len(c.GetLinks()))}, cell{text: orDash(c.GetWithin())}, cell{text: first(c.GetContacts())})
		}
	}
	p.table(t)
	p.stale(r.GetRead())
	return nil
}

// Customer prints one customer.
func (p *Printer) Customer(r *pb.GetDocumentResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	c := r.GetDocument().GetCustomer()
	p.line("customer", c.GetId())
	p.line("name", c.GetName())
	p.lines("official", c.GetOfficial(), 0)
	p.line("within", c.GetWithin())
	p.lines("contacts", c.GetContacts(), 0)
	if n := c.GetMaxMitigations(); n > 0 {
		p.line("quota", count(int(n), "active mitigation"))
	}
	if n := c.GetMaxRules(); n > 0 {
		p.line("quota", count(int(n), "rule"))
	}
	p.consent(c)
	p.lines("services", servicesOf(c), 0)
	if len(c.GetLinks()) > 0 {
		p.Sentence("")
		t := &table{head: []string{"LINK", "PE", "INTERFACE", "BLOCK", "STATE"}}
		for _, l := range c.GetLinks() {
			t.add(plainCells(l.GetPrefix(), orDash(l.GetPe()), orDash(l.GetInterface()), orDash(l.GetBlock()), orDash(l.GetState()))...)
		}
		p.table(t)
	}
	p.stale(r.GetRead())
	return nil
}

// servicesOf are the services of a customer in words.
func servicesOf(c *pb.Customer) []string {
	var out []string
	for _, s := range c.GetServices() {
		text := s.GetProtocol()
		if len(s.GetPorts()) > 0 {
			text += "/" + strings.Join(s.GetPorts(), ",")
		}
		if len(s.GetPrefixes()) > 0 {
			text += " at " + strings.Join(s.GetPrefixes(), ", ")
		}
		if s.GetNote() != "" {
			text += " (" + s.GetNote() + ")"
		}
		out = append(out, text)
	}
	return out
}

// Lookup prints one sentence about an address.
func (p *Printer) Lookup(r *pb.LookupResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	p.Sentence("%s", r.GetText())
	p.stale(r.GetRead())
	return nil
}

// Document prints one document: as a table it is the YAML that apply takes.
func (p *Printer) Document(r *pb.GetDocumentResponse) error {
	if p.Format == JSON {
		_, err := p.message(r)
		return err
	}
	return manifest.Write(p.W, r.GetDocument())
}

// Documents prints documents as a list of names; their YAML is what apply takes, so that it serves as a copy of the
// whole inventory.
func (p *Printer) Documents(r *pb.ListDocumentsResponse) error {
	switch p.Format {
	case JSON:
		_, err := p.message(r)
		return err
	case YAML:
		return manifest.Write(p.W, r.GetDocuments()...)
	case Table:
	}
	t := &table{head: []string{"KIND", "NAME", "WHAT"}, empty: "No documents."}
	for _, d := range r.GetDocuments() {
		kind, name, what := Describe(d)
		t.add(cell{text: kind}, cell{name, bold}, cell{text: cut(what, 70)})
	}
	p.table(t)
	p.stale(r.GetRead())
	return nil
}

// Describe is a document's kind, name and gist.
func Describe(d *pb.Document) (kind, name, what string) {
	switch v := d.GetDocument().(type) {
	case *pb.Document_Customer:
		c := v.Customer
		return "Customer", c.GetId(), fmt.Sprintf("%s, %s", first(c.GetOfficial()), count(len(c.GetLinks()), "link"))
	case *pb.Document_ProtectedBlock:
		b := v.ProtectedBlock
		return "ProtectedBlock", b.GetName(), fmt.Sprintf("%s, %s", b.GetPurpose(), first(b.GetPrefixes()))
	case *pb.Document_Router:
		r := v.Router
		return "Router", r.GetName(), fmt.Sprintf("%s, AS %d, group %s", r.GetAddress(), r.GetAsn(), orDash(r.GetGroup()))
	case *pb.Document_Policy:
		q := v.Policy
		vectors := "every vector"
		if len(q.GetVectors()) > 0 {
			vectors = strings.Join(q.GetVectors(), ", ")
		}
		return "Policy", q.GetName(), fmt.Sprintf("priority %d: %s: %s", q.GetPriority(), vectors, policyAction(q))
	case *pb.Document_Safeguards:
		return "Safeguards", v.Safeguards.GetName(), ""
	case *pb.Document_Detector:
		return "Detector", v.Detector.GetName(), fmt.Sprintf("trust %v", v.Detector.GetTrust())
	default:
		return "?", "?", ""
	}
}
