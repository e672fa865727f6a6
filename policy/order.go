package policy

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"
)

// ApprovalID numbers the orders that await a second person, from 1. Its text form is "A1".
type ApprovalID uint64

// OrderKind says what an Order is.
type OrderKind string

// The kinds of Order.
const (
	OrderWithdrawAll OrderKind = "withdraw-all"
	OrderApply       OrderKind = "apply"
)

// OrderStatus says what became of an Order.
type OrderStatus string

// The states of an Order.
const (
	OrderPending    OrderStatus = "pending"
	OrderApproved   OrderStatus = "approved"
	OrderRejected   OrderStatus = "rejected"
	OrderLapsed     OrderStatus = "lapsed"      // nobody answered in time
	OrderBreakGlass OrderStatus = "break-glass" // done without waiting for a second person
)

// Order is an order that is no mitigation and that awaits a second person, or did. It is judged when it is asked for and
// anew when it is approved; it never does more than was asked.
type Order struct {
	ID   ApprovalID
	Kind OrderKind
	// Customer is whose mitigations are withdrawn, empty for all; UpTo is the last one that there was when it was asked.
	Customer CustomerID
	UpTo     MitigationID
	// Documents and Prune are those of an apply, kept until it is decided.
	Documents []Document
	Prune     bool
	Effect    Effect
	By        Principal
	Reason    string
	At, Until time.Time // Until: when it lapses
	Why       Reason
	Status    OrderStatus
	DecidedBy Principal // empty while it is pending
	DecidedAt time.Time
	Note      string
	Changed   Index // of the last entry that changed it; State.Apply sets it
}

// Effect is what an Order would do, in numbers. Approved, it may do less and not more.
type Effect struct {
	Ended                   int // mitigations
	Added, Changed, Removed int // documents
	Removals                int // links, and prefixes of blocks: what the brake asks for
}

// The bounds of orders that are kept. Those that are decided go, the longest decided first.
const (
	MaxOpenOrders   = 16
	MaxClosedOrders = 256
)

// PutOrder adds or replaces an Order.
type PutOrder struct{ Order Order }

func (*PutOrder) isChange() {}
func (*PutOrder) isRecord() {}

func (c *PutOrder) auditObject() string { return fmt.Sprintf("Approval/A%d", c.Order.ID) }

// What says what the order would do, in a few words.
func (o *Order) What() string {
	if o.Kind == OrderWithdrawAll {
		whose := ""
		if o.Customer != "" {
			whose = fmt.Sprintf(" of customer %s", o.Customer)
		}
		return fmt.Sprintf("withdraw %s%s, up to M%d", plural(o.Effect.Ended, "mitigation"), whose, o.UpTo)
	}
	return fmt.Sprintf("apply: %s added, %d changed, %d removed; %s of links and blocks; %s would end", plural(o.Effect.Added, "document"),
		o.Effect.Changed, o.Effect.Removed, plural(o.Effect.Removals, "removal"), plural(o.Effect.Ended, "mitigation"))
}

// bulk says why a withdrawal of so many mitigations awaits a second person; zero if it does not.
func (d *Safeguards) bulk(n int) Reason {
	if d.ApprovalWithdrawals == 0 || n <= d.ApprovalWithdrawals {
		return Reason{}
	}
	return needed([]string{fmt.Sprintf("%s would end, above %d (approval_withdrawals)", plural(n, "active mitigation"), d.ApprovalWithdrawals)})
}

// sweeping says why an apply that removes so much awaits a second person; zero if it does not.
func (d *Safeguards) sweeping(removals int) Reason {
	if removals <= d.UnapprovedRemovals() {
		return Reason{}
	}
	return needed([]string{fmt.Sprintf("%s of links and protected space, above %d (approval_removals)", plural(removals, "removal"), d.UnapprovedRemovals())})
}

