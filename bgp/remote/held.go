package remote

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/tidegate/tidegate/bgp/wanted"
	speakerv1 "github.com/tidegate/tidegate/proto/tidegate/speaker/v1"
)

// errBase says that a change is one of another set: send the whole one.
var errBase = errors.New("the change is not one of the set in force")

// held is a set with what is needed to tell its digest, on either side. It is not changed.
type held struct {
	set    wanted.Set
	frame  [sha256.Size]byte
	routes sum
	digest []byte
}

// hold makes a held of a whole set.
func hold(w *wanted.Set) *held {
	h := &held{set: *w, frame: hashOf(packFrame(w))}
	for _, r := range w.Routes {
		h.routes.add(hashOf(packRoute(r)))
	}
	h.seal()
	return h
}

func (h *held) seal() {
	h.digest = digestOf(h.set.Revision, h.set.LeaseUntil, h.frame, h.routes, len(h.set.Routes))
}

func (h *held) head() *speakerv1.Head {
	return &speakerv1.Head{Revision: h.set.Revision, LeaseUntil: int64(h.set.LeaseUntil), Digest: h.digest}
}

// sameFrame reports whether both sets have the frame in common, without looking behind what they share.
func sameFrame(a, b *wanted.Set) bool {
	return sameSlice(a.Protected, b.Protected) && sameSlice(a.Official, b.Official) && slices.Equal(a.Routers, b.Routers) && a.ShortestRTBH == b.ShortestRTBH
}

func sameSlice[T comparable](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

// maxChanges is how many routes a change may touch; beyond that the whole set is sent.
const maxChanges = 1000

// step returns w as the set after h, and what a change from h to w looks like; a nil change is a set of which little is
// the same. As in package bgp, routes are the same if they are one value in memory.
func (h *held) step(w *wanted.Set) (*held, *speakerv1.ChangeRequest) {
	next := &held{set: *w, frame: h.frame, routes: h.routes}
	req := &speakerv1.ChangeRequest{Base: h.digest}
	if !sameFrame(&h.set, w) {
		req.Frame = packFrame(w)
		next.frame = hashOf(req.GetFrame())
	}
	a, b := h.set.Routes, w.Routes
	changed := 0
	for i, j := 0, 0; i < len(a) || j < len(b); {
		if i < len(a) && j < len(b) && a[i] == b[j] {
			i, j = i+1, j+1
			continue
		}
		s := &speakerv1.Splice{From: uint64(i)}
		for (i < len(a) || j < len(b)) && (i == len(a) || j == len(b) || a[i] != b[j]) {
			order := firstKey(a[i:], b[j:])
			if order <= 0 {
				next.routes.remove(hashOf(packRoute(a[i])))
				i++
			}
			if order >= 0 {
				r := packRoute(b[j])
				next.routes.add(hashOf(r))
				s.Routes = append(s.Routes, r)
				j++
			}
			if changed++; changed > maxChanges {
				return hold(w), nil
			}
		}
		s.To = uint64(i)
		req.Splices = append(req.Splices, s)
	}
	next.seal()
	req.Head = next.head()
	return next, req
}

// firstKey compares the keys of the first of a and the first of b, of which one may be missing and then comes last.
func firstKey(a, b []*wanted.Route) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	case a[0].Key < b[0].Key:
		return -1
	case a[0].Key > b[0].Key:
		return 1
	}
	return 0
}

// apply is step on the other side: the set after h. What stays is shared with h.
func (h *held) apply(req *speakerv1.ChangeRequest) (*held, error) {
	if !bytes.Equal(h.digest, req.GetBase()) {
		return nil, errBase
	}
	u := &unpacker{}
	next := &held{set: h.set, frame: h.frame, routes: h.routes}
	next.set.Revision, next.set.LeaseUntil = req.GetHead().GetRevision(), wanted.Instant(req.GetHead().GetLeaseUntil())
	if f := req.GetFrame(); f != nil {
		u.frame(f, &next.set)
		next.frame = hashOf(f)
	}
	before := h.set.Routes
	if len(req.GetSplices()) > 0 {
		routes := make([]*wanted.Route, 0, len(before)+8)
		at := 0
		for _, s := range req.GetSplices() {
			from, to := s.GetFrom(), s.GetTo()
			if from < uint64(at) || to < from || to > uint64(len(before)) {
				return nil, fmt.Errorf("%w: a splice from %d to %d of %d routes", errWire, from, to, len(before))
			}
			routes = append(routes, before[at:from]...)
			for _, r := range before[from:to] {
				next.routes.remove(hashOf(packRoute(r)))
			}
			for _, r := range s.GetRoutes() {
				next.routes.add(hashOf(r))
				routes = append(routes, u.route(r))
			}
			at = int(to)
		}
		next.set.Routes = append(routes, before[at:]...)
	}
	if u.err != nil {
		return nil, u.err
	}
	next.seal()
	return next, next.check(req.GetHead().GetDigest())
}

// check compares the digest with the one that came along.
func (h *held) check(digest []byte) error {
	if !bytes.Equal(h.digest, digest) {
		return fmt.Errorf("%w: revision %d has digest %x and should have %x", errWire, h.set.Revision, h.digest, digest)
	}
	return nil
}

// assembly puts a whole set together from its parts.
type assembly struct {
	set   wanted.Set
	u     unpacker
	head  *speakerv1.Head
	count uint64
}

func (a *assembly) add(m *speakerv1.ReplaceRequest) {
	if a.head == nil {
		a.head, a.count = m.GetHead(), m.GetCount()
		a.set.Revision, a.set.LeaseUntil = m.GetHead().GetRevision(), wanted.Instant(m.GetHead().GetLeaseUntil())
		a.u.frame(m.GetFrame(), &a.set)
	}
	for _, r := range m.GetRoutes() {
		a.set.Routes = append(a.set.Routes, a.u.route(r))
	}
}

func (a *assembly) done() (*held, error) {
	switch {
	case a.u.err != nil:
		return nil, a.u.err
	case a.head == nil:
		return nil, fmt.Errorf("%w: a set without a beginning", errWire)
	case a.count != uint64(len(a.set.Routes)):
		return nil, fmt.Errorf("%w: %d routes came of %d", errWire, len(a.set.Routes), a.count)
	}
	h := hold(&a.set)
	return h, h.check(a.head.GetDigest())
}

// partSize is how many routes travel in one part of a whole set.
const partSize = 1000

// parts cuts a set.
func (h *held) parts() []*speakerv1.ReplaceRequest {
	first := &speakerv1.ReplaceRequest{Head: h.head(), Frame: packFrame(&h.set), Count: uint64(len(h.set.Routes))}
	out := []*speakerv1.ReplaceRequest{first}
	for part := range slices.Chunk(h.set.Routes, partSize) {
		out = append(out, &speakerv1.ReplaceRequest{Routes: each(part, packRoute)})
	}
	return out
}
