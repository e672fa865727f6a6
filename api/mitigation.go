package api

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/tidegate/tidegate/controller"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

type mitigationService struct {
	tidegatev1.UnimplementedMitigationServiceServer
	*Server
}

// Start starts a mitigation by hand.
func (s *mitigationService) Start(ctx context.Context, req *tidegatev1.StartRequest) (*tidegatev1.StartResponse, error) {
	return onLeader(ctx, s.Server, tidegatev1.MitigationService_Start_FullMethodName, req, func(ctx context.Context) (*tidegatev1.StartResponse, error) {
		v := &violations{}
		cmd, err := command(ctx, v, req)
		if err != nil {
			return nil, err
		}
		cmd.Request = startRequest(v, req)
		out, m, err := s.write(ctx, v, cmd)
		if err != nil {
			return nil, err
		}
		return &tidegatev1.StartResponse{Verdict: verdictProto(out.Decision.Verdict), Mitigation: m, Write: writeInfo(out)}, nil
	})
}

// write carries out a command about one mitigation. A refusal is an error.
func (s *mitigationService) write(ctx context.Context, v *violations, cmd controller.Command) (controller.Outcome, *tidegatev1.Mitigation, error) {
	if err := v.err(); err != nil {
		return controller.Outcome{}, nil, err
	}
	out, err := s.ctrl.Write(ctx, cmd)
	if err != nil {
		return out, nil, err
	}
	st := s.ctrl.State()
	m := decided(st, out.Decision)
	var shown *tidegatev1.Mitigation
	if m != nil {
		shown = pricedProto(st, m)
	}
	if err := refusal(out.Decision); err != nil {
		return out, nil, err
	}
	return out, shown, nil
}

// decided is the mitigation that a decision is about: the one its verdict names, else its first.
func decided(st *policy.State, d policy.Decision) *policy.Mitigation {
	for _, m := range d.Mitigations {
		if m.ID == d.Verdict.Mitigation {
			return m
		}
	}
	if m, ok := st.Mitigation(d.Verdict.Mitigation); ok {
		return m
	}
	if len(d.Mitigations) > 0 {
		return d.Mitigations[0]
	}
	return nil
}

// Preview is the decision that Start would take. A refusal is a verdict here: it is what was asked for.
func (s *mitigationService) Preview(ctx context.Context, req *tidegatev1.PreviewRequest) (*tidegatev1.PreviewResponse, error) {
	by, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	v := &violations{prefix: "start."}
	start := startRequest(v, req.GetStart())
	if err := v.err(); err != nil {
		return nil, err
	}
	return onLeaderFirst(ctx, s.Server, tidegatev1.MitigationService_Preview_FullMethodName, req, func(ctx context.Context) (*tidegatev1.PreviewResponse, error) {
		d, index, err := s.ctrl.Preview(ctx, controller.Command{By: by.Principal(), Reason: req.GetStart().GetReason(), Request: start})
		if err != nil {
			return nil, err
		}
		if len(d.Violations) > 0 {
			return nil, refusal(d)
		}
		st := s.ctrl.State()
		out := &tidegatev1.PreviewResponse{Verdict: verdictProto(d.Verdict), Read: s.readInfoAt(st, index)}
		if m := decided(st, d); m != nil {
			out.Mitigation = pricedProto(st, m)
		}
		return out, nil
	})
}

// Get shows one mitigation.
func (s *mitigationService) Get(_ context.Context, req *tidegatev1.GetRequest) (*tidegatev1.GetResponse, error) {
	v := &violations{}
	id := v.mitigationID("id", req.GetId())
	if err := v.err(); err != nil {
		return nil, err
	}
	st := s.ctrl.State()
	m, ok := st.Mitigation(id)
	if !ok {
		return nil, noMitigation(id)
	}
	return &tidegatev1.GetResponse{Mitigation: pricedProto(st, m), Read: s.readInfo(st)}, nil
}

// List shows mitigations, newest first.
func (s *mitigationService) List(_ context.Context, req *tidegatev1.ListRequest) (*tidegatev1.ListResponse, error) {
	limit := int(req.GetLimit())
	if limit == 0 {
		limit = defaultListed
	}
	if limit > MaxListed {
		v := &violations{}
		v.add("limit", fmt.Sprintf("%d is too great", req.GetLimit()), fmt.Sprintf("ask for at most %d", MaxListed))
		return nil, v.err()
	}
	st := s.ctrl.State()
	list := slices.SortedFunc(selected(st, policy.CustomerID(req.GetCustomer()), req.GetIncludeOver()),
		func(a, b *policy.Mitigation) int { return cmp.Compare(a.ID, b.ID) })
	if c := req.GetCustomer(); c != "" && len(list) == 0 {
		if _, ok := st.Customer(policy.CustomerID(c)); !ok {
			return nil, noCustomer(st, c)
		}
	}
	slices.Reverse(list)
	out := &tidegatev1.ListResponse{Read: s.readInfo(st), Freeze: freezeProto(st)}
	for _, m := range list[:min(limit, len(list))] {
		out.Mitigations = append(out.Mitigations, mitigationProto(st, m))
	}
	return out, nil
}

