package policy

import (
	"slices"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// rerouted names the routes in which a State may differ from the one of the entry before, so that who has made
// something of all routes of that one need not look at all of them again. It is not part of what is replicated: a State
// that was restored does not know it. It is not changed once the State is handed out.
type rerouted struct {
	state *stamp // of the State itself; nil for one that was not made by Apply
	since *stamp // of the State of the entry before; nil: unknown
	keys  []flowspec.Key
}

// stamp tells one State from all others without keeping it alive.
type stamp struct{ _ byte }

// maxRerouted is how many changed routes a State remembers; when there are more, all are to be looked at.
const maxRerouted = 64

// next is what the State after an Apply begins with; further is false if that is another item of the same entry.
func (r rerouted) next(further bool) rerouted {
	if further {
		return rerouted{state: new(stamp), since: r.state}
	}
	r.state = new(stamp)
	r.keys = slices.Clip(r.keys) // other States may follow the same one
	return r
}

// note adds a key.
func (r *rerouted) note(k flowspec.Key) {
	if r.since == nil {
		return
	}
	if len(r.keys) == maxRerouted {
		r.since, r.keys = nil, nil
		return
	}
	r.keys = append(r.keys, k)
}

// known reports whether keys are all that changed since the State with the stamp m, or m is of this very State.
func (r *rerouted) known(m *stamp) bool { return m != nil && (m == r.state || m == r.since) }
