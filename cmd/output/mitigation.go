package output

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// shownRules is how many rules and pieces a card shows before it counts the rest.
const shownRules = 40

// Action is an action in words.
func Action(a *pb.Action) string {
	text := ""
	switch {
	case a.GetDiscard():
		text = "discard"
	case a.GetRate() != "":
		text = "rate " + a.GetRate()
	case a.GetRedirect() != "":
		text = "redirect " + a.GetRedirect()
	case a.GetRedirectIp() != "" && a.GetCopy():
		text = "copy to " + a.GetRedirectIp()
	case a.GetRedirectIp() != "":
		text = "redirect to " + a.GetRedirectIp()
	case a.GetMark() != "":
		text = "mark " + a.GetMark()
	case a.GetRtbh():
		text = "rtbh"
	default:
		return "-"
	}
	if a.GetSample() {
		text += ", sample"
	}
	if a.GetContinue() {
		text += ", continue"
	}
	return text
}

// Mitigations prints a list.
func (p *Printer) Mitigations(r *pb.ListResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	t := &table{head: []string{"ID", "CUSTOMER", "TARGET", "ACTION", "RULES", "LEFT", "BY", "WHY"}, empty: "No mitigations."}
	for _, m := range r.GetMitigations() {
		left := p.left(m)
		why := m.GetVector()
		if why == "" {
			why = m.GetReason()
		}
		t.add(cell{m.GetId(), bold}, cell{text: m.GetCustomer()}, cell{text: first(m.GetTargets())}, cell{text: Action(m.GetAction())},
			cell{text: fmt.Sprint(len(m.GetRules()))}, left, cell{text: by(m)}, cell{text: cut(why, 30)})
	}
	p.table(t)
	p.frozen(r.GetFreeze())
	p.stale(r.GetRead())
	return nil
}

// by is the policy that asked for a mitigation, or the operator.
func by(m *pb.Mitigation) string {
	if m.GetPolicy() != "" {
		return "policy/" + m.GetPolicy()
	}
	return orDash(m.GetBy())
}

// Mitigation prints one mitigation.
func (p *Printer) Mitigation(r *pb.GetResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	p.Card(r.GetMitigation())
	p.stale(r.GetRead())
	return nil
}

// Started prints the answer to a start.
func (p *Printer) Started(r *pb.StartResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	p.verdict(r.GetVerdict())
	p.Card(r.GetMitigation())
	p.written(r.GetWrite())
	return nil
}

// Previewed prints the decision that a start would take. The card is that of a start, so that the two compare.
func (p *Printer) Previewed(r *pb.PreviewResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	p.Sentence("Preview: nothing was changed.")
	p.verdict(r.GetVerdict())
	p.Card(r.GetMitigation())
	p.stale(r.GetRead())
	return nil
}

// Extended prints the answer to an extension.
func (p *Printer) Extended(r *pb.ExtendResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	if r.GetVerdict() != nil { // it awaits approval
		p.verdict(r.GetVerdict())
		p.written(r.GetWrite())
		return nil
	}
	p.Sentence("%s now ends %s.", r.GetMitigation().GetId(), p.when(r.GetMitigation().GetExpires()))
	p.written(r.GetWrite())
	return nil
}

// Withdrawn prints the answer to a withdrawal, with the bound that holds for a node that is cut off.
func (p *Printer) Withdrawn(r *pb.WithdrawResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	m := r.GetMitigation()
	p.Sentence("%s for %s is over (%s), and %s with it.", m.GetId(), m.GetCustomer(), orDash(m.GetEnd()), count(len(m.GetRules()), "rule"))
	if t := r.GetGoneAtLatest(); t != nil {
		p.Sentence("Every node that hears the cluster withdraws now; a node that is cut off stops at %s at the latest.", p.when(t))
	}
	p.carriers(r.GetStillCarried())
	p.written(r.GetWrite())
	return nil
}

// WithdrawnAll prints the answer to a withdrawal of all.
func (p *Printer) WithdrawnAll(r *pb.WithdrawAllResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	if r.GetVerdict() != nil { // it awaits approval
		p.verdict(r.GetVerdict())
		p.written(r.GetWrite())
		return nil
	}
	if len(r.GetIds()) == 0 {
		p.Sentence("There was nothing to withdraw.")
		if r.GetFreeze() != nil {
			p.frozen(r.GetFreeze())
			p.written(r.GetWrite())
		}
		return nil
	}
	p.Sentence("%s over: %s.", count(len(r.GetIds()), "mitigation")+isAre(len(r.GetIds())), strings.Join(r.GetIds(), ", "))
	if t := r.GetGoneAtLatest(); t != nil {
		p.Sentence("Every node that hears the cluster withdraws now; a node that is cut off stops at %s at the latest.", p.when(t))
	}
	p.carriers(r.GetStillCarried())
	p.frozen(r.GetFreeze())
	p.written(r.GetWrite())
	return nil
}

