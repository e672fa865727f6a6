package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/integration/lab"
)

// cut is who does not hear whom for a while.
func (w *World) cut(ctx context.Context, t time.Time, deaf map[*node][]*node) error {
	for n, from := range deaf {
		var rules []string
		for _, m := range from {
			rules = append(rules, "ip saddr "+m.address.String()+" drop")
		}
		if err := n.site.Filter(rules...); err != nil {
			return err
		}
	}
	err := errors.Join(w.lost(ctx, t), lab.Pause(ctx, 3*time.Second))
	for n := range deaf {
		err = errors.Join(err, n.site.Filter())
	}
	return errors.Join(err, w.calm(ctx))
}

// isolateLeader cuts the leader off from the other nodes; clients and routers reach it.
func isolateLeader(ctx context.Context, w *World) error {
	return w.onLeader(ctx, "isolated", func(leader *node) error {
		deaf := map[*node][]*node{leader: w.followers(leader)}
		for _, n := range w.followers(leader) {
			deaf[n] = []*node{leader}
		}
		return w.cut(ctx, time.Now(), deaf)
	})
}

// leaderUnheard: the leader hears the others, and they do not hear it.
func leaderUnheard(ctx context.Context, w *World) error {
	return w.onLeader(ctx, "unheard", func(leader *node) error {
		deaf := make(map[*node][]*node)
		for _, n := range w.followers(leader) {
			deaf[n] = []*node{leader}
		}
		return w.cut(ctx, time.Now(), deaf)
	})
}

// leaderDeaf: the others hear the leader, and it does not hear them.
func leaderDeaf(ctx context.Context, w *World) error {
	return w.onLeader(ctx, "deaf", func(leader *node) error {
		return w.cut(ctx, time.Now(), map[*node][]*node{leader: w.followers(leader)})
	})
}

// bridgePartition cuts the leader and one follower off from each other; the third node hears both.
func bridgePartition(ctx context.Context, w *World) error {
	defer w.impair("bridge", all)()
	leader, err := w.leader(ctx)
	if err != nil {
		return err
	}
	n := w.followers(leader)[w.rng.IntN(len(w.nodes)-1)]
	return w.cut(ctx, time.Now(), map[*node][]*node{leader: {n}, n: {leader}})
}

// term is the one in which the leader leads.
func (w *World) term(ctx context.Context) (uint64, error) {
	leader, err := w.leader(ctx)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, calmWithin, errors.New("the leader does not answer"))
	defer cancel()
	var term uint64
	err = lab.Until(ctx, look, func(ctx context.Context) error {
		s, err := leader.status(ctx)
		term = s.GetTerm()
		return err
	})
	return term, err
}

// loseTenth loses a tenth of the packets between nodes.
func loseTenth(ctx context.Context, w *World) error {
	defer w.impair("packet loss", all)()
	for _, n := range w.nodes {
		var rules []string
		for _, m := range w.followers(n) {
			rules = append(rules, "ip saddr "+m.address.String()+" numgen random mod 100 < 10 drop")
		}
		if err := n.site.Filter(rules...); err != nil {
			return err
		}
	}
	before, err := w.term(ctx)
	err = errors.Join(err, lab.Pause(ctx, 8*time.Second))
	after, e := w.term(ctx)
	for _, n := range w.nodes {
		err = errors.Join(err, n.site.Filter())
	}
	w.cfg.Log("  terms begun in 8 s under loss: %d", after-before)
	err = errors.Join(err, e)
	return errors.Join(err, w.lost(ctx, time.Now()))
}

// live is the session of the recorder with a node.
func (w *World) live(n *node) (bgptest.SessionID, error) {
	for _, s := range slices.Backward(w.recorder.Sessions()) {
		if s.RouterID == n.address && s.Down.IsZero() {
			return s.ID, nil
		}
	}
	return 0, fmt.Errorf("the recorder has no session with %s", n.id)
}

// resetSessions ends a node's session with a NOTIFICATION, and that of the next without a word.
func resetSessions(ctx context.Context, w *World) error {
	for i, n := range w.nodes[:2] {
		err := func() error {
			defer w.impair("session reset "+n.id, n.address)()
			id, err := w.live(n)
			if err != nil {
				return err
			}
			if i == 0 {
				err = w.recorder.Reset(id, bgptest.Notification{Code: 6, Subcode: 4})
			} else {
				err = w.recorder.Cut(id)
			}
			return errors.Join(err, w.gone(ctx, n.address), w.calm(ctx))
		}()
		if err != nil {
			return err
		}
	}
	return nil
}

// sendMalformed sends UPDATEs to one node that no speaker may send. Whatever becomes of the session, the other nodes hold
// the rules, and this node's come back.
func sendMalformed(ctx context.Context, w *World) error {
	n := w.anyone()
	defer w.impair("malformed updates "+n.id, n.address)()
	for i, body := range malformed() {
		id, err := w.live(n)
		if err != nil {
			return err
		}
		if err := w.recorder.Send(id, body); err != nil {
			return fmt.Errorf("update %d: %w", i, err)
		}
		if err := errors.Join(lab.Pause(ctx, 200*time.Millisecond), w.calm(ctx)); err != nil {
			return fmt.Errorf("update %d: %w", i, err)
		}
	}
	return nil
}

// malformed are bodies of UPDATEs (RFC 4271 section 4.3) with something wrong.
func malformed() [][]byte {
	attributes := func(b ...byte) []byte { return append([]byte{0, 0, 0, byte(len(b))}, b...) }
	return [][]byte{
		{},
		{0, 9, 0, 0},              // more withdrawn routes than there are octets
		{0, 0, 0, 9},              // more attributes than there are octets
		attributes(0x40, 1, 0),    // ORIGIN of no length
		attributes(0x40, 1, 1, 7), // ORIGIN that is none
		attributes(0x40, 1, 1, 0, 0x40, 2, 3, 2, 200, 1),               // AS_PATH with 200 ASs in one octet
		attributes(0x90, 14, 0, 5, 0, 1, 133, 0, 0),                    // FlowSpec without a rule
		attributes(0x90, 14, 0, 7, 0, 1, 133, 0, 0, 9, 1),              // a rule that is longer than the message
		attributes(0x90, 14, 0, 9, 0, 1, 133, 0, 0, 3, 3, 0x81, 17),    // a rule without a destination and attributes
		attributes(0x90, 14, 0, 8, 0, 1, 133, 0, 0, 2, 77, 1),          // a component of no known type
		attributes(0x90, 14, 0, 9, 0, 1, 133, 0, 0, 3, 1, 99, 10),      // a destination of 99 bits
		attributes(0x90, 14, 0, 9, 0, 1, 133, 0, 0, 3, 5, 0xb1, 1),     // a port of eight octets, of which one is there
		attributes(0x90, 15, 0, 6, 0, 1, 133, 2, 1, 32),                // a withdrawal that is cut off
		attributes(0xc0, 16, 3, 0x80, 6, 0),                            // a community of three octets
		attributes(0x40, 3, 4, 127, 0, 0, 1, 0x40, 3, 4, 127, 0, 0, 1), // the same attribute twice
	}
}
