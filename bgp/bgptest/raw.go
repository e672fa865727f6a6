package bgptest

import "github.com/tidegate/tidegate/bgp/flowspec"

// Send sends one UPDATE message to a session, with body as what follows the header (RFC 4271 section 4.3), whatever that
// is: what an UPDATE must not look like can be tried on another router. It returns when the message is queued; the
// Router's own table and what Announce keeps know nothing of it.
func (r *Router) Send(id SessionID, body []byte) error {
	s, err := r.session(id)
	if err != nil {
		return err
	}
	s.send(typeUpdate, body)
	return nil
}

// Refresh asks the other side of a session to announce all FlowSpec rules of family f again (RFC 2918), which needs
// Config.RouteRefresh. What it answers, it answers after it has dealt with all that was sent before.
func (r *Router) Refresh(id SessionID, f flowspec.Family) error {
	s, err := r.session(id)
	if err != nil {
		return err
	}
	s.send(typeRefresh, []byte{0, byte(f), 0, flowspec.SAFI})
	return nil
}
