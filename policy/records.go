package policy

import (
	"fmt"
	"iter"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// Record is one piece of a State on its way to disk: one of *MetaRecord, *RouteRecord, *PutDocument, *PutMitigation,
// *PutAttack, *PutResult, *PutOrder, *PutFreeze, *PutQuarantine and *PutToken.
type Record interface{ isRecord() }

// MetaRecord is the first record of a State.
type MetaRecord struct {
	Index   Index
	At      time.Time
	LeaseAt time.Time
	NextID  MitigationID
	// NextOrder is 0 as long as there was none.
	NextOrder ApprovalID
	Count     uint64 // records that follow: a State that was cut short must not come back
}

// RouteRecord keeps of a route what does not follow from the mitigations.
type RouteRecord struct {
	Key     flowspec.Key
	Changed Index
}

func (*MetaRecord) isRecord()    {}
func (*RouteRecord) isRecord()   {}
func (*PutDocument) isRecord()   {}
func (*PutMitigation) isRecord() {}
func (*PutAttack) isRecord()     {}
func (*PutResult) isRecord()     {}

// Records yields everything that s holds: the MetaRecord, documents, mitigations, routes, attacks, results, orders, the
// freeze and the quarantines, each in a fixed order. Equal States yield equal records.
func (s *State) Records() iter.Seq[Record] {
	return func(yield func(Record) bool) {
		count := s.orders.n + s.mitigations.n + s.routes.n + s.attacks.n + s.results.n + s.inv.customers.n + s.inv.blocks.n +
			s.inv.routers.n + s.inv.policies.n + s.inv.safeguards.n + s.inv.detectors.n + s.quarantines.n + s.tokens.n
		if s.freeze != nil {
			count++
		}
		count += s.audit.n
		if !yield(&MetaRecord{Index: s.index, At: s.at, LeaseAt: s.leaseAt, NextID: s.nextID, NextOrder: s.nextOrder - 1, Count: uint64(count)}) {
			return
		}
		for _, k := range documentKinds() {
			for d := range s.Documents(k) {
				if !yield(&PutDocument{Document: d}) {
					return
				}
			}
		}
		for m := range s.Mitigations() {
			if !yield(&PutMitigation{Mitigation: m}) {
				return
			}
		}
		for k, r := range s.Routes() {
			if !yield(&RouteRecord{Key: k, Changed: r.Changed}) {
				return
			}
		}
		for a := range s.attacks.values() {
			if !yield(&PutAttack{Attack: *a}) {
				return
			}
		}
		if s.orderRecords(yield) && s.auditRecords(yield) {
			s.holdRecords(yield)
		}
	}
}

// orderRecords yields the answers to writes, and the orders that await a second person, or did; false: whoever reads has enough.
func (s *State) orderRecords(yield func(Record) bool) bool {
	for r := range s.results.values() {
		if !yield(&PutResult{Result: *r}) {
			return false
		}
	}
	for o := range s.Orders() {
		if !yield(&PutOrder{Order: *o}) {
			return false
		}
	}
	return true
}

// holdRecords yields what holds policies and detectors back.
func (s *State) holdRecords(yield func(Record) bool) {
	if s.freeze != nil && !yield(&PutFreeze{Freeze: *s.freeze}) {
		return
	}
	for q := range s.quarantines.values() {
		if !yield(&PutQuarantine{Quarantine: *q}) {
			return
		}
	}
	for t := range s.tokens.values() {
		if !yield(&PutToken{Token: *t}) {
			return
		}
	}
}

// Restore makes a State from its records, in the order in which Records gives them: the result yields the same
// records again. It refuses records that do not fit together, and passes on the error of rs.
func Restore(rs iter.Seq2[Record, error]) (s *State, err error) {
	defer func() { // as in Apply: a snapshot that we cannot read must not end the process
		if r := recover(); r != nil {
			s, err = nil, fmt.Errorf("cannot restore state: %w: %v", ErrBadChange, r)
		}
	}()
	b := &restorer{s: NewState()}
	b.s.inv.official.own()
	b.s.inv.protected.own()
	b.s.pieces.owned, b.s.attackSpace.owned = true, true // nobody else has seen them
	for r, err := range rs {
		if err != nil {
			return nil, fmt.Errorf("cannot restore state: %w", err)
		}
		if err := b.add(r); err != nil {
			return nil, fmt.Errorf("cannot restore state: record %d: %w", b.n, err)
		}
		b.n++
	}
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("cannot restore state: %w", err)
	}
	b.s.commit()
	return b.s, nil
}

