package policy_test

import (
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

// guarded is the inventory with safeguards, which change alters from those that hold without a document.
func guarded(change func(*policy.Safeguards)) []policy.Document {
	sg := policy.DefaultSafeguards()
	change(sg)
	return without(nil, sg)
}

// owned is solo-c as change alters it, in the inventory.
func owned(change func(*policy.Customer)) []policy.Document {
	docs := without([]string{"solo-c"})
	c := &policy.Customer{ID: "solo-c", Name: "Solo C", Official: pfxs("192.0.2.0/25"), Contacts: []string{"noc@solo.example"}}
	change(c)
	return append(docs, c)
}

// hosts are signals of as many attacks, each on an address of its own of uni-a.
func hosts(n int) []policy.Request {
	var out []policy.Request
	for i := range n {
		out = append(out, signal(fmt.Sprint("h", i), 1, policy.VectorDNSAmplification, pfxs(fmt.Sprintf("198.51.100.%d/32", i+1))))
	}
	return out
}

// second makes a signal one of another detector.
func second(s *policy.Signal) { s.Source = "fnm-2" }

func holdCases() []reasonCase {
	dns := policy.VectorDNSAmplification
	freeze := []policy.Request{&policy.FreezeRequest{Duration: time.Hour}}
	quarantine := []policy.Request{&policy.QuarantineRequest{Source: "fnm-1"}}
	one := signal("a", 1, dns, pfxs("192.0.2.3/32"))
	wide := signal("a", 1, dns, pfxs("203.0.112.0/24"))
	unsure := signal("a", 1, dns, pfxs("192.0.2.3/32"), sure(0.6))
	narrow := guarded(func(d *policy.Safeguards) { d.Widest.Discard = policy.Widths{IPv4: 25, IPv6: 64} })
	ten := guarded(func(d *policy.Safeguards) { d.MaxMitigations, d.SourceShare = 10, 0 })
	return []reasonCase{
		{name: "freeze", req: freeze[0], kind: policy.Mitigated, code: policy.CodeFrozen, text: []string{"2026-05-04T13:00:00Z"}},
		{name: "freeze again", first: freeze, req: &policy.FreezeRequest{}, kind: policy.Mitigated, code: policy.CodeFrozen, text: []string{"until somebody", "takes the place"}},
		{name: "freeze for less than nothing", req: &policy.FreezeRequest{Duration: -1}, kind: policy.Refused, code: policy.CodeMalformed, text: []string{"duration"}},
		{name: "while frozen", first: freeze, req: one, kind: policy.Observed, code: policy.CodeFrozen, text: []string{"operator/alice", "ticket 4711", "by hand", "unfreeze"}},
		{name: "by hand while frozen", first: freeze, req: discard("192.0.2.3/32"), kind: policy.Mitigated, code: policy.CodeStarted},
		{name: "unfreeze", first: freeze, req: &policy.UnfreezeRequest{}, kind: policy.Ended, code: policy.CodeUnfrozen, text: []string{"operator/alice"}},
		{name: "unfreeze what is not frozen", req: &policy.UnfreezeRequest{}, kind: policy.Observed, code: policy.CodeNothingToDo},
		{name: "withdraw all and freeze", first: hosts(2), req: &policy.WithdrawAllRequest{Freeze: true}, kind: policy.Ended, code: policy.CodeWithdrawn, text: []string{"2 mitigations are withdrawn", "frozen"}},
		{name: "freeze for one customer", req: &policy.WithdrawAllRequest{Freeze: true, Customer: "uni-a"}, kind: policy.Refused, code: policy.CodeMalformed, text: []string{"every customer"}},

		{name: "quarantine", first: hosts(1), req: quarantine[0], kind: policy.Mitigated, code: policy.CodeSourceQuarantined, text: []string{"fnm-1", "until it is released", "1 active mitigation"}},
		{name: "quarantine of nobody known", req: &policy.QuarantineRequest{Source: "fmn-1"}, kind: policy.Mitigated, code: policy.CodeSourceQuarantined, text: []string{"no detector of that name is known here", "release fmn-1"}},
		{name: "quarantine of no name", req: &policy.QuarantineRequest{Source: "a b"}, kind: policy.Refused, code: policy.CodeMalformed, text: []string{"source"}},
		{name: "quarantined already", first: quarantine, req: &policy.QuarantineRequest{Source: "fnm-1", Automatic: true}, kind: policy.Observed, code: policy.CodeNothingToDo},
		{name: "in quarantine", first: quarantine, req: one, kind: policy.Observed, code: policy.CodeSourceQuarantined, text: []string{"fnm-1", "operator/alice", "ticket 4711"}},
		{name: "another one in quarantine", first: []policy.Request{&policy.QuarantineRequest{Source: "fnm-2"}}, req: one, kind: policy.Mitigated, code: policy.CodeMitigated},
		{name: "drill in quarantine", first: quarantine, req: signal("a", 1, dns, pfxs("192.0.2.3/32"), func(s *policy.Signal) { s.Drill = true }), kind: policy.Observed, code: policy.CodeDrill, text: []string{"observed only", "fnm-1 is in quarantine"}},
		{name: "release", first: quarantine, req: &policy.ReleaseRequest{Source: "fnm-1"}, kind: policy.Ended, code: policy.CodeSourceReleased},
		{name: "release of nobody", req: &policy.ReleaseRequest{Source: "x"}, kind: policy.Observed, code: policy.CodeNothingToDo},

		{name: "manual", docs: owned(func(c *policy.Customer) { c.Mitigation = policy.ConsentManual }), req: one, kind: policy.Observed, code: policy.CodeCustomerOptedOut, text: []string{"solo-c", "manual", "noc@solo.example"}},
		{name: "manual, by hand", docs: owned(func(c *policy.Customer) { c.Mitigation = policy.ConsentManual }), req: discard("192.0.2.3/32"), kind: policy.Mitigated, code: policy.CodeStarted},
		{name: "none", docs: owned(func(c *policy.Customer) { c.Mitigation = policy.ConsentNone }), req: one, kind: policy.Observed, code: policy.CodeCustomerOptedOut},
		{name: "none, by hand", docs: owned(func(c *policy.Customer) { c.Mitigation = policy.ConsentNone }), req: discard("192.0.2.3/32"), kind: policy.Refused, code: policy.CodeCustomerOptedOut, text: []string{"solo-c", "noc@solo.example", "mitigation: auto"}},
		{name: "one vector by hand", docs: owned(func(c *policy.Customer) { c.ManualVectors = []policy.Vector{dns} }), req: one, kind: policy.Observed, code: policy.CodeCustomerOptedOut, text: []string{"dns_amplification"}},
		{name: "another vector", docs: owned(func(c *policy.Customer) { c.ManualVectors = []policy.Vector{policy.VectorUDPFlood} }), req: one, kind: policy.Mitigated, code: policy.CodeMitigated},

		{name: "wider than its action may be", docs: narrow, req: wide, kind: policy.Refused, code: policy.CodeTooWide, text: []string{"203.0.112.0/24", "/25", "discard"}},
		{name: "wider, by hand", docs: narrow, req: discard("203.0.112.0/24"), kind: policy.Refused, code: policy.CodeTooWide},
		{name: "wider in IPv6", docs: narrow, req: discard("2001:db8:100::/63"), kind: policy.Refused, code: policy.CodeTooWide, text: []string{"/64"}},
		{name: "as wide with another action", docs: narrow, req: limit(1e6, "203.0.112.0/24"), kind: policy.Mitigated, code: policy.CodeStarted},
		{name: "below the floor", docs: guarded(func(d *policy.Safeguards) { d.MinConfidence.Discard = 0.7 }), req: unsure, kind: policy.Observed, code: policy.CodeLowConfidence, text: []string{"0.7", "0.6", "min_confidence", "discard"}},
		{name: "at the floor", docs: guarded(func(d *policy.Safeguards) { d.MinConfidence.Discard = 0.6 }), req: unsure, kind: policy.Mitigated, code: policy.CodeMitigated},

		{name: "kept for operators", docs: ten, first: hosts(8), req: one, kind: policy.Refused, code: policy.CodeOperatorShare, text: []string{"8 active mitigations of at most 10", "last 2 (20 %)", "by hand", "max_mitigations"}},
		{name: "kept for operators, who take it", docs: ten, first: hosts(8), req: discard("192.0.2.3/32"), kind: policy.Mitigated, code: policy.CodeStarted},
		{name: "a small budget keeps nothing", docs: guarded(func(d *policy.Safeguards) { d.MaxMitigations, d.SourceShare = 4, 0 }), first: hosts(3), req: one, kind: policy.Mitigated, code: policy.CodeMitigated},
		{name: "kept of a customer's quota", docs: alone(func(c *policy.Customer) { c.MaxRules = 5 }), first: []policy.Request{signal("b", 1, dns, pfxs("192.0.2.9/32")), signal("c", 1, dns, pfxs("192.0.2.8/32"))}, req: one, kind: policy.Refused, code: policy.CodeCustomerQuota, text: []string{"customer solo-c", "4 rules of at most 5", "2 more", "max_rules"}},
		{name: "kept of a customer's rules", docs: alone(func(c *policy.Customer) { c.MaxRules = 6 }), first: []policy.Request{signal("b", 1, dns, pfxs("192.0.2.9/32")), signal("c", 1, dns, pfxs("192.0.2.8/32"))}, req: one, kind: policy.Refused, code: policy.CodeOperatorShare, text: []string{"customer solo-c", "4 rules of at most 6"}},
		{name: "all rules", docs: guarded(func(d *policy.Safeguards) { d.MaxRules = 1 }), req: one, kind: policy.Refused, code: policy.CodeMitigationLimit, text: []string{"the cluster has 0 rules of at most 1", "2 more", "max_rules in the safeguards"}},
		{name: "half of what is left", docs: guarded(func(d *policy.Safeguards) { d.MaxMitigations = 10 }), first: hosts(4), req: one, kind: policy.Refused, code: policy.CodeSourceShare, text: []string{"fnm-1", "4 active mitigations", "may have 4", "50 %"}},
		{name: "the other half", docs: guarded(func(d *policy.Safeguards) { d.MaxMitigations = 10 }), first: hosts(4), req: signal("a", 1, dns, pfxs("192.0.2.3/32"), second), kind: policy.Mitigated, code: policy.CodeMitigated},

		{name: "too many in a minute", docs: guarded(func(d *policy.Safeguards) { d.MaxStartsPerMinute, d.MaxStartsPerMinutePerSource = 3, 0 }), first: hosts(3), req: one, kind: policy.Retry, code: policy.CodeStartRate, text: []string{"3 mitigations", "1m0s", "max_starts_per_minute"}},
		{name: "too many of one source", docs: guarded(func(d *policy.Safeguards) { d.MaxStartsPerMinutePerSource = 3 }), first: hosts(3), req: one, kind: policy.Retry, code: policy.CodeStartRate, text: []string{"fnm-1", "per_source"}},
		{name: "another source", docs: guarded(func(d *policy.Safeguards) { d.MaxStartsPerMinutePerSource = 3 }), first: hosts(3), req: signal("a", 1, dns, pfxs("192.0.2.3/32"), second), kind: policy.Mitigated, code: policy.CodeMitigated},
		{name: "too many rules in a minute", docs: guarded(func(d *policy.Safeguards) { d.MaxRulesPerMinute = 5 }), first: hosts(2), req: one, kind: policy.Retry, code: policy.CodeStartRate, text: []string{"4 rules", "2 more", "max_rules_per_minute"}},
		{name: "too many, by hand", docs: guarded(func(d *policy.Safeguards) { d.MaxStartsPerMinute, d.MaxStartsPerMinutePerSource = 3, 0 }), first: hosts(3), req: discard("192.0.2.3/32"), kind: policy.Mitigated, code: policy.CodeStarted},
		{
			name: "too many of a policy within an hour", docs: taking(func(p *policy.Policy) { p.MaxPerHour = 1 }), first: []policy.Request{signal("a", 1, policy.VectorSYNFlood, pfxs("198.51.100.8/32"))},
			req: signal("b", 1, policy.VectorSYNFlood, pfxs("198.51.100.7/32")), kind: policy.Retry, code: policy.CodeStartRate, text: []string{"policy syn", "1h0m0s", "max_per_hour"},
		},
	}
}

// restored is the world's State as a snapshot gives it back.
func restored(t *testing.T, s *policy.State) *policy.State {
	t.Helper()
	out, err := policy.Restore(func(yield func(policy.Record, error) bool) {
		for r := range s.Records() {
			if !yield(r, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if out.Digest() != s.Digest() {
		t.Error("a snapshot gives another State back")
	}
	return out
}

// TestFreeze: what goes on while the cluster is frozen, what does not, and that it ends by itself when its time is over.
func TestFreeze(t *testing.T) {
	w := onLadder(t)
	w.must(policy.Mitigated, policy.CodeFrozen, &policy.FreezeRequest{Duration: 10 * time.Minute})
	w.s = restored(t, w.s)

	// A step is due and not taken, and that is noted once.
	w.now = noon().Add(3 * time.Minute)
	w.decide(w.outlasts(time.Second, 1))
	m := w.mitigation(1)
	if m.Step != 0 || m.Blocked.Code != policy.CodeFrozen || len(m.History) != 1 {
		t.Fatalf("step %d, %+v, history %+v", m.Step, m.Blocked, m.History)
	}
	w.must(policy.Observed, policy.CodeNothingToDo, w.outlasts(time.Second, 1))
	// A further cause of what is active changes nothing on the wire, and a repetition renews as ever.
	w.must(policy.Merged, policy.CodeMerged, signal("b", 1, dns, pfxs("198.51.100.7/32"), sure(0.9)))
	w.must(policy.Merged, policy.CodeRepetition, signal("a", 1, dns, pfxs("198.51.100.7/32"), sure(0.9)))
	// An attack that grows gets nothing more, and keeps what it has.
	d := w.must(policy.Observed, policy.CodeFrozen, signal("a", 2, dns, pfxs("198.51.100.0/28"), sure(0.9)))
	if d.Verdict.Mitigation != 1 {
		t.Errorf("%+v does not name what stays", d.Verdict)
	}
	// Ends count.
	w.must(policy.Ended, policy.CodeAttackOver, end("a", 3))
	w.must(policy.Ended, policy.CodeAttackOver, end("b", 2))
	if w.s.ActiveCount() != 0 {
		t.Error("the end of an attack ended nothing")
	}
	if due, ok := w.s.NextDue(); !ok || !due.Equal(noon().Add(10*time.Minute)) {
		t.Errorf("the freeze is due at %s, %v", due, ok)
	}
	w.now = noon().Add(10 * time.Minute)
	w.must(policy.Ended, policy.CodeExpired, &policy.ExpireRequest{})
	if _, frozen := w.s.Frozen(); frozen {
		t.Error("frozen beyond its time")
	}
	w.must(policy.Mitigated, policy.CodeMitigated, signal("c", 1, dns, pfxs("198.51.100.7/32"), sure(0.9)))
}

// TestFreezeRevivesNothing: an attack that comes back within the quiet time finds what is about to end, and leaves it.
func TestFreezeRevivesNothing(t *testing.T) {
	w := newWorld(t, without(nil, &policy.Policy{
		Name: "pulsing", Priority: 30, Vectors: []policy.Vector{policy.VectorSYNFlood}, Action: policy.Action{Kind: policy.Discard}, Quiet: 5 * time.Minute,
	})...)
	w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, policy.VectorSYNFlood, pfxs("198.51.100.7/32")))
	w.must(policy.Ended, policy.CodeAttackOver, end("a", 2))
	w.must(policy.Mitigated, policy.CodeFrozen, &policy.FreezeRequest{})
	w.must(policy.Observed, policy.CodeFrozen, signal("b", 1, policy.VectorSYNFlood, pfxs("198.51.100.7/32")))
	if m := w.mitigation(1); m.Phase != policy.Ending || m.Pulses != 0 {
		t.Errorf("%+v was revived", m)
	}
	w.now = noon().Add(5 * time.Minute)
	w.must(policy.Ended, policy.CodeExpired, &policy.ExpireRequest{})
	w.must(policy.Ended, policy.CodeUnfrozen, &policy.UnfreezeRequest{})
	w.must(policy.Mitigated, policy.CodeMitigated, signal("b", 1, policy.VectorSYNFlood, pfxs("198.51.100.7/32")))
}

// TestWithdrawAllAndFreeze: one decision does both, and nothing comes back.
func TestWithdrawAllAndFreeze(t *testing.T) {
	w := newWorld(t)
	for _, r := range hosts(3) {
		w.must(policy.Mitigated, policy.CodeMitigated, r)
	}
	before := w.s.Index()
	w.must(policy.Ended, policy.CodeWithdrawn, &policy.WithdrawAllRequest{Freeze: true, FreezeFor: time.Hour})
	if _, frozen := w.s.Frozen(); w.s.ActiveCount() != 0 || !frozen || w.s.Index() != before+1 {
		t.Errorf("%d active, frozen %v, index %d after %d", w.s.ActiveCount(), frozen, w.s.Index(), before)
	}
	w.must(policy.Observed, policy.CodeFrozen, signal("new", 1, policy.VectorDNSAmplification, pfxs("198.51.100.9/32")))
	w.must(policy.Ended, policy.CodeWithdrawn, &policy.WithdrawAllRequest{Freeze: true}) // without anything to withdraw
	if f, _ := w.s.Frozen(); !f.Until.IsZero() {
		t.Errorf("the second freeze did not take the place of the first: %+v", f)
	}
}

// TestQuarantine: what a detector in quarantine started stays to its end, is not renewed by it, and does not escalate; a
// second detector that reports the same attack keeps it alive.
func TestQuarantine(t *testing.T) {
	w := onLadder(t)
	w.must(policy.Mitigated, policy.CodeSourceQuarantined, &policy.QuarantineRequest{Source: "fnm-1", Duration: time.Hour})
	w.s = restored(t, w.s)
	for _, seq := range []uint64{1, 2} {
		d := w.must(policy.Observed, policy.CodeSourceQuarantined, signal("a", seq, dns, pfxs("198.51.100.7/32"), sure(0.9)))
		if len(d.Changes) != 0 || d.Verdict.Mitigation != 1 {
			t.Errorf("sequence number %d: %+v with %d changes", seq, d.Verdict, len(d.Changes))
		}
	}
	w.now = noon().Add(20 * time.Minute) // past half of the lifetime, and the next step is due
	w.must(policy.Observed, policy.CodeNothingToDo, w.outlasts(time.Second, 1))
	w.must(policy.Observed, policy.CodeNothingToDo, &policy.RenewRequest{IDs: []policy.MitigationID{1}})

	w.must(policy.Merged, policy.CodeMerged, signal("x", 1, dns, pfxs("198.51.100.7/32"), sure(0.9), second))
	w.must(policy.Mitigated, policy.CodeEscalated, w.outlasts(time.Second, 1))

	w.must(policy.Ended, policy.CodeAttackOver, end("a", 3))
	w.must(policy.Ended, policy.CodeAttackOver, signal("x", 2, "", nil, second, func(s *policy.Signal) { s.Kind = policy.SignalEnd }))
	if w.s.ActiveCount() != 0 {
		t.Error("the end of the attack ended nothing")
	}
	w.now = noon().Add(time.Hour)
	w.must(policy.Ended, policy.CodeExpired, &policy.ExpireRequest{})
	if w.s.QuarantineCount() != 0 {
		t.Error("in quarantine beyond its time")
	}
	w.must(policy.Mitigated, policy.CodeMitigated, signal("c", 1, dns, pfxs("198.51.100.7/32"), sure(0.9)))
}

// TestQuarantineIsBounded: of names that anybody may have, no more are kept than there is room for.
func TestQuarantineIsBounded(t *testing.T) {
	w := newWorld(t)
	for i := range policy.MaxQuarantines {
		w.must(policy.Mitigated, policy.CodeSourceQuarantined, &policy.QuarantineRequest{Source: fmt.Sprint("d", i)})
	}
	w.must(policy.Refused, policy.CodeMitigationLimit, &policy.QuarantineRequest{Source: "one-more"})
	w.must(policy.Mitigated, policy.CodeSourceQuarantined, &policy.QuarantineRequest{Source: "d7", Duration: time.Minute})
}

// TestStepsKeepToTheSafeguards: a step is held against the floor, the width and the rate of its own action, and an end never is.
func TestStepsKeepToTheSafeguards(t *testing.T) {
	for _, row := range []struct {
		name       string
		change     func(*policy.Safeguards)
		confidence float64
		code       policy.ReasonCode
	}{
		{"floor", func(d *policy.Safeguards) { d.MinConfidence.Discard = 0.8 }, 0.7, policy.CodeLowConfidence},
		{"width", func(d *policy.Safeguards) { d.Widest.Discard.IPv4 = 32 }, 1, policy.CodeTooWide},
		{"rate", func(d *policy.Safeguards) { d.MaxStartsPerMinute, d.MaxStartsPerMinutePerSource = 1, 0 }, 1, policy.CodeStartRate},
	} {
		t.Run(row.name, func(t *testing.T) {
			sg := policy.DefaultSafeguards()
			row.change(sg)
			w := newWorld(t, append(inventory(), sg, ladder(), blackholer("bh-1", "127.0.0.14", 100, flowspec.IPv4))...)
			w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, dns, pfxs("198.51.100.0/31"), sure(0.9)))
			w.now = noon().Add(3 * time.Minute)
			if row.code == policy.CodeStartRate { // another start, within the minute
				w.must(policy.Mitigated, policy.CodeMitigated, signal("b", 1, dns, pfxs("198.51.100.8/32"), sure(0.9)))
			}
			w.decide(w.outlasts(time.Second, row.confidence))
			if m := w.mitigation(1); m.Step != 0 || m.Blocked.Code != row.code {
				t.Errorf("step %d, %+v; want %s", m.Step, m.Blocked, row.code)
			}
			w.must(policy.Ended, policy.CodeAttackOver, end("a", 2))
		})
	}
}

// TestRateIsASlidingMinute: what is refused may be sent again when the answer says so, and not before.
func TestRateIsASlidingMinute(t *testing.T) {
	w := newWorld(t, guarded(func(d *policy.Safeguards) { d.MaxStartsPerMinute, d.MaxStartsPerMinutePerSource = 2, 0 })...)
	requests := hosts(3)
	w.must(policy.Mitigated, policy.CodeMitigated, requests[0])
	w.now = noon().Add(20 * time.Second)
	w.must(policy.Mitigated, policy.CodeMitigated, requests[1])
	w.now = noon().Add(30 * time.Second)
	d := w.must(policy.Retry, policy.CodeStartRate, requests[2])
	if d.Verdict.RetryAfter != 30*time.Second {
		t.Errorf("to be sent again after %s", d.Verdict.RetryAfter)
	}
	w.must(policy.Merged, policy.CodeMerged, signal("x", 1, policy.VectorDNSAmplification, pfxs("198.51.100.1/32"))) // starts nothing
	w.must(policy.Ended, policy.CodeWithdrawn, &policy.WithdrawRequest{ID: 1})                                       // gives nothing back
	w.now = noon().Add(60*time.Second - 1)
	w.must(policy.Retry, policy.CodeStartRate, requests[2])
	w.now = noon().Add(60 * time.Second)
	w.must(policy.Mitigated, policy.CodeMitigated, requests[2])
}

// TestGrowthNeedsNoRoom: what takes the place of a mitigation is no more than that, so what is kept for operators is not
// asked for.
func TestGrowthNeedsNoRoom(t *testing.T) {
	w := newWorld(t, guarded(func(d *policy.Safeguards) { d.MaxMitigations, d.SourceShare = 10, 0 })...)
	for _, r := range hosts(8) {
		w.must(policy.Mitigated, policy.CodeMitigated, r)
	}
	w.must(policy.Mitigated, policy.CodeStarted, discard("192.0.2.3/32"))
	d := w.must(policy.Mitigated, policy.CodeMitigated, signal("h0", 2, policy.VectorDNSAmplification, pfxs("198.51.100.128/31")))
	if w.s.ActiveCount() != 9 {
		t.Errorf("%d active after %s", w.s.ActiveCount(), d.Verdict.Reason.Text)
	}
}

// TestRouterKeepsRoom: of a router's budget policies leave a part to operators, and one detector a part to the others.
func TestRouterKeepsRoom(t *testing.T) {
	fill := func(t *testing.T, change func(*policy.Safeguards), r *policy.Router) policy.Reason {
		t.Helper()
		docs := without([]string{"edge-1", "edge-2"}, r)
		sg := policy.DefaultSafeguards()
		change(sg)
		w := newWorld(t, apart(append(docs, sg))...)
		for _, req := range hosts(60) {
			if d := w.decide(req); d.Verdict.Kind == policy.Refused {
				order := discard("198.51.100.200/32")
				order.Groups = []string{"edge"}
				w.must(policy.Mitigated, policy.CodeStarted, order)
				return d.Verdict.Reason
			}
		}
		t.Fatal("nothing was refused")
		return policy.Reason{}
	}
	for _, row := range []struct {
		name   string
		change func(*policy.Safeguards)
		router *policy.Router
		code   policy.ReasonCode
		text   []string
	}{
		{
			"operators", func(d *policy.Safeguards) { d.SourceShare = 0 }, router("edge-1", "edge", "127.0.0.11", 100, flowspec.IPv4, flowspec.IPv6), policy.CodeOperatorShare,
			[]string{"router edge-1", "64 rules of at most 80", "last 16 (20 %)"},
		},
		{
			"one detector", func(*policy.Safeguards) {}, router("edge-1", "edge", "127.0.0.11", 100, flowspec.IPv4, flowspec.IPv6), policy.CodeSourceShare,
			[]string{"fnm-1", "32 rules of router edge-1", "may have 32"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := fill(t, row.change, row.router)
			if r.Code != row.code {
				t.Fatalf("%s: %s", r.Code, r.Text)
			}
			expectText(t, r, row.text...)
		})
	}
}

// TestOptingOutEndsWhatIsActive: when nobody may mitigate for a customer any more, nothing is left of it; by hand only
// leaves what is there to its end, without a further step.
func TestOptingOutEndsWhatIsActive(t *testing.T) {
	for _, row := range []struct {
		consent policy.Consent
		active  int
		plan    []policy.MitigationID
	}{{policy.ConsentNone, 0, []policy.MitigationID{1}}, {policy.ConsentManual, 1, nil}} {
		w := onLadder(t)
		doc, _ := w.s.Customer("uni-a")
		out := *doc
		out.Mitigation = row.consent
		d := w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{&out}})
		if diff := cmp.Diff(row.plan, d.Plan.Ended); diff != "" || w.s.ActiveCount() != row.active {
			t.Errorf("%q: %d active, ended (-want +got):\n%s", row.consent, w.s.ActiveCount(), diff)
		}
		w.now = noon().Add(3 * time.Minute)
		w.decide(w.outlasts(time.Second, 1))
		if m := w.mitigation(1); m.Step != 0 || row.active == 1 && m.Blocked.Code != policy.CodeCustomerOptedOut {
			t.Errorf("%q: step %d, %+v", row.consent, m.Step, m.Blocked)
		}
	}
}

