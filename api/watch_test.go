package api

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/policy"
)

// A watcher that looks rarely still hears of each mitigation, in its last state.
func TestWatcherMissesNone(t *testing.T) {
	s := policy.NewState()
	apply := func(ms ...*policy.Mitigation) {
		t.Helper()
		var changes []policy.Change
		for _, m := range ms {
			changes = append(changes, &policy.PutMitigation{Mitigation: m})
		}
		next, err := s.Apply(policy.Entry{Index: s.Index() + 1, At: time.Unix(int64(s.Index()), 0).UTC()}, changes)
		if err != nil {
			t.Fatal(err)
		}
		s = next
	}
	active := func(id policy.MitigationID, customer policy.CustomerID) *policy.Mitigation {
		return &policy.Mitigation{
			ID: id, Customer: customer, Origin: policy.FromOperator, Action: policy.Action{Kind: policy.Discard}, Phase: policy.Active,
			Created: time.Unix(0, 0).UTC(), Expires: time.Unix(9999, 0).UTC(), Lifetime: time.Hour,
		}
	}
	over := func(id policy.MitigationID, customer policy.CustomerID) *policy.Mitigation {
		m := active(id, customer)
		m.Phase, m.End, m.EndedAt = policy.Over, policy.EndWithdrawn, time.Unix(5, 0).UTC()
		return m
	}
	all := watcher{sent: make(map[policy.MitigationID]policy.Index)}
	onlyA := watcher{customer: "a", sent: make(map[policy.MitigationID]policy.Index)}
	look := func(w *watcher) string {
		var out []string
		for _, m := range w.changed(s) {
			out = append(out, formatID(m.ID)+" "+phaseText(m.Phase))
		}
		return fmt.Sprint(out)
	}
	var got, want []string
	step := func(wantAll, wantA string) {
		got = append(got, look(&all), look(&onlyA))
		want = append(want, wantAll, wantA)
	}
	apply(active(1, "a"), active(2, "b"))
	apply(over(2, "b"))
	step("[M1 active]", "[M1 active]") // what was over before the first look is history
	step("[]", "[]")
	apply(active(3, "a"))
	apply(over(3, "a"), active(4, "b"))
	step("[M3 over M4 active]", "[M3 over]") // M3 came and went
	apply(over(1, "a"))
	step("[M1 over]", "[M1 over]")
	apply(active(5, "a"))
	apply(active(5, "a")) // extended
	step("[M5 active]", "[M5 active]")
	apply(active(5, "a"))
	step("[M5 active]", "[M5 active]")
	apply()
	step("[]", "[]")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
