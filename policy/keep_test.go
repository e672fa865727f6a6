package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/policy"
)

// unblocked is the inventory without block lb-7, so that only the link inside of it is protected.
func unblocked() *policy.ApplyRequest {
	docs := without([]string{"lb-7"})
	for i, d := range docs {
		if c, ok := d.(*policy.Customer); ok && c.ID == "uni-a" {
			cp := *c
			cp.Links = append([]policy.Link{}, c.Links...)
			cp.Links[0].Block = ""
			docs[i] = &cp
		}
	}
	return &policy.ApplyRequest{Documents: docs, Prune: true, AllowRemovals: 1}
}

// TestProtectionRemovedThenSignal: no further signal of the same attack widens what acts on its targets.
func TestProtectionRemovedThenSignal(t *testing.T) {
	half := pfxs("203.0.113.16/28")
	rows := []struct {
		name   string
		update *policy.SignalRequest
		code   policy.ReasonCode
		pieces []string // of the active mitigation of attack a
	}{
		{"the same", signal("a", 2, dns, pfxs("203.0.113.0/27")), policy.CodeRepetition, []string{"203.0.113.16/28"}},
		{"other vector", signal("a", 2, policy.VectorNTPAmplification, pfxs("203.0.113.0/27")), policy.CodeMitigated, []string{"203.0.113.16/28"}},
		{"more targets", signal("a", 2, dns, pfxs("203.0.113.0/27", "203.0.113.64/27")), policy.CodeMitigated, []string{"203.0.113.16/28", "203.0.113.64/27"}},
		{"wider", signal("a", 2, dns, pfxs("203.0.113.0/26")), policy.CodeMitigated, []string{"203.0.113.16/28", "203.0.113.32/27"}},
		{"only what is left out", signal("a", 2, dns, pfxs("203.0.113.8/29")), policy.CodeNothingLeft, []string{"203.0.113.16/28"}},
		{"another attack", signal("b", 1, dns, pfxs("203.0.113.0/27")), policy.CodeMitigated, []string{"203.0.113.16/28"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			m := w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, dns, pfxs("203.0.113.0/27"))).Mitigations[0]
			if diff := cmp.Diff(half, m.Cut.Pieces, prefixes()); diff != "" {
				t.Fatalf("pieces (-want +got):\n%s", diff)
			}
			w.must(policy.Mitigated, policy.CodeApplied, unblocked())
			if d := w.decide(row.update); d.Verdict.Reason.Code != row.code {
				t.Fatalf("%s: %s", d.Verdict.Reason.Code, d.Verdict.Reason.Text)
			}
			att, _ := w.s.Attack("fnm-1", "a")
			now := w.mitigation(att.Mitigation)
			if diff := cmp.Diff(pfxs(row.pieces...), now.Cut.Pieces, prefixes()); diff != "" || now.Phase != policy.Active {
				t.Errorf("phase %d, pieces (-want +got):\n%s", now.Phase, diff)
			}
		})
	}
	t.Run("a new attack is cut anew", func(t *testing.T) {
		w := newWorld(t)
		w.decide(signal("a", 1, dns, pfxs("203.0.113.0/27")))
		w.must(policy.Mitigated, policy.CodeApplied, unblocked())
		m := w.must(policy.Mitigated, policy.CodeMitigated, signal("b", 1, dns, pfxs("203.0.113.0/27"))).Mitigations[0]
		if diff := cmp.Diff(pfxs("203.0.113.0/30", "203.0.113.8/29", "203.0.113.16/28"), m.Cut.Pieces, prefixes()); diff != "" {
			t.Errorf("pieces (-want +got):\n%s", diff)
		}
	})
}

// TestNarrowingToWhatWasRounded: what was given up for want of destinations is not withheld from an attack that
// narrows to it.
func TestNarrowingToWhatWasRounded(t *testing.T) {
	w := newWorld(t, without(nil, scattered("198.51.100.", 6, 12))...)
	m := w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, dns, pfxs("198.51.100.0/24"))).Mitigations[0]
	d := w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 2, dns, m.Cut.Unprotected[:1]))
	if diff := cmp.Diff(m.Cut.Unprotected[:1], d.Mitigations[0].Cut.Pieces, prefixes()); diff != "" {
		t.Errorf("pieces (-want +got):\n%s", diff)
	}
}

