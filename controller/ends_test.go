package controller

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
)

// tenThousand is an FSM with 10,000 active mitigations of 16 rules each and the attacks that caused them, and how long it
// took to apply them.
func tenThousand(t testing.TB) (f *fsm, started time.Duration) {
	t.Helper()
	f = manyMitigations(t, 0)
	s := f.state.Load()
	first := policy.Decide(s, start("10.0.0.1/32", "").Request, policy.Entry{Index: s.Index() + 1, At: s.At(), By: operator})
	if len(first.Mitigations) != 1 {
		t.Fatalf("%+v", first.Verdict)
	}
	var changes []policy.Change
	for i := range 10_000 {
		m := *first.Mitigations[0]
		m.ID = policy.MitigationID(i + 1)
		m.Targets, m.Cut.Pieces, m.Rules = nil, nil, nil
		for j := range 16 {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(16 * j)}), 32)
			match, err := m.Variants[0].WithDestination(p)
			if err != nil {
				t.Fatal(err)
			}
			m.Targets, m.Cut.Pieces = append(m.Targets, p), append(m.Cut.Pieces, p)
			m.Rules = append(m.Rules, flowspec.Rule{Match: match, Actions: first.Mitigations[0].Rules[0].Actions})
		}
		changes = append(changes, &policy.PutMitigation{Mitigation: &m},
			&policy.PutAttack{Attack: policy.Attack{Source: "fnm", AttackID: itoa(i), Seq: 1, Mitigation: m.ID}})
	}
	begin := time.Now()
	s, err := s.Apply(policy.Entry{Index: s.Index() + 1, At: s.At(), By: operator}, changes)
	if err != nil {
		t.Fatal(err)
	}
	f.publish(s)
	return f, time.Since(begin)
}

// TestEndsAreSmall: however much is active, and whatever the reason says, all of it can be ended by one entry.
func TestEndsAreSmall(t *testing.T) {
	f, started := tenThousand(t)
	base := f.state.Load()
	for _, row := range []struct {
		name string
		cmd  Command
		at   time.Time
		end  policy.EndCause
	}{
		{"withdraw all", Command{
			By: operator, RequestID: "r", Reason: strings.Repeat("it is 3 a.m. and everything must go ", 50), Request: &policy.WithdrawAllRequest{},
		}, base.At(), policy.EndWithdrawn},
		{"expiry", Command{By: "member/n1", Request: &policy.ExpireRequest{}}, base.At().Add(time.Hour), policy.EndExpired},
	} {
		t.Run(row.name, func(t *testing.T) {
			f.publish(base)
			b := newBatch(slog.New(slog.DiscardHandler), f.packer, base, row.at, newMemory())
			begin := time.Now()
			w := &write{cmd: row.cmd, done: make(chan struct{})}
			if !b.write(w) || w.out.Decision.Verdict.Kind != policy.Ended || len(w.out.Decision.Mitigations) != 10_000 {
				t.Fatalf("%+v", w.out.Decision.Verdict)
			}
			data, err := f.packer.pack(base.Index(), row.at, b.items)
			if err != nil {
				t.Fatal(err)
			}
			decided := time.Since(begin)
			begin = time.Now()
			if r, _ := f.Apply(&raft.Log{Index: uint64(base.Index()) + 1, Data: data}).(applyResult); r.err != nil || r.conflict {
				t.Fatalf("%+v", r)
			}
			applied := time.Since(begin)
			t.Logf("%d octets, %d before compression; decided in %s, applied in %s (starting them took %s)", len(data), b.size, decided, applied, started)
			if len(data) > maxEntry/8 || b.size > maxBody/16 {
				t.Errorf("the entry has %d octets, %d before compression", len(data), b.size)
			}
			if applied > 4*started { // both less than a second on a machine that does nothing else
				t.Errorf("applied in %s, starting them took %s", applied, started)
			}
			s := f.state.Load()
			m, ok := s.Mitigation(7)
			if s.ActiveCount() != 0 || s.RouteCount(wanted.FlowSpec, "edge") != 0 || !ok || m.End != row.end || m.EndedBy != row.cmd.By || len(m.Rules) != 16 {
				t.Errorf("%d are active, %d rules; M7: %s by %s, %d rules", s.ActiveCount(), s.RouteCount(wanted.FlowSpec, "edge"), m.End, m.EndedBy, len(m.Rules))
			}
			if row.cmd.Reason != "" && m.EndNote != row.cmd.Reason {
				t.Errorf("the reason became %q", m.EndNote)
			}
			// What is known of the attacks was not touched, so none of them starts its mitigation again.
			if a, ok := s.Attack("fnm", "6"); !ok || a.Mitigation != 7 || a.Ended {
				t.Errorf("the attack is remembered as %+v", a)
			}
		})
	}
}