// selected are the mitigations that are not over, active ones first, or all.
func selected(st *policy.State, customer policy.CustomerID, over bool) iter.Seq[*policy.Mitigation] {
	if over {
		return func(yield func(*policy.Mitigation) bool) {
			for m := range st.Mitigations() {
				if (customer == "" || m.Customer == customer) && !yield(m) {
					return
				}
			}
		}
	}
	if customer != "" {
		return both(st.ActiveOf(customer), st.PendingOf(customer))
	}
	return both(st.Active(), st.Pending())
}

func both(lists ...iter.Seq[*policy.Mitigation]) iter.Seq[*policy.Mitigation] {
	return func(yield func(*policy.Mitigation) bool) {
		for _, list := range lists {
			for m := range list {
				if !yield(m) {
					return
				}
			}
		}
	}
}

// Watch sends the active mitigations, then each one as it changes. A watcher that reads slowly misses states in
// between, never the last one.
func (s *mitigationService) Watch(req *tidegatev1.WatchRequest, stream grpc.ServerStreamingServer[tidegatev1.WatchResponse]) error {
	ctx := stream.Context()
	// The headers tell the watcher that it is listened to, even when there is nothing to send yet.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	w := watcher{customer: policy.CustomerID(req.GetCustomer()), sent: make(map[policy.MitigationID]policy.Index)}
	for {
		updated := s.ctrl.Updated() // before the state, or an update between the two would be missed
		st := s.ctrl.State()
		for _, m := range w.changed(st) {
			if err := stream.Send(&tidegatev1.WatchResponse{Mitigation: mitigationProto(st, m), Read: s.readInfo(st)}); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-updated:
		}
	}
}

// watcher remembers what a watcher was sent: the active mitigations, with the index of their last change.
type watcher struct {
	customer policy.CustomerID
	sent     map[policy.MitigationID]policy.Index
	next     policy.MitigationID // the first id that was not there yet; 0 before the first look
	index    policy.Index
}

// changed returns what the watcher has not been sent of st, by id. It costs as much as there are active and new
// mitigations; those that were over at the first look are not looked at.
func (w *watcher) changed(st *policy.State) []*policy.Mitigation {
	if w.next != 0 && st.Index() == w.index {
		return nil
	}
	look := make(map[policy.MitigationID]bool)
	for id := range w.sent { // those that may be over now
		look[id] = true
	}
	for m := range selected(st, w.customer, false) {
		look[m.ID] = true
	}
	if w.next != 0 { // those that came and went between two looks
		for id := w.next; id < st.NextID(); id++ {
			look[id] = true
		}
	}
	w.next, w.index = st.NextID(), st.Index()
	var out []*policy.Mitigation
	for _, id := range slices.Sorted(maps.Keys(look)) {
		if m, ok := st.Mitigation(id); ok && w.take(m) {
			out = append(out, m)
		} else if !ok {
			delete(w.sent, id) // over, and forgotten since
		}
	}
	return out
}

// take reports whether the watcher has to be sent m as it is now, and remembers that it was.
func (w *watcher) take(m *policy.Mitigation) bool {
	if w.customer != "" && m.Customer != w.customer {
		return false
	}
	if at, ok := w.sent[m.ID]; ok && at == m.Changed {
		return false
	}
	if m.Phase == policy.Over {
		delete(w.sent, m.ID)
	} else {
		w.sent[m.ID] = m.Changed
	}
	return true
}

// Extend sets the remaining lifetime.
func (s *mitigationService) Extend(ctx context.Context, req *tidegatev1.ExtendRequest) (*tidegatev1.ExtendResponse, error) {
	return onLeader(ctx, s.Server, tidegatev1.MitigationService_Extend_FullMethodName, req, func(ctx context.Context) (*tidegatev1.ExtendResponse, error) {
		v := &violations{}
		cmd, err := command(ctx, v, req)
		if err != nil {
			return nil, err
		}
		cmd.Request = &policy.ExtendRequest{ID: v.mitigationID("id", req.GetId()), Lifetime: v.duration("lifetime", req.GetLifetime(), true)}
		out, m, err := s.write(ctx, v, cmd)
		if err != nil {
			return nil, err
		}
		resp := &tidegatev1.ExtendResponse{Mitigation: m, Write: writeInfo(out)}
		if out.Decision.Verdict.Kind == policy.AwaitsApproval {
			resp.Verdict = verdictProto(out.Decision.Verdict)
		}
		return resp, nil
	})
}