// restorer is a State that is being restored.
type restorer struct {
	s      *State
	meta   *MetaRecord
	n      uint64 // records so far, the MetaRecord included
	routes int    // route records so far
}

func (b *restorer) add(r Record) error {
	if m, ok := r.(*MetaRecord); ok {
		if b.n != 0 || m == nil {
			return fmt.Errorf("the meta record must come first, and once: %w", ErrOrder)
		}
		b.meta = m
		b.s.index, b.s.at, b.s.leaseAt = m.Index, m.At, m.LeaseAt
		return nil
	}
	if b.meta == nil {
		return fmt.Errorf("the meta record must come first: %w", ErrOrder)
	}
	if a, ok := r.(*AuditRecord); ok {
		return b.addAudit(a)
	}
	switch r := r.(type) {
	case *PutDocument:
		return b.s.putDocument(r)
	case *PutMitigation:
		return b.addMitigation(r)
	case *RouteRecord:
		return b.addRoute(r)
	case *PutAttack:
		if r == nil {
			return fmt.Errorf("no attack: %w", ErrBadChange)
		}
		a := r.Attack
		b.s.putAttack(&a)
		return nil
	case *PutResult:
		if r == nil || r.Result.RequestID == "" {
			return fmt.Errorf("result without a request id: %w", ErrBadChange)
		}
		res := r.Result
		b.s.putResult(&res)
		return nil
	}
	return b.addHold(r)
}

// addHold adds what holds policies and detectors back, and what awaits a second person.
func (b *restorer) addHold(r Record) error {
	switch r := r.(type) {
	case *PutFreeze:
		if r == nil {
			return fmt.Errorf("no freeze: %w", ErrBadChange)
		}
		f := r.Freeze
		b.s.freeze = &f
		return nil
	case *PutQuarantine:
		if r == nil {
			return fmt.Errorf("no quarantine: %w", ErrBadChange)
		}
		return b.s.putQuarantine(r.Quarantine)
	case *PutOrder:
		if r == nil {
			return fmt.Errorf("no order: %w", ErrBadChange)
		}
		o := r.Order
		return b.s.putOrder(&o)
	case *PutToken:
		if r == nil {
			return fmt.Errorf("no token: %w", ErrBadChange)
		}
		t := r.Token
		return b.s.putToken(&t)
	}
	return fmt.Errorf("record of type %T: %w", r, ErrUnknownChange)
}

func (b *restorer) addMitigation(r *PutMitigation) error {
	if r == nil || r.Mitigation == nil {
		return fmt.Errorf("no mitigation: %w", ErrBadChange)
	}
	if b.routes > 0 {
		return fmt.Errorf("mitigation after routes: %w", ErrOrder)
	}
	return b.s.putMitigation(r.Mitigation)
}

func (b *restorer) addRoute(r *RouteRecord) error {
	if r == nil {
		return fmt.Errorf("no route: %w", ErrBadChange)
	}
	old, ok := b.s.routes.get([]byte(r.Key))
	if !ok {
		return fmt.Errorf("no mitigation has the route %q: %w", r.Key, ErrIncomplete)
	}
	next := *old
	next.Changed = r.Changed
	next.wire.MED = med(r.Changed)
	b.s.routes.set([]byte(r.Key), &next)
	b.routes++
	return nil
}

func (b *restorer) check() error {
	switch {
	case b.meta == nil:
		return fmt.Errorf("no records: %w", ErrIncomplete)
	case b.n-1 != b.meta.Count:
		return fmt.Errorf("%d records of %d: %w", b.n-1, b.meta.Count, ErrIncomplete)
	case b.routes != b.s.routes.n:
		return fmt.Errorf("%d route records for %d routes: %w", b.routes, b.s.routes.n, ErrIncomplete)
	case b.meta.NextID < b.s.nextID:
		return fmt.Errorf("next mitigation %d, but there is %d: %w", b.meta.NextID, b.s.nextID-1, ErrIncomplete)
	}
	b.s.nextID = b.meta.NextID
	b.s.nextOrder = max(b.s.nextOrder, b.meta.NextOrder+1)
	return nil
}