// TestWithdrawnStaysWithdrawn: an operator's withdrawal holds for its targets, whatever the attack goes on to add.
func TestWithdrawnStaysWithdrawn(t *testing.T) {
	w := newWorld(t)
	w.decide(signal("a", 1, dns, pfxs("198.51.100.7/32")))
	w.must(policy.Ended, policy.CodeWithdrawn, &policy.WithdrawRequest{ID: 1})
	w.must(policy.Observed, policy.CodeStaysWithdrawn, signal("a", 2, dns, pfxs("198.51.100.7/32")))
	m := w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 3, dns, pfxs("198.51.100.7/32", "198.51.100.9/32"))).Mitigations[0]
	if diff := cmp.Diff(pfxs("198.51.100.9/32"), m.Cut.Pieces, prefixes()); diff != "" || len(m.Rules) != len(m.Variants) {
		t.Errorf("%d rules, pieces (-want +got):\n%s", len(m.Rules), diff)
	}
	if diff := cmp.Diff(pfxs("198.51.100.7/32"), m.Cut.Unprotected, prefixes()); diff != "" {
		t.Errorf("unprotected (-want +got):\n%s", diff)
	}
	if notes := strings.Join(m.Notes, "\n"); !strings.Contains(notes, "operator/alice withdrew M1") {
		t.Errorf("notes %q", m.Notes)
	}
	// It goes on holding when the attack repeats itself, grows, and widens around what was withdrawn.
	w.must(policy.Merged, policy.CodeRepetition, signal("a", 4, dns, pfxs("198.51.100.7/32", "198.51.100.9/32")))
	m = w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 5, dns, pfxs("198.51.100.7/32", "198.51.100.9/32", "198.51.100.11/32"))).Mitigations[0]
	if diff := cmp.Diff(pfxs("198.51.100.9/32", "198.51.100.11/32"), m.Cut.Pieces, prefixes()); diff != "" {
		t.Errorf("with a third target: pieces (-want +got):\n%s", diff)
	}
	m = w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 6, dns, pfxs("198.51.100.0/28"))).Mitigations[0]
	if diff := cmp.Diff(pfxs("198.51.100.0/30", "198.51.100.4/31", "198.51.100.6/32", "198.51.100.8/29"), m.Cut.Pieces, prefixes()); diff != "" {
		t.Errorf("around it: pieces (-want +got):\n%s", diff)
	}
	// Another attack is another matter.
	w.must(policy.Mitigated, policy.CodeMitigated, signal("b", 1, dns, pfxs("198.51.100.7/32")))
}

func TestRenewalOfWhatIsOver(t *testing.T) {
	w := newWorld(t)
	w.decide(signal("a", 1, dns, pfxs("198.51.100.7/32")))
	w.now = noon().Add(30 * time.Minute)
	w.must(policy.Observed, policy.CodeNothingToDo, &policy.RenewRequest{IDs: []policy.MitigationID{1}})
	w.must(policy.Ended, policy.CodeExpired, &policy.ExpireRequest{})
}

// TestRenewalCarriesNumbers: newer ones of running attacks, and nothing else.
func TestRenewalCarriesNumbers(t *testing.T) {
	w := newWorld(t)
	w.decide(signal("a", 5, dns, pfxs("198.51.100.7/32")))
	w.decide(signal("b", 5, dns, pfxs("198.51.100.7/32")))
	w.decide(signal("c", 5, dns, pfxs("198.51.100.9/32")))
	w.now = noon().Add(20 * time.Minute)
	heard := func(id string, seq uint64) policy.Attack {
		return policy.Attack{Source: "fnm-1", AttackID: id, Seq: seq, Digest: [32]byte{9}}
	}
	d := w.must(policy.Mitigated, policy.CodeRenewed, &policy.RenewRequest{
		IDs: []policy.MitigationID{1}, Attacks: []policy.Attack{heard("a", 7), heard("b", 4), heard("c", 7), heard("x", 7)},
	})
	if len(d.Changes) != 2 {
		t.Errorf("%d changes, want the mitigation and one attack", len(d.Changes))
	}
	for id, want := range map[string]uint64{"a": 7, "b": 5, "c": 5} {
		if att, _ := w.s.Attack("fnm-1", id); att.Seq != want || (att.Digest == [32]byte{9}) != (id == "a") {
			t.Errorf("attack %s is at %d, want %d", id, att.Seq, want)
		}
	}
	w.must(policy.Observed, policy.CodeStale, end("a", 6))
}
