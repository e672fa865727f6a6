package webhook

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

const (
	codeStale       = string(policy.CodeStale)
	codeSeqConflict = string(policy.CodeSeqConflict)
	// ahead is how far an alert's times may lie in the future: clocks differ, and a number far ahead would make every
	// later signal of the attack an old one.
	ahead = time.Hour
)

// alert reads one alert of Alertmanager's webhook, version 4. The attack's id is the alert's fingerprint, which is that
// of its labels.
//
// Alertmanager says the same again and again while an alert fires, from several instances, and keeps no count. So the
// numbers come from the alert's own times, in ns:
//
//   - Firing is a start with the time at which the alert began. The same alert once more is then a repetition.
//   - If what it says has changed (a rate in an annotation), that number has another body: then it is an update, a little
//     above, by the milliseconds since the beginning. They count as nanoseconds, so that an update stays below the end
//     even if the clocks of Prometheus and of this node differ.
//   - Resolved is an end with the time at which it ended, a second after the beginning at least. It is never an old one
//     unless the alert has fired again since.
//
// What is older than that stays old, and the verdict says so. No time of arrival is used to overrule it: a firing alert
// that comes late, after it was resolved, must not begin the attack again.
func (r *reading) alert(item any, received time.Time) thing {
	alert, ok := item.(map[string]any)
	if !ok {
		r.bad("alerts", "one of them is not an object", "post what Alertmanager posts")
		return r.thing()
	}
	// Optional parts that an expression may look into.
	for _, key := range []string{"labels", "annotations"} {
		if _, ok := alert[key].(map[string]any); !ok && alert[key] == nil {
			alert[key] = map[string]any{}
		}
	}
	id, _ := alert["fingerprint"].(string)
	if id == "" {
		r.bad("fingerprint", "it is missing", "post what Alertmanager posts")
	}
	starts := r.instant(alert, "startsAt", received)
	s := &tidegatev1.Signal{AttackId: id, Kind: tidegatev1.SignalKind_SIGNAL_KIND_START, Seq: uint64(max(starts.UnixNano(), 0)), Drill: r.truth(fieldDrill)}
	switch status, _ := alert["status"].(string); status {
	case "firing":
	case "resolved":
		ends := r.instant(alert, "endsAt", received)
		s.Kind = tidegatev1.SignalKind_SIGNAL_KIND_END
		s.Seq = uint64(max(ends.UnixNano(), starts.Add(time.Second).UnixNano(), 0))
		return r.thing(s)
	default:
		r.bad("status", fmt.Sprintf("%q is not firing or resolved", clip(status)), "post what Alertmanager posts")
		return r.thing()
	}
	s.DetectedAt = timestamppb.New(starts)
	r.describe(s)
	changed := proto.CloneOf(s)
	changed.Kind = tidegatev1.SignalKind_SIGNAL_KIND_UPDATE
	changed.Seq += uint64(max(received.Sub(starts).Milliseconds(), 1))
	return r.thing(s, changed)
}

// instant reads a time of an alert.
func (r *reading) instant(alert map[string]any, key string, now time.Time) time.Time {
	text, _ := alert[key].(string)
	t, err := time.Parse(time.RFC3339Nano, text)
	switch {
	case err != nil:
		r.bad(key, fmt.Sprintf("%q is not a time", clip(text)), "post what Alertmanager posts")
	case t.Before(time.Unix(0, 0)), t.After(now.Add(ahead)):
		r.bad(key, fmt.Sprintf("%s is no time of an attack", t.Format(time.RFC3339)), "set the clocks")
	default:
		return t
	}
	return time.Unix(0, 0)
}
