package bgp

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/osrg/gobgp/v4/api"

	"github.com/tidegate/tidegate/bgp/wanted"
)

// failureOf reads a log record of GoBGP that tells why a session did not come up; nil for any other. The messages are
// those of GoBGP v4.8.0; TestReasons meets each of them on a real session, so that an update that changes one is noticed.
func failureOf(r slog.Record) *connectFailure {
	switch r.Message {
	case "failed to connect", "outgoing connection IO error", "sent notification", "received notification",
		"outgoing connection closing due to hold timer expired in OPEN SENT state":
	default:
		return nil
	}
	f := &connectFailure{message: r.Message}
	var code, subcode int64
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "Error", "reason":
			f.detail = a.Value.String()
		case "Code":
			code = asInt(a.Value)
		case "Subcode":
			subcode = asInt(a.Value)
		}
		return true
	})
	if strings.HasSuffix(r.Message, "notification") {
		f.detail = fmt.Sprintf("%d/%d", code, subcode)
	}
	return f
}

func asInt(v slog.Value) int64 {
	switch v.Kind() {
	case slog.KindInt64:
		return v.Int64()
	case slog.KindUint64:
		return int64(v.Uint64())
	default:
		var n int64
		if _, err := fmt.Sscan(v.String(), &n); err != nil {
			return -1
		}
		return n
	}
}

// whyNotUp turns GoBGP's words about a session that never came up into a sentence for a network engineer.
func whyNotUp(f *connectFailure, r *wanted.Router) string {
	switch f.message {
	case "failed to connect":
		return whyNoConnection(f.detail, r)
	case "outgoing connection closing due to hold timer expired in OPEN SENT state":
		return "the router accepts the connection but never sends an OPEN"
	case "sent notification":
		return "we ended the session: " + notificationText(f.detail, r, true)
	case "received notification":
		return "the router ended the session: " + notificationText(f.detail, r, false)
	default:
		return "the router closed the connection before the session was up; " +
			"it may not have us as a neighbour, or may expect another source address, AS or TTL"
	}
}

func whyNoConnection(detail string, r *wanted.Router) string {
	switch {
	case strings.Contains(detail, "refused"):
		return fmt.Sprintf("the router refuses connections to TCP port %d: BGP is not running there, or an access list rejects us", portOf(r))
	case strings.Contains(detail, "timeout") && r.Password != "":
		return "no answer from the router: most likely the MD5 passwords differ, else it is not reachable"
	case strings.Contains(detail, "timeout") && r.TTLSecurity:
		return "no answer from the router: most likely TTL security is set on our side only or it is more than one hop away, else it is not reachable"
	case strings.Contains(detail, "timeout"):
		return "no answer from the router: it is not reachable, or it wants an MD5 password or TTL security that we do not use"
	case strings.Contains(detail, "unreachable"), strings.Contains(detail, "no route"):
		return "there is no route to the router"
	case strings.Contains(detail, "cannot assign"):
		return "our configured source address does not exist on this machine"
	default:
		return "cannot connect: " + detail
	}
}

// notificationText explains a NOTIFICATION by its code and subcode (RFC 4271 section 4.5, RFC 4486).
func notificationText(codes string, r *wanted.Router, ours bool) string {
	switch codes {
	case "2/2":
		if ours {
			return fmt.Sprintf("wrong AS: the router is not in AS %d as configured", r.ASN)
		}
		return "wrong AS: the router expects another AS number from us"
	case "2/3":
		return "wrong router id: both sides use the same one, or it is 0"
	case "2/7":
		return "the router lacks a capability that was asked for, most likely " + asked(r)
	case "3/0", "3/1", "3/2", "3/3", "3/4", "3/5", "3/6", "3/8", "3/9", "3/10", "3/11":
		return "an UPDATE was not understood (error " + codes + ")"
	case "4/0":
		return "nothing was heard for the hold time"
	case "6/1":
		return "the maximum number of prefixes was reached"
	case "6/2":
		return "administrative shutdown"
	case "6/3":
		return "the neighbour was removed from the configuration"
	case "6/4":
		return "administrative reset"
	case "6/5":
		return "connection rejected; the neighbour may be shut down"
	case "6/7":
		return "connection collision"
	case "6/8":
		return "out of resources"
	default:
		return "notification " + codes + " (RFC 4271 section 4.5)"
	}
}

// asked names what a session with r asks for.
func asked(r *wanted.Router) string {
	if r.Carries == wanted.RTBH {
		return "IPv4 or IPv6 unicast"
	}
	return "FlowSpec"
}

// whyDown turns GoBGP's reason for the end of an established session into a sentence.
func whyDown(ev peerEvent) string {
	switch ev.reason {
	case api.PeerState_DISCONNECT_REASON_HOLD_TIMER_EXPIRED:
		return "nothing was heard from the router for the hold time"
	case api.PeerState_DISCONNECT_REASON_READ_FAILED:
		return "the connection broke: the router closed it or restarted"
	case api.PeerState_DISCONNECT_REASON_WRITE_FAILED:
		return "the connection broke while writing"
	case api.PeerState_DISCONNECT_REASON_NOTIFICATION_RECEIVED:
		return "the router ended the session: " + strings.TrimPrefix(ev.message, "notification-received ")
	case api.PeerState_DISCONNECT_REASON_NOTIFICATION_SENT:
		return "we ended the session: " + strings.TrimPrefix(ev.message, "notification-sent ")
	case api.PeerState_DISCONNECT_REASON_INVALID_MSG:
		return "the router sent a message that is not BGP"
	default:
		if ev.message == "" {
			return "the session ended"
		}
		return "the session ended: " + ev.message
	}
}
