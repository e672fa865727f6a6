package demo

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/manifest"
	"github.com/tidegate/tidegate/cmd/output"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// every is the pause between two looks at something that cannot be waited for.
const every = 25 * time.Millisecond

// until looks until it is so, at most for patience.
func until(ctx context.Context, what string, look func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("waited %s in vain: %s", output.Short(patience), what))
	defer cancel()
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		ok, err := look(ctx)
		if ok || err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.C:
		}
	}
}

func (d *demo) startUp(ctx context.Context) error {
	began := time.Now()
	var pids []any
	for _, m := range d.lab.members {
		if err := d.lab.start(m); err != nil {
			return err
		}
		pids = append(pids, m.cmd.Process.Pid)
	}
	d.s.fact("Certificates made; processes %d, %d, %d started: raft on disk in %s, mutual TLS on every connection.", append(pids, d.lab.dir)...)
	d.s.fact("The edge router listens for BGP on %s (AS %d; the nodes are AS %d).", d.router.Addr(), routerASN, nodeASN)
	for _, m := range d.lab.members {
		if err := d.waitReady(ctx, m); err != nil {
			return err
		}
	}
	took := time.Since(began)
	st, err := d.waitCluster(ctx, len(d.lab.members))
	if err != nil {
		return err
	}
	d.leader = d.lab.member(st.GetLeader())
	if d.leader == nil {
		return fmt.Errorf("the leader %q is none of the nodes", st.GetLeader())
	}
	return d.s.check(true, "%s leads in term %d, and 3 of 3 nodes say that they are ready, %s after the first was started.", st.GetLeader(), st.GetTerm(), ms(took))
}

// waitCluster waits until n nodes answer and serve under one leader.
func (d *demo) waitCluster(ctx context.Context, n int) (*pb.StatusResponse, error) {
	var st *pb.StatusResponse
	err := until(ctx, fmt.Sprintf("a leader and %d serving nodes", n), func(ctx context.Context) (bool, error) {
		var err error
		if st, err = d.admin.Cluster.Status(ctx, &pb.StatusRequest{}); err != nil {
			return false, fmt.Errorf("cannot ask the cluster: %w", err)
		}
		serving := 0
		for _, node := range st.GetNodes() {
			if node.GetAnswered() && node.GetServing() {
				serving++
			}
		}
		return st.GetLeader() != "" && serving == n, nil
	})
	return st, err
}

// documents are the sample inventory, with the port of our router in it.
func (d *demo) documents() ([]*pb.Document, error) {
	var out []*pb.Document
	for name, text := range map[string]string{"inventory.yaml": sampleInventory, "router.yaml": sampleRouter} {
		docs, err := manifest.Parse(name, []byte(text))
		if err != nil {
			return nil, err
		}
		for _, doc := range docs {
			if r := doc.Proto.GetRouter(); r != nil {
				r.Port = uint32(d.router.Addr().Port())
			}
			out = append(out, doc.Proto)
		}
	}
	return out, nil
}

func (d *demo) loadInventory(ctx context.Context) error {
	docs, err := d.documents()
	if err != nil {
		return err
	}
	began := time.Now()
	r, err := d.admin.Apply(ctx, &pb.ApplyRequest{RequestId: "demo-inventory", Reason: "demo inventory", Documents: docs})
	if err != nil {
		return fmt.Errorf("cannot apply the inventory: %w", err)
	}
	took := time.Since(began)
	if err := d.s.check(len(r.GetPlan().GetAdded()) == len(docs), "%d documents in one log entry, committed after %s: 3 customers, %d links, 2 protected blocks, 2 policies, 1 router.",
		len(docs), ms(took), r.GetPlan().GetLinksAfter()); err != nil {
		return err
	}
	for _, l := range []struct {
		address, customer string
		protected         bool
	}{{"203.0.113.10", "uni-a", false}, {"203.0.113.5", "uni-a", true}, {"203.0.113.70", "school-b", false}, {"198.51.100.3", "", true}} {
		if err := d.lookup(ctx, l.address, l.customer, l.protected); err != nil {
			return err
		}
	}
	return d.waitSessions(ctx, began)
}

// lookup asks the node that took the write, or one that answers instead of it: after a write through a node that node
// has it.
func (d *demo) lookup(ctx context.Context, address, customer string, protected bool) error {
	r, err := d.operator.Lookup(ctx, &pb.LookupRequest{Address: address})
	if err != nil {
		return fmt.Errorf("cannot look up %s: %w", address, err)
	}
	ok := r.GetProtected() == protected && (customer == "" || r.GetCustomer() == customer)
	return d.s.check(ok, "%s", r.GetText())
}

// waitSessions waits until every node has its session with the router.
func (d *demo) waitSessions(ctx context.Context, since time.Time) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not every node has a session with the router after %s", output.Short(patience)))
	defer cancel()
	for _, m := range d.lab.members {
		s, err := d.router.WaitSession(ctx, netip.MustParseAddr(m.RouterID))
		if err != nil {
			return err
		}
		d.s.fact("%s's BGP session with edge1 is up, %s after the order (router id %s, %v).", m.ID, ms(s.Up.Sub(since)), s.RouterID, s.Families)
	}
	return d.s.check(true, "3 of 3 nodes speak with the router.")
}

// openDetector connects the detector to a follower, so that its signals are forwarded, and its stream outlives the
// leader.
func (d *demo) openDetector(ctx context.Context) error {
	for _, m := range d.lab.members {
		if m == d.leader {
			continue
		}
		var err error
		if d.detector, err = newDetector(ctx, m, d.lab.tlsDir(auth.Detector)); err != nil {
			return err
		}
		d.s.fact("The detector %s opens its stream to %s, a follower: what it reports is forwarded to the leader.", names(auth.Detector), m.ID)
		return nil
	}
	return os.ErrNotExist
}