// TestStartedBy: the detectors that started what is active are known, and those in quarantine.
func TestStartedBy(t *testing.T) {
	w := newWorld(t)
	for _, r := range hosts(2) {
		w.must(policy.Mitigated, policy.CodeMitigated, r)
	}
	w.must(policy.Mitigated, policy.CodeMitigated, signal("x", 1, policy.VectorDNSAmplification, pfxs("192.0.2.3/32"), second))
	w.must(policy.Mitigated, policy.CodeSourceQuarantined, &policy.QuarantineRequest{Source: "fnm-1"})
	w.must(policy.Mitigated, policy.CodeSourceQuarantined, &policy.QuarantineRequest{Source: "aside"})
	got := map[string][2]int{}
	for s := range unique(t, w.s.Sources()) {
		m, r := w.s.StartedBy(s)
		got[s] = [2]int{m, r}
	}
	if diff := cmp.Diff(map[string][2]int{"fnm-1": {2, 4}, "fnm-2": {1, 2}, "aside": {}}, got); diff != "" {
		t.Errorf("started (-want +got):\n%s", diff)
	}
}

// unique fails when a name comes twice.
func unique(t *testing.T, seq iter.Seq[string]) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for s := range seq {
		if out[s] {
			t.Errorf("%q comes twice", s)
		}
		out[s] = true
	}
	return out
}
