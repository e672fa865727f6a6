package output

import (
	"fmt"
	"strings"

	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// Approvals prints what awaits a second person.
func (p *Printer) Approvals(r *pb.ListApprovalsResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	t := &table{head: []string{"ID", "KIND", "CUSTOMER", "WHAT", "ASKED BY", "LEFT", "WHY"}, empty: "Nothing awaits a second person."}
	for _, a := range r.GetApprovals() {
		left := cell{Short(max(0, a.GetUntil().AsTime().Sub(p.Now))), normal}
		if a.GetStatus() != "pending" {
			left = cell{a.GetStatus(), dim}
		}
		t.add(cell{a.GetId(), bold}, cell{text: a.GetKind()}, cell{text: orDash(a.GetCustomer())}, cell{text: cut(a.GetWhat(), 40)},
			cell{text: a.GetBy()}, left, cell{text: cut(a.GetWhy(), 40)})
	}
	p.table(t)
	p.stale(r.GetRead())
	return nil
}

// Approval prints one thing that awaits a second person, or did, and what approving it would do now.
func (p *Printer) Approval(r *pb.GetApprovalResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	if a := r.GetApproval(); a != nil {
		p.line("approval", fmt.Sprintf("%s, %s", a.GetId(), a.GetKind()))
		p.line("status", a.GetStatus())
		p.line("customer", a.GetCustomer())
		p.line("what", a.GetWhat())
		p.line("because", a.GetWhy())
		p.line("asked by", fmt.Sprintf("%s at %s", a.GetBy(), p.clock(a.GetAt())))
		p.line("reason", a.GetReason())
		if a.GetDecidedBy() != "" {
			p.line("decided by", fmt.Sprintf("%s at %s: %s", a.GetDecidedBy(), p.clock(a.GetDecidedAt()), a.GetNote()))
		} else {
			p.line("lapses", p.when(a.GetUntil()))
		}
	}
	if r.GetApproval() == nil || r.GetApproval().GetStatus() != "pending" {
		p.Card(r.GetMitigation())
		p.line(" ", r.GetVerdict().GetText())
		p.stale(r.GetRead())
		return nil
	}
	p.Sentence("")
	p.Sentence("Approved now, this would be done:")
	p.verdict(r.GetVerdict())
	if len(r.GetAfter()) == 0 {
		p.Card(r.GetMitigation())
	}
	for i, m := range r.GetAfter() {
		if i > 0 && r.GetApproval().GetKind() == "withdraw-all" {
			break
		}
		p.Card(m)
	}
	if n := len(r.GetAfter()); n > 1 && r.GetApproval().GetKind() == "withdraw-all" {
		p.Sentence("And %d more.", n-1)
	}
	p.plan(r.GetPlan(), true)
	p.stale(r.GetRead())
	return nil
}

// Approved prints the answer to an approval.
func (p *Printer) Approved(r *pb.ApproveResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	p.decided(r.GetVerdict(), r.GetMitigation(), r.GetIds(), r.GetPlan(), r.GetWrite())
	return nil
}

// BrokeGlass prints the answer to going past an approval.
func (p *Printer) BrokeGlass(r *pb.BreakGlassResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	p.decided(r.GetVerdict(), r.GetMitigation(), r.GetIds(), r.GetPlan(), r.GetWrite())
	return nil
}

func (p *Printer) decided(v *pb.Verdict, m *pb.Mitigation, ids []string, plan *pb.Plan, w *pb.WriteInfo) {
	p.verdict(v)
	p.Card(m)
	if len(ids) > 0 {
		p.Sentence("%s over: %s.", count(len(ids), "mitigation")+isAre(len(ids)), strings.Join(ids, ", "))
	}
	p.plan(plan, false)
	p.written(w)
}

// Rejected prints the answer to a rejection.
func (p *Printer) Rejected(r *pb.RejectResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	p.verdict(r.GetVerdict())
	p.written(r.GetWrite())
	return nil
}

// approvals says what a second person has to do with a mitigation.
func (p *Printer) approvals(m *pb.Mitigation) {
	if a := m.GetAwaits(); a != nil {
		p.toned("awaits", cell{fmt.Sprintf("approval of %s until %s, asked for by %s: %s", a.GetWhat(), p.clock(a.GetUntil()), a.GetBy(), a.GetWhy()), yellow})
	}
	if m.GetApprovedBy() != "" {
		p.line("approved", fmt.Sprintf("by %s at %s", m.GetApprovedBy(), p.clock(m.GetApprovedAt())))
	}
	if m.GetBreakGlass() {
		p.toned("break-glass", cell{fmt.Sprintf("nobody approved it; it ends at %s unless somebody does", p.clock(m.GetBreakGlassUntil())), red})
	}
	if m.GetCapped() != "" {
		p.line("not approved", m.GetCapped())
	}
}

// left is how long a mitigation has, or how it ended, for a list.
func (p *Printer) left(m *pb.Mitigation) cell {
	time := Short(max(0, m.GetExpires().AsTime().Sub(p.Now)))
	switch {
	case m.GetPhase() == "over":
		return cell{m.GetEnd(), dim}
	case m.GetPhase() == "pending":
		return cell{"pending " + time, yellow}
	case m.GetBreakGlass():
		return cell{time + " break-glass", red}
	case m.GetAwaits() != nil:
		return cell{time + " awaits " + m.GetAwaits().GetKind(), yellow}
	}
	return cell{time, normal}
}

func awaiting(n int) string {
	if n == 1 {
		return "1 thing awaits"
	}
	return fmt.Sprintf("%d things await", n)
}

// secondPerson says how much in the cluster awaits approval, or went past it.
func (p *Printer) secondPerson(r *pb.StatusResponse) {
	if n := r.GetPendingApprovals(); n > 0 {
		p.toned("awaits", cell{fmt.Sprintf("%s a second person: tidegate approval list", awaiting(int(n))), yellow})
	}
	if n := r.GetBreakGlassMitigations(); n > 0 {
		p.toned("break-glass", cell{fmt.Sprintf("%s active that nobody approved", count(int(n), "mitigation")+isAre(int(n))), red})
	}
}
