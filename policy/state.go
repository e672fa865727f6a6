package policy

import (
	"fmt"
	"iter"
	"net/netip"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// What a State remembers of things past. The bounds are applied inside Apply, so every node forgets the same.
const (
	MaxOver    = 10_000         // mitigations that are over; the longest over go first
	MaxAttacks = 100_000        // attacks, ended or not; the longest unchanged go first
	MaxResults = 10_000         // answers to writes; the oldest go first
	Memory     = 24 * time.Hour // of entry time: for ended attacks and for answers to writes
)

// State is everything that is replicated, at one index of the log. It is immutable: Apply makes a new one that
// shares almost all of its structure with the old one. All methods may be called from any goroutine; nothing that
// they return may be changed.
type State struct {
	index   Index
	at      time.Time
	leaseAt time.Time
	nextID  MitigationID

	inv inventory

	mitigations table[*held] // by id
	active      table[*held] // by id
	over        table[*held] // by index of the end, then id
	byCustomer  table[*held] // active ones, by customer, then id
	byExpiry    table[*held] // active and pending ones, by when they are due, then id
	ofCustomer  table[int]   // number of active ones, by customer
	ofPolicy    table[int]   // number of active ones that policies started, by policy
	pieces      pieces       // active ones, by what they act on
	pending     table[*held] // those that await approval, by id
	awaiting    table[*held] // those of which something awaits approval, by id
	unapproved  table[*held] // those, not over, that went past an approval, by id

	routes      table[*route] // by key
	rerouted    rerouted      // the routes that are others than in the State before
	groupRoutes table[int]    // number of routes by kind and router group, without those that all groups hear
	allRoutes   [3]int        // number of routes that all groups hear, by kind
	entries     table[int]    // price of the rules by profile and router group, for the profiles that are counted

	attacks          table[*Attack] // by source and attack id
	attacksByTime    table[*Attack] // all, by time of the last change
	endedByTime      table[*Attack] // the ended ones, by time of the last change
	unansweredByTime table[*Attack] // those that nothing was done about, by time of the last change
	unanswered       table[int]     // number of those, by source
	attackSpace      attackSpace    // those that are not over, by target

	pace        pace  // what policies did lately
	usage       usage // of the budgets
	freeze      *Freeze
	quarantines table[*Quarantine] // by source
	tokens      table[*Token]      // by name
	tokensByEnd table[*Token]      // by when they are forgotten, then name
	audit       auditTrail

	results       table[*Result] // by request id
	resultsByTime table[*Result]

	nextOrder    ApprovalID
	orders       table[*Order] // by id
	openOrders   table[*Order] // those that await a second person, by when they lapse, then id
	closedOrders table[*Order] // the others, by index of the last change, then id
}

// held is a mitigation with the keys of its rules, which are not cheap to make.
type held struct {
	*Mitigation
	keys []flowspec.Key
}

// NewState returns an empty State at index 0: what a cluster starts from.
func NewState() *State {
	return &State{
		nextID:           1,
		inv:              newInventory(),
		mitigations:      newTable[*held](),
		active:           newTable[*held](),
		over:             newTable[*held](),
		byCustomer:       newTable[*held](),
		byExpiry:         newTable[*held](),
		ofCustomer:       newTable[int](),
		ofPolicy:         newTable[int](),
		pieces:           newPieces(),
		routes:           newTable[*route](),
		groupRoutes:      newTable[int](),
		entries:          newTable[int](),
		attacks:          newTable[*Attack](),
		attacksByTime:    newTable[*Attack](),
		endedByTime:      newTable[*Attack](),
		unansweredByTime: newTable[*Attack](),
		unanswered:       newTable[int](),
		attackSpace:      newAttackSpace(),
		pace:             newPace(),
		usage:            newUsage(),
		quarantines:      newTable[*Quarantine](),
		tokens:           newTable[*Token](),
		tokensByEnd:      newTable[*Token](),
		results:          newTable[*Result](),
		resultsByTime:    newTable[*Result](),
		pending:          newTable[*held](),
		awaiting:         newTable[*held](),
		unapproved:       newTable[*held](),
		nextOrder:        1,
		orders:           newTable[*Order](),
		openOrders:       newTable[*Order](),
		closedOrders:     newTable[*Order](),
	}
}

// Apply returns the State after the changes of the entry e; s stays as it is. Several calls with the same index are
// the items of one batch; an index that goes back is an error. A time that goes back is taken as the time before.
//
// An error means that the entry cannot be what any version of Decide made, or that it needs a later version of this
// program; then s itself is returned and the caller must stop applying. Apply never panics.
func (s *State) Apply(e Entry, cs []Change) (next *State, err error) {
	// A panic would be replicated to all nodes, so a mistake of ours becomes an error here too.
	defer func() {
		if r := recover(); r != nil {
			next, err = s, fmt.Errorf("cannot apply entry %d: %w: %v", e.Index, ErrBadChange, r)
		}
	}()
	if e.Index == 0 || e.Index < s.index {
		return s, fmt.Errorf("cannot apply entry %d after entry %d: %w", e.Index, s.index, ErrOrder)
	}
	n := *s
	n.rerouted = s.rerouted.next(e.Index > s.index)
	n.index = e.Index
	if e.At.After(n.at) {
		n.at = e.At
	}
	if weigh(cs) >= bulkPrefixes {
		n.inv.official.own()
		n.inv.protected.own()
	}
	for i, c := range cs {
		if err := n.change(c, e); err != nil {
			return s, fmt.Errorf("cannot apply change %d of entry %d: %w", i, e.Index, err)
		}
	}
	n.noteAudit(e, cs)
	n.prune()
	n.commit()
	return &n, nil
}

// weigh estimates how many prefixes the changes touch.
func weigh(cs []Change) int {
	sum := 0
	for _, c := range cs {
		switch c := c.(type) {
		case *PutDocument:
			if c != nil {
				sum += prefixes(c.Document)
			}
		case *DeleteDocument:
			sum++
		}
	}
	return sum
}

func prefixes(doc Document) int {
	switch d := doc.(type) {
	case *Customer:
		if d != nil {
			return len(d.Official) + len(d.Links)
		}
	case *ProtectedBlock:
		if d != nil {
			return len(d.Prefixes)
		}
	}
	return 0
}

func (s *State) commit() {
	s.inv.commit()
	s.mitigations.commit()
	s.active.commit()
	s.over.commit()
	s.byCustomer.commit()
	s.byExpiry.commit()
	s.ofCustomer.commit()
	s.ofPolicy.commit()
	s.pieces.commit()
	s.routes.commit()
	s.groupRoutes.commit()
	s.entries.commit()
	s.attacks.commit()
	s.tokens.commit()
	s.tokensByEnd.commit()
	s.attacksByTime.commit()
	s.endedByTime.commit()
	s.pace.commit()
	s.usage.counts.commit()
	s.quarantines.commit()
	s.unansweredByTime.commit()
	s.unanswered.commit()
	s.attackSpace.commit()
	s.results.commit()
	s.resultsByTime.commit()
	s.pending.commit()
	s.awaiting.commit()
	s.unapproved.commit()
	s.orders.commit()
	s.openOrders.commit()
	s.closedOrders.commit()
}

// change carries out one change on a State that nobody else sees yet.
func (s *State) change(c Change, e Entry) error {
	switch c := c.(type) {
	case *PutDocument:
		return s.putDocument(c)
	case *DeleteDocument:
		return s.deleteDocument(c)
	case *PutMitigation:
		if c == nil || c.Mitigation == nil {
			return fmt.Errorf("cannot put mitigation: %w", ErrBadChange)
		}
		m := *c.Mitigation
		m.Changed, m.History = s.index, stamped(m.History, s.index)
		return s.putMitigation(&m)
	case *EndMitigation:
		return s.endMitigation(c, e)
	case *PutAttack:
		if c == nil {
			return fmt.Errorf("cannot put attack: %w", ErrBadChange)
		}
		a := c.Attack
		a.At = s.at
		s.putAttack(&a)
		return nil
	case *PutResult:
		if c == nil || c.Result.RequestID == "" {
			return fmt.Errorf("cannot put result without a request id: %w", ErrBadChange)
		}
		r := c.Result
		r.Index, r.At = s.index, s.at
		s.putResult(&r)
		return nil
	case *PutLease:
		s.leaseAt = s.at
		return nil
	case *BeginAudit:
		s.audit.on = true
		return nil
	}
	return s.changeHold(c, e)
}

// changeHold carries out a change of what holds policies or detectors back, or of what awaits a second person.
func (s *State) changeHold(c Change, e Entry) error {
	switch c := c.(type) {
	case *PutOrder:
		if c == nil {
			return fmt.Errorf("cannot put order: %w", ErrBadChange)
		}
		o := c.Order
		o.Changed = s.index
		return s.putOrder(&o)
	case *PutFreeze:
		if c == nil {
			return fmt.Errorf("cannot put freeze: %w", ErrBadChange)
		}
		f := c.Freeze
		f.Since = s.at
		s.freeze = &f
		return nil
	case *EndFreeze:
		s.freeze = nil
		return nil
	case *PutQuarantine:
		if c == nil {
			return fmt.Errorf("cannot put quarantine: %w", ErrBadChange)
		}
		q := c.Quarantine
		q.Since = s.at
		return s.putQuarantine(q)
	case *EndQuarantine:
		if c == nil {
			return fmt.Errorf("cannot end quarantine: %w", ErrBadChange)
		}
		s.quarantines.remove([]byte(c.Source))
		return nil
	}
	return s.changeToken(c, e)
}

func (s *State) putDocument(c *PutDocument) error {
	if c == nil || refOf(c.Document).Name == "" {
		return fmt.Errorf("cannot put document without a name: %w", ErrBadChange)
	}
	ref := refOf(c.Document)
	before := s.router(ref)
	if err := s.inv.put(c.Document); err != nil {
		return err
	}
	s.moved(before, s.router(ref))
	if ref.Kind == KindRouter {
		s.reprice()
	}
	return nil
}

func (s *State) deleteDocument(c *DeleteDocument) error {
	if c == nil {
		return fmt.Errorf("cannot delete document: %w", ErrBadChange)
	}
	before := s.router(c.Ref)
	if err := s.inv.remove(c.Ref); err != nil {
		return fmt.Errorf("%w: %w", ErrBadChange, err)
	}
	s.moved(before, nil)
	if c.Ref.Kind == KindRouter {
		s.reprice()
	}
	return nil
}

func (s *State) putAttack(a *Attack) {
	k := attackKey(a.Source, a.AttackID)
	if old, ok := s.attacks.get(k); ok {
		s.removeAttack(old)
	}
	s.attacks.set(k, a)
	t := append(appendTime(nil, a.At), k...)
	s.attacksByTime.set(t, a)
	if a.Ended {
		s.endedByTime.set(t, a)
	}
	if a.Unanswered {
		s.unansweredByTime.set(t, a)
		count(&s.unanswered, a.Source, 1)
	}
	s.attackSpace.put(a, true)
}

func (s *State) removeAttack(a *Attack) {
	k := attackKey(a.Source, a.AttackID)
	s.attacks.remove(k)
	t := append(appendTime(nil, a.At), k...)
	s.attacksByTime.remove(t)
	if a.Ended {
		s.endedByTime.remove(t)
	}
	if a.Unanswered {
		s.unansweredByTime.remove(t)
		count(&s.unanswered, a.Source, -1)
	}
	s.attackSpace.put(a, false)
}

func attackKey(source, attackID string) []byte { return append(appendText(nil, source), attackID...) }

func (s *State) putResult(r *Result) {
	k := []byte(r.RequestID)
	if old, ok := s.results.get(k); ok {
		s.removeResult(old)
	}
	s.results.set(k, r)
	s.resultsByTime.set(append(appendTime(nil, r.At), k...), r)
}

func (s *State) removeResult(r *Result) {
	s.results.remove([]byte(r.RequestID))
	s.resultsByTime.remove(append(appendTime(nil, r.At), r.RequestID...))
}

// prune forgets what is beyond the bounds. What it does depends on the State alone.
func (s *State) prune() {
	s.pruneOrders()
	s.pruneTokens()
	for s.over.n > MaxOver {
		_, h, _ := s.over.min()
		s.over.remove(overKey(h.Mitigation))
		s.mitigations.remove(numberKey(uint64(h.ID)))
		s.pace.change(h, -1, s.at)
	}
	s.pace.prune(s.at)
	for s.attacks.n > MaxAttacks {
		_, a, _ := s.attacksByTime.min()
		s.removeAttack(a)
	}
	limit := s.at.Add(-Memory)
	for s.endedByTime.n > 0 {
		_, a, _ := s.endedByTime.min()
		if !a.At.Before(limit) {
			break
		}
		s.removeAttack(a)
	}
	for s.unansweredByTime.n > 0 {
		_, a, _ := s.unansweredByTime.min()
		if s.at.Sub(a.At) < AttackWindow {
			break
		}
		s.removeAttack(a)
	}
	for s.results.n > 0 {
		_, r, _ := s.resultsByTime.min()
		if s.results.n <= MaxResults && !r.At.Before(limit) {
			break
		}
		s.removeResult(r)
	}
}

// Index returns the index of the last entry that was applied; 0 for none.
func (s *State) Index() Index { return s.index }

// At returns the time of the last entry.
func (s *State) At() time.Time { return s.at }

// LeaseAt returns the time of the last PutLease; zero for none.
func (s *State) LeaseAt() time.Time { return s.leaseAt }

// Document returns a document by kind and name.
func (s *State) Document(ref DocumentRef) (Document, bool) { return s.inv.get(ref) }

// Documents yields the documents of a kind, by name.
func (s *State) Documents(k DocumentKind) iter.Seq[Document] { return s.inv.documents(k) }

// Customer returns a customer by id.
func (s *State) Customer(id CustomerID) (*Customer, bool) { return s.inv.customers.get([]byte(id)) }

// Customers yields the customers, by id.
func (s *State) Customers() iter.Seq[*Customer] { return s.inv.customers.values() }

// Block returns a protected block by name.
func (s *State) Block(name string) (*ProtectedBlock, bool) { return s.inv.blocks.get([]byte(name)) }

// Routers yields the routers, by name.
func (s *State) Routers() iter.Seq[*Router] { return s.inv.routers.values() }

// Policies yields the policies in the order in which they are asked: by priority descending, then by name.
func (s *State) Policies() iter.Seq[*Policy] { return s.inv.byPriority.values() }

// Safeguards returns the bounds that hold: the document of that kind, or else DefaultSafeguards.
func (s *State) Safeguards() *Safeguards { return s.inv.effective }

// LinkCount returns how many links all customers have together.
func (s *State) LinkCount() int { return s.inv.links }

// Mitigation returns a mitigation by id, active or over.
func (s *State) Mitigation(id MitigationID) (*Mitigation, bool) {
	h, ok := s.mitigations.get(numberKey(uint64(id)))
	if !ok {
		return nil, false
	}
	return h.Mitigation, true
}

// Mitigations yields all mitigations that are remembered, active and over, by id.
func (s *State) Mitigations() iter.Seq[*Mitigation] { return unwrap(s.mitigations.values()) }

// Active yields the mitigations that are announced, Active or Ending, by id. Its cost is that of the active ones.
func (s *State) Active() iter.Seq[*Mitigation] { return unwrap(s.active.values()) }

// ActiveCount returns the number of active mitigations.
func (s *State) ActiveCount() int { return s.active.n }

// ActiveOf yields the active mitigations of a customer, by id.
func (s *State) ActiveOf(c CustomerID) iter.Seq[*Mitigation] {
	return unwrap(s.byCustomer.valuesUnder(appendText(nil, string(c))))
}

// ActiveCountOf returns the number of active mitigations of a customer.
func (s *State) ActiveCountOf(c CustomerID) int {
	n, _ := s.ofCustomer.get([]byte(c))
	return n
}

// activeAt yields the active mitigations of a customer that have exactly this piece, by id.
func (s *State) activeAt(c CustomerID, p netip.Prefix) iter.Seq[*Mitigation] {
	return s.ofIDs(c, s.pieces.at(p))
}

// activeNear yields the active mitigations of a customer that have a piece around or equal to one of ps, by id; with
// inner also those that have a piece inside one of ps.
func (s *State) activeNear(c CustomerID, ps []netip.Prefix, inner bool) iter.Seq[*Mitigation] {
	return s.ofIDs(c, s.pieces.near(ps, inner))
}

func (s *State) ofIDs(c CustomerID, ids []MitigationID) iter.Seq[*Mitigation] {
	return func(yield func(*Mitigation) bool) {
		for _, id := range ids {
			if m, ok := s.Mitigation(id); ok && m.Customer == c && !yield(m) {
				return
			}
		}
	}
}

func unwrap(seq iter.Seq[*held]) iter.Seq[*Mitigation] {
	return func(yield func(*Mitigation) bool) {
		for h := range seq {
			if !yield(h.Mitigation) {
				return
			}
		}
	}
}

// NextID returns the id that the next new mitigation gets. Ids are never used again.
func (s *State) NextID() MitigationID { return s.nextID }

// NextDue returns when an ExpireRequest finds something to do: the lifetime or the quiet time of an active mitigation is
// over, or a freeze or a quarantine that is limited in time, or nobody approved something in time. False if there is none
// of them.
func (s *State) NextDue() (time.Time, bool) {
	due, limited := s.limitDue()
	_, h, ok := s.byExpiry.min()
	if ok && (!limited || h.due().Before(due)) {
		due, limited = h.due(), true
	}
	_, o, waits := s.openOrders.min()
	if waits && (!limited || o.Until.Before(due)) {
		due, limited = o.Until, true
	}
	return due, limited
}

// DueBy yields the mitigations whose lifetime or quiet time is over at t, or of which something awaits approval until then,
// t itself included, the earliest first.
func (s *State) DueBy(t time.Time) iter.Seq[*Mitigation] {
	return func(yield func(*Mitigation) bool) {
		for h := range s.byExpiry.values() {
			if h.due().After(t) || !yield(h.Mitigation) {
				return
			}
		}
	}
}

// Attack returns what is remembered of a detector's attack.
func (s *State) Attack(source, attackID string) (Attack, bool) {
	a, ok := s.attacks.get(attackKey(source, attackID))
	if !ok {
		return Attack{}, false
	}
	return *a, true
}

// Result returns the remembered answer to a write.
func (s *State) Result(id RequestID) (Result, bool) {
	r, ok := s.results.get([]byte(id))
	if !ok {
		return Result{}, false
	}
	return *r, true
}