// carriers says which sessions may still carry what was withdrawn, and until when.
func (p *Printer) carriers(all []*pb.Carrier) {
	for _, c := range all {
		p.warn(red, "%s %s: its sessions with %s may carry the rules until %s.", c.GetNode(), c.GetDetail(), strings.Join(c.GetRouters(), ", "), p.when(c.GetUntil()))
	}
}

func isAre(n int) string {
	if n == 1 {
		return " is"
	}
	return " are"
}

// Card prints all that is known of a mitigation.
func (p *Printer) Card(m *pb.Mitigation) {
	if m == nil {
		return
	}
	p.line("mitigation", orNew(m.GetId()))
	p.line("customer", m.GetCustomer())
	p.line("action", actionLine(m))
	p.lines("target", m.GetTargets(), shownRules)
	p.line("by", origin(m))
	p.line("why", m.GetReason())
	p.confidence(m)
	p.collateral(m)
	p.phase(m)
	p.approvals(m)
	p.steps(m)
	p.lines("acts on", m.GetPieces(), shownRules)
	var exempt []string
	for _, e := range m.GetExempt() {
		exempt = append(exempt, Exemption(e))
	}
	p.lines("exempt", exempt, shownRules)
	if m.GetRounded() {
		p.toned("rounded", cell{"holes were rounded outward to whole blocks, to stay within the limit of destinations", yellow})
	}
	for i, u := range m.GetUnprotected() {
		name := "unprotected"
		if i > 0 {
			name = " "
		}
		p.toned(name, cell{u, yellow})
	}
	p.lines("keeps", m.GetSpared(), shownRules)
	p.lines("rules", rulesOf(m), shownRules)
	p.line("rate", rateLine(m))
	p.lines("price", priceLines(m), shownRules)
	p.line("groups", strings.Join(m.GetGroups(), ", "))
	p.line("routers", strings.Join(m.GetRouters(), ", "))
	for i, c := range m.GetCauses() {
		name := "cause"
		if i > 0 {
			name = " "
		}
		p.line(name, fmt.Sprintf("attack %s reported by %s since %s", c.GetAttackId(), c.GetSource(), p.clock(c.GetSince())))
	}
	for _, n := range m.GetNotes() {
		p.toned("note", cell{n, yellow})
	}
}

// rulesOf are the rules of a mitigation, and by which other one the action is said instead.
func rulesOf(m *pb.Mitigation) []string {
	by := make(map[string]string)
	for _, o := range m.GetOverridden() {
		by[o.GetRule()] = o.GetBy()
	}
	out := slices.Clone(m.GetRules())
	for i, r := range out {
		if id := by[r]; id != "" {
			out[i] += " (overridden by " + id + ")"
		}
	}
	return out
}

// Unheard says that no session with the routers of a mitigation is established; empty when one is, or when there is
// nothing to say.
func Unheard(m *pb.Mitigation, peers []*pb.Peer) string {
	sessions := 0
	for _, s := range peers {
		if !slices.Contains(m.GetRouters(), s.GetRouter()) {
			continue
		}
		if s.GetState() == "established" {
			return ""
		}
		sessions++
	}
	switch {
	case m.GetId() == "" || len(m.GetRules()) == 0:
		return ""
	case len(m.GetRouters()) == 0:
		return fmt.Sprintf("%s is committed, and there is no router that hears it.", m.GetId())
	default:
		return fmt.Sprintf("%s is committed, and no router hears it yet: 0 of %s with %s established; see tidegate peers.",
			m.GetId(), count(sessions, "session"), strings.Join(m.GetRouters(), ", ")+isAre(sessions))
	}
}

// Caution prints a sentence that must not be overlooked.
func (p *Printer) Caution(text string) { p.warn(yellow, "Caution: %s", text) }

func orNew(id string) string {
	if id == "" {
		return "(not started)"
	}
	return id
}

func (p *Printer) phase(m *pb.Mitigation) {
	if m.GetPhase() == "pending" {
		p.toned("phase", cell{"pending: nothing is announced; lapses " + p.when(m.GetExpires()), yellow})
		return
	}
	if m.GetPhase() != "over" {
		p.line("ends", p.when(m.GetExpires()))
		return
	}
	text := fmt.Sprintf("over since %s: %s", p.when(m.GetEndedAt()), m.GetEnd())
	if m.GetEndedBy() != "" {
		text += " by " + m.GetEndedBy()
	}
	if m.GetEndNote() != "" {
		text += ", " + m.GetEndNote()
	}
	p.toned("ends", cell{text, dim})
}

