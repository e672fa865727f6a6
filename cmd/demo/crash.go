package demo

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/cmd/output"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

func (d *demo) crash(ctx context.Context) error {
	keys := d.router.Table().Keys()
	victim := d.leader
	killed := time.Now()
	victim.kill()
	d.s.fact("SIGKILL to %s, the leader (process %d), while %s are in edge1's table.", victim.ID, victim.cmd.Process.Pid, plural(len(keys), "rule"))
	down, err := d.waitDown(ctx, victim)
	if err != nil {
		return err
	}
	d.s.fact("edge1 lost %s's session %s after the kill: %s.", victim.ID, ms(down.Down.Sub(killed)), down.Why)

	a := &attack{signal: &pb.Signal{
		AttackId: "ntp-1", Seq: 1, Kind: pb.SignalKind_SIGNAL_KIND_START, Targets: []string{"192.0.2.20/32"},
		Vector: "ntp_amplification", BitsPerSecond: 3e9, Confidence: 0.92,
	}}
	_, fresh, err := d.attackOn(ctx, a, 2)
	if err != nil {
		return err
	}
	back := a.judged.Sub(killed)
	st, err := d.waitCluster(ctx, 2)
	if err != nil {
		return err
	}
	d.leader = d.lab.member(st.GetLeader())
	if err := d.s.check(d.leader != nil && d.leader != victim, "Writes work again %s after the kill: %s leads in term %d; the detector's stream to %s never broke (%s told it to come again).",
		ms(back), st.GetLeader(), st.GetTerm(), d.detector.node, plural(a.retries, "verdict")); err != nil {
		return err
	}
	if err := d.startByHand(ctx); err != nil {
		return err
	}
	return d.noGap(keys, fresh, killed)
}

// startByHand starts a mitigation as an operator does, with the dead node in the list of servers.
func (d *demo) startByHand(ctx context.Context) error {
	sent := time.Now()
	r, err := d.operator.Mitigations.Start(ctx, &pb.StartRequest{
		RequestId: "demo-by-hand", Reason: "demo: SYN flood on the web server", Targets: []string{"192.0.2.80/32"}, Match: "proto tcp dport 443 tcp-flags syn",
		Action: &pb.Action{Rate: "20Mbps"}, Lifetime: durationpb.New(10 * time.Minute),
	})
	if err != nil {
		return fmt.Errorf("cannot start a mitigation by hand: %w", err)
	}
	m := r.GetMitigation()
	took := time.Since(sent)
	keys, err := keysOf(m)
	if err != nil {
		return err
	}
	d.byHand = append(d.byHand, m.GetId())
	if err := d.waitHeard(ctx, keys, 2); err != nil {
		return err
	}
	first, _ := d.arrivals(keys, sent)
	d.show(keys)
	return d.s.check(r.GetVerdict().GetKind() == pb.VerdictKind_VERDICT_KIND_MITIGATED && len(keys) > 0,
		"An operator starts %s by hand: committed after %s, at the router after %s.", m.GetId(), ms(took), ms(first))
}

// noGap is the promise of every node speaking: no rule was ever absent from the router's table.
func (d *demo) noGap(keys, fresh []flowspec.Key, killed time.Time) error {
	low := len(d.lab.members)
	for _, k := range keys {
		low = min(low, d.fewest(k, killed))
	}
	n, sum := d.absences(append(keys, fresh...), killed)
	return d.s.check(n == 0 && low >= 2,
		"Over all sessions no rule was absent from edge1's table at any time since the kill: %d absences, %s in sum; each of the %s was announced by at least %d nodes throughout.",
		n, ms(sum), plural(len(keys), "rule"), low)
}

// waitDown waits until the router has lost the session of m.
func (d *demo) waitDown(ctx context.Context, m *member) (bgptest.Session, error) {
	id := netip.MustParseAddr(m.RouterID)
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("the router still has %s's session", m.ID))
	defer cancel()
	var last bgptest.Session
	err := d.router.Wait(ctx, func(_ bgptest.Table, all []bgptest.Session) bool {
		for _, s := range all {
			if s.RouterID == id {
				last = s
			}
		}
		return !last.Down.IsZero()
	})
	return last, err
}

func (d *demo) comeBack(ctx context.Context) error {
	var m *member
	for _, each := range d.lab.members {
		if each.killed {
			m = each
		}
	}
	keys := d.router.Table().Keys()
	began := time.Now()
	if err := d.lab.start(m); err != nil {
		return err
	}
	if err := d.waitReady(ctx, m); err != nil {
		return err
	}
	d.s.fact("%s was started again on its own log; /readyz says that it serves and has caught up after %s.", m.ID, ms(time.Since(began)))
	if err := d.waitHeard(ctx, keys, len(d.lab.members)); err != nil {
		return err
	}
	_, last := d.arrivals(keys, began)
	n, sum := d.absences(keys, began)
	return d.s.check(n == 0, "It announces all %s again after %s; %d absences meanwhile, %s in sum.", plural(len(keys), "rule"), ms(last), n, ms(sum))
}

// waitReady waits until the readiness URL of m says so.
func (d *demo) waitReady(ctx context.Context, m *member) error {
	return until(ctx, m.ID+" is ready", func(ctx context.Context) (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.HTTP+"/readyz", http.NoBody)
		if err != nil {
			return false, err
		}
		r, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, nil //nolint:nilerr // it does not listen yet; that is what is waited for
		}
		return r.StatusCode == http.StatusOK, r.Body.Close()
	})
}

// waitEmpty waits until the router hears nothing any more.
func (d *demo) waitEmpty(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("the router still has rules %s after the end", output.Short(patience)))
	defer cancel()
	return d.router.WaitRoutes(ctx, func(t bgptest.Table) bool { return t.Len() == 0 })
}

// lastLoss is when the router lost the last rule.
func (d *demo) lastLoss() time.Time {
	var last time.Time
	for _, u := range d.router.Updates() {
		if len(u.Withdrawn) > 0 {
			last = u.At
		}
	}
	return last
}