// Withdraw ends one mitigation.
func (s *mitigationService) Withdraw(ctx context.Context, req *tidegatev1.WithdrawRequest) (*tidegatev1.WithdrawResponse, error) {
	return onLeader(ctx, s.Server, tidegatev1.MitigationService_Withdraw_FullMethodName, req, func(ctx context.Context) (*tidegatev1.WithdrawResponse, error) {
		v := &violations{}
		cmd, err := command(ctx, v, req)
		if err != nil {
			return nil, err
		}
		id := v.mitigationID("id", req.GetId())
		cmd.Request = &policy.WithdrawRequest{ID: id}
		out, shown, err := s.write(ctx, v, cmd)
		if err != nil {
			return nil, err
		}
		resp := &tidegatev1.WithdrawResponse{Mitigation: shown, Write: writeInfo(out)}
		if m := decided(s.ctrl.State(), out.Decision); m != nil && !m.NeverAnnounced() {
			until := s.ctrl.GoneAtLatest(m)
			resp.GoneAtLatest, resp.StillCarried = timeProto(until), s.stillCarried(ctx, []*policy.Mitigation{m}, until)
		}
		return resp, nil
	})
}

// WithdrawAll ends all active mitigations, or those of one customer.
func (s *mitigationService) WithdrawAll(ctx context.Context, req *tidegatev1.WithdrawAllRequest) (*tidegatev1.WithdrawAllResponse, error) {
	return onLeader(ctx, s.Server, tidegatev1.MitigationService_WithdrawAll_FullMethodName, req, func(ctx context.Context) (*tidegatev1.WithdrawAllResponse, error) {
		v := &violations{}
		cmd, err := command(ctx, v, req)
		if err != nil {
			return nil, err
		}
		cmd.Request = &policy.WithdrawAllRequest{
			BreakGlass: req.GetBreakGlass(),
			Customer:   policy.CustomerID(req.GetCustomer()), Freeze: req.GetFreeze(), FreezeFor: v.within("freeze_for", req.GetFreezeFor()),
		}
		out, _, err := s.write(ctx, v, cmd)
		if err != nil {
			return nil, err
		}
		resp := &tidegatev1.WithdrawAllResponse{Write: writeInfo(out), Freeze: freezeProto(s.ctrl.State())}
		var latest time.Time
		var announced []*policy.Mitigation
		for _, m := range out.Decision.Mitigations {
			resp.Ids = append(resp.Ids, formatID(m.ID))
			if m.NeverAnnounced() {
				continue
			}
			announced = append(announced, m)
			if t := s.ctrl.GoneAtLatest(m); t.After(latest) {
				latest = t
			}
		}
		resp.GoneAtLatest = timeProto(latest)
		if out.Decision.Verdict.Kind != policy.AwaitsApproval {
			resp.StillCarried = s.stillCarried(ctx, announced, latest)
		}
		if out.Decision.Verdict.Kind == policy.AwaitsApproval {
			resp.Verdict = verdictProto(out.Decision.Verdict)
		}
		return resp, nil
	})
}

// stillCarried are the nodes that cannot be asked whether they have withdrawn the rules of ms, with the routers that may
// still hear them from there. Every node that answers has the withdrawal before it, or gets it with the next entry.
func (s *Server) stillCarried(ctx context.Context, ms []*policy.Mitigation, until time.Time) []*tidegatev1.Carrier {
	if len(ms) == 0 {
		return nil
	}
	st := s.ctrl.State()
	var routers []string
	for _, m := range ms {
		for _, r := range hearing(st, m.Action.RouteKind(), m.Groups, ruleFamily(m)) {
			routers = append(routers, r.Name)
		}
	}
	slices.Sort(routers)
	routers = slices.Compact(routers)
	var out []*tidegatev1.Carrier
	for _, n := range s.askAll(ctx, false) {
		if n.speaker == nil && len(routers) > 0 {
			out = append(out, &tidegatev1.Carrier{Node: n.member.ID, Routers: routers, Detail: n.silence(), Until: timeProto(until)})
		}
	}
	return out
}
