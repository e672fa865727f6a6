package policy

import (
	"slices"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// router returns the router document that ref names; nil if it names none.
func (s *State) router(ref DocumentRef) *Router {
	if ref.Kind != KindRouter {
		return nil
	}
	r, _ := s.inv.routers.get([]byte(ref.Name))
	return r
}

// moved renews the fence of what a router may now hear differently, after its document changed from before to now, of
// which either may be nil. A router that moves to another group hears that group's action for a key. A node that is held
// back still announces the other group's, and with one MED for both it could win.
func (s *State) moved(before, now *Router) {
	switch {
	case before == now:
		return
	case before != nil && now != nil && before.Group == now.Group && before.Address == now.Address && before.Port == now.Port:
		return
	}
	var keys []flowspec.Key
	for r := range s.routes.values() {
		if heardApart(r.owners) {
			keys = append(keys, r.wire.Key)
		}
	}
	for _, k := range keys {
		old, ok := s.routes.get([]byte(k))
		if !ok {
			continue
		}
		next := *old
		next.Changed = s.index
		next.wire.MED = med(s.index)
		s.routes.set([]byte(k), &next)
		s.rerouted.note(k)
	}
}

// heardApart reports whether groups hear different actions for the key that the owners claim.
func heardApart(owners []owner) bool {
	if len(owners) < 2 {
		return false
	}
	named := []string{""} // the empty name stands for a group that nobody names
	for _, o := range owners {
		named = append(named, o.m.Groups...)
	}
	var heard *owner
	for _, g := range named {
		o := firstFor(owners, g)
		if o != nil && heard != nil && !slices.Equal(o.rule.Actions, heard.rule.Actions) {
			return true
		}
		if o != nil {
			heard = o
		}
	}
	return false
}