// await is the decision on an order that needs a second person.
func (o Order) await(s *State, why Reason, e Entry) Decision {
	for other := range s.OpenOrders() {
		if other.same(&o) {
			return Decision{Verdict: Verdict{Kind: AwaitsApproval, Approval: other.ID, Reason: Reason{
				CodeAwaitsApproval,
				fmt.Sprintf("A%d asks for exactly this already and awaits approval: %s", other.ID, other.Why.Text),
			}}}
		}
	}
	if n := s.openOrders.n; n >= MaxOpenOrders {
		return refusef(CodePendingLimit, "%s await approval, at most %d may: approve or reject some (tidegate approval list), or let them lapse",
			plural(n, "order"), MaxOpenOrders)
	}
	o.ID, o.Why, o.Status, o.By, o.Reason, o.At = s.nextOrder, why, OrderPending, e.By, e.Reason, e.At
	o.Until = e.At.Add(s.Safeguards().ApproveTimeout())
	return Decision{
		Verdict: Verdict{Kind: AwaitsApproval, Approval: o.ID, Reason: Reason{CodeAwaitsApproval, fmt.Sprintf(
			"A%d (%s) awaits approval by somebody else than %s until %s, and nothing was changed: %s; approve it with tidegate approval approve A%d%s",
			o.ID, o.What(), e.By, o.Until.UTC().Format(time.RFC3339), why.Text, o.ID, o.atOnce())}},
		Changes: []Change{&PutOrder{o}},
	}
}

// atOnce says what does not wait.
func (o *Order) atOnce() string {
	if o.Kind != OrderWithdrawAll {
		return ", or ask again with --break-glass"
	}
	return ", or ask again with --break-glass; tidegate speaker withdraw-all on each node takes everything off the routers without either"
}

// same reports whether both orders are one: of the same person, about the same.
func (o *Order) same(other *Order) bool {
	return o.Kind == other.Kind && o.Customer == other.Customer && o.UpTo == other.UpTo && o.Prune == other.Prune && o.Effect == other.Effect &&
		slices.EqualFunc(o.Documents, other.Documents, sameNamed)
}

func sameNamed(a, b Document) bool { return refOf(a) == refOf(b) && sameDocument(a, b) }

// decided returns the order as it is from now on.
func (o Order) decided(st OrderStatus, note string, e Entry) *PutOrder {
	o.Documents, o.Status, o.DecidedBy, o.DecidedAt, o.Note = nil, st, e.By, e.At, note
	return &PutOrder{o}
}

// passed notes that an order was carried out without waiting for a second person.
func (o Order) passed(s *State, why Reason, e Entry) *PutOrder {
	o.ID, o.Why, o.By, o.Reason, o.At, o.Until = s.nextOrder, why, e.By, e.Reason, e.At, e.At
	return o.decided(OrderBreakGlass, e.Reason, e)
}

// putOrder adds or replaces an order.
func (s *State) putOrder(o *Order) error {
	if o.ID == 0 || o.ID == math.MaxUint64 || o.Status == "" {
		return fmt.Errorf("cannot put order %d with status %q: %w", o.ID, o.Status, ErrBadChange)
	}
	k := numberKey(uint64(o.ID))
	if old, ok := s.orders.get(k); ok {
		s.removeOrder(old)
	}
	s.orders.set(k, o)
	if o.Status == OrderPending {
		s.openOrders.set(append(appendTime(nil, o.Until), k...), o)
	} else {
		s.closedOrders.set(o.closedKey(), o)
	}
	s.nextOrder = max(s.nextOrder, o.ID+1)
	return nil
}

func (o *Order) closedKey() []byte {
	return binary.BigEndian.AppendUint64(numberKey(uint64(o.Changed)), uint64(o.ID))
}

func (s *State) removeOrder(o *Order) {
	k := numberKey(uint64(o.ID))
	s.orders.remove(k)
	s.openOrders.remove(append(appendTime(nil, o.Until), k...))
	s.closedOrders.remove(o.closedKey())
}

// pruneOrders forgets the longest decided orders beyond the bound.
func (s *State) pruneOrders() {
	for s.closedOrders.n > MaxClosedOrders {
		_, o, _ := s.closedOrders.min()
		s.removeOrder(o)
	}
}

// Order returns an order by id.
func (s *State) Order(id ApprovalID) (*Order, bool) { return s.orders.get(numberKey(uint64(id))) }

// Orders yields the orders that are remembered, by id.
func (s *State) Orders() iter.Seq[*Order] { return s.orders.values() }

// OpenOrders yields the orders that await a second person, the first to lapse first.
func (s *State) OpenOrders() iter.Seq[*Order] { return s.openOrders.values() }