func origin(m *pb.Mitigation) string {
	switch {
	case m.GetPolicy() != "" && m.GetVector() != "":
		return fmt.Sprintf("policy %s, vector %s", m.GetPolicy(), m.GetVector())
	case m.GetPolicy() != "":
		return "policy " + m.GetPolicy()
	default:
		return m.GetBy()
	}
}

func actionLine(m *pb.Mitigation) string {
	if m.GetAction() == nil {
		return ""
	}
	return Action(m.GetAction())
}

// rateLine says what a rate comes to: a policer for each rule on each router.
func rateLine(m *pb.Mitigation) string {
	if m.GetAction().GetRate() == "" || m.GetRatePerRule() == "" {
		return ""
	}
	rules := fmt.Sprintf("%s x %s", count(len(m.GetRules()), "rule"), m.GetRatePerRule())
	if len(m.GetRouters()) == 0 || m.GetRateTotal() == "" { // it is over, or there is no router
		return rules + " on each router"
	}
	return fmt.Sprintf("%s x %s x %s = %s", count(len(m.GetRules()), "rule"), count(len(m.GetRouters()), "router"), m.GetRatePerRule(), m.GetRateTotal())
}

// priceLines say what the rules cost on each router, and how full it is.
func priceLines(m *pb.Mitigation) []string {
	var out []string
	for _, price := range m.GetPrices() {
		cost := "price not known, no profile is stated"
		if len(price.GetRuleEntries()) > 0 {
			cost = fmt.Sprintf("%s = %d %s (%s)", entriesSum(price.GetRuleEntries()), price.GetEntries(), unitFor(price.GetEntries(), price.GetUnit()), price.GetProfile())
		}
		for _, r := range price.GetRouters() {
			line := fmt.Sprintf("%s: %s; it holds %d of at most %d rules", r.GetRouter(), cost, r.GetRules(), r.GetRulesStop())
			if r.GetEntriesStop() > 0 {
				line += fmt.Sprintf(", %d of at most %d entries", r.GetEntries(), r.GetEntriesStop())
			}
			out = append(out, line)
		}
	}
	return out
}

// entriesSum is the sum of the rules' prices in words: rules of one price stand together.
func entriesSum(entries []uint32) string {
	of := make(map[uint32]int)
	for _, n := range entries {
		of[n]++
	}
	var parts []string
	for _, n := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, fmt.Sprintf("%s x %d", count(of[n], "rule"), n))
	}
	return strings.Join(parts, " + ")
}

// Exemption is an exemption in words.
func Exemption(e *pb.Exemption) string {
	if e.GetName() == "" {
		return fmt.Sprintf("%s (%s)", e.GetPrefix(), e.GetKind())
	}
	return fmt.Sprintf("%s (%s %s)", e.GetPrefix(), e.GetKind(), e.GetName())
}

// written says where a write stands in the log.
func (p *Printer) written(w *pb.WriteInfo) {
	switch {
	case w == nil:
	case w.GetRepeatedRequest():
		p.Sentence("This request was done before (log entry %d); this is the answer given then.", w.GetIndex())
	case w.GetIndex() == 0:
		p.Sentence("Nothing to change.")
	default:
		p.Sentence("%s", p.paint(cell{fmt.Sprintf("Committed as log entry %d.", w.GetIndex()), dim}))
	}
}

// stale warns when an answer comes from a node that has not heard from a leader for a while.
func (p *Printer) stale(r *pb.ReadInfo) {
	age := r.GetAge().AsDuration()
	if r.GetNoLeaderSinceStart() {
		p.Caution(fmt.Sprintf("node %s has heard from no leader since it started %s ago; the last entries of the log may be missing here.", r.GetNode(), Short(age)))
		return
	}
	if age.Seconds() >= 2 {
		p.Sentence("%s", p.paint(cell{fmt.Sprintf("Caution: node %s last heard from a leader %s ago; this may be old.", r.GetNode(), Short(age)), yellow}))
	}
}

// unitFor is the word for so many of a unit that is named in the plural, e.g. "TCAM entry" for one of "TCAM entries".
func unitFor[N ~int | ~int32 | ~int64 | ~uint32 | ~uint64](n N, unit string) string {
	if n != 1 {
		return unit
	}
	if word, ok := strings.CutSuffix(unit, "ies"); ok {
		return word + "y"
	}
	return strings.TrimSuffix(unit, "s")
}
