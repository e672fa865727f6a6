package output

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/cmd/rehearse"
	"github.com/tidegate/tidegate/policy"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// widestTakes bounds a line about what a policy takes; policy show has all of it.
const widestTakes = 56

// Policies prints policies in the order in which they are asked.
func (p *Printer) Policies(r *pb.ListDocumentsResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	var list []*pb.Policy
	for _, d := range r.GetDocuments() {
		if q := d.GetPolicy(); q != nil {
			list = append(list, q)
		}
	}
	slices.SortStableFunc(list, func(a, b *pb.Policy) int {
		return cmp.Or(cmp.Compare(b.GetPriority(), a.GetPriority()), cmp.Compare(a.GetName(), b.GetName()))
	})
	t := &table{head: []string{"NAME", "PRIORITY", "MODE", "TAKES", "ACTION"}, empty: "No policies: every signal is observed only."}
	for _, q := range list {
		t.add(cell{q.GetName(), bold}, cell{text: fmt.Sprint(q.GetPriority())}, cell{text: cmp.Or(q.GetMode(), "auto")},
			cell{text: takes(q)}, cell{text: policyAction(q)})
	}
	p.table(t)
	p.stale(r.GetRead())
	return nil
}

// takes says in a line which signals a policy takes.
func takes(q *pb.Policy) string {
	var parts []string
	add := func(name string, list []string) {
		if len(list) > 0 {
			parts = append(parts, name+" "+first(list))
		}
	}
	add("vector", q.GetVectors())
	add("customer", q.GetCustomers())
	add("tag", q.GetTags())
	add("from", q.GetSources())
	if s := q.GetMinRate(); s != "" {
		parts = append(parts, "from "+s)
	}
	if s := q.GetMinPackets(); s != "" {
		parts = append(parts, "from "+s)
	}
	if c := q.GetMinConfidence(); c > 0 {
		parts = append(parts, fmt.Sprintf("confidence from %v", c))
	}
	if s := q.GetWhen(); s != "" {
		parts = append(parts, "when "+cut(s, 32))
	}
	if len(parts) == 0 {
		return "every signal"
	}
	return cut(strings.Join(parts, ", "), widestTakes)
}

// ConditionVariables prints what a policy's condition may speak of.
func (p *Printer) ConditionVariables() error {
	type variable struct {
		Name    string `json:"name"`
		Type    string `json:"type"`
		Meaning string `json:"meaning"`
	}
	var list []variable
	for _, v := range policy.ConditionVariables() {
		list = append(list, variable{v.Name, v.Type, v.Meaning})
	}
	if done, err := p.Value(list); done {
		return err
	}
	t := &table{head: []string{"VARIABLE", "TYPE", "WHAT IT IS"}}
	for _, v := range list {
		t.add(cell{v.Name, bold}, cell{text: v.Type}, cell{text: v.Meaning})
	}
	p.table(t)
	return nil
}

// Rehearsed prints how cases came out: a line for each, under it what differs, and with why the story of its mitigation.
func (p *Printer) Rehearsed(results []rehearse.Result, why bool) error {
	if done, err := p.Value(results); done {
		return err
	}
	for _, r := range results {
		if len(r.Differences) == 0 {
			p.Sentence("%s  %s: %s (%s)", p.paint(cell{"ok  ", green}), r.Name, r.Verdict, r.Code)
		} else {
			p.Sentence("%s  %s: %s (%s): %s", p.paint(cell{"DIFF", red}), r.Name, r.Verdict, r.Code, r.Text)
		}
		for _, d := range r.Differences {
			p.Sentence("      %s", d)
		}
		if why && r.Mitigation != nil {
			then := *p
			then.Now = r.Now
			p.Sentence("")
			if err := then.Why(&pb.GetResponse{Mitigation: r.Mitigation}); err != nil {
				return err
			}
			p.Sentence("")
		}
	}
	p.Sentence("%s, %d came out otherwise.", count(len(results), "case"), rehearse.Failed(results))
	return nil
}
