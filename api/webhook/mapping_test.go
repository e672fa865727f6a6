package webhook

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// FuzzMapping: whatever is posted, the answer is signals that are whole, or what is wrong with them.
func FuzzMapping(f *testing.F) {
	am, err := newMapping(Hook{Kind: Alertmanager})
	if err != nil {
		f.Fatal(err)
	}
	generic, err := newMapping(Hook{Kind: JSON, Each: "body.events", Map: map[string]string{
		fieldAttackID: "item.id", fieldSeq: "item.?seq", fieldKind: "item.kind", fieldTargets: "item.ips", fieldVector: "body.vector",
		fieldBits: "item.?bps.orValue(0)", fieldPorts: "item.?ports", fieldProtocols: "item.?protocols", fieldDetected: "item.?at", fieldDrill: "item.?drill",
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"version":"4","alerts":[{"status":"firing","labels":{"target":"203.0.113.20","vector":"dns_amplification"},"annotations":{"bits_per_second":"4e9"},"startsAt":"2026-03-01T02:59:00.123Z","endsAt":"0001-01-01T00:00:00Z","fingerprint":"f00d"}]}`))
	f.Add([]byte(`{"version":"4","alerts":[{"status":"resolved","startsAt":"2026-03-01T02:59:00Z","endsAt":"2026-03-01T02:59:01Z","fingerprint":"f"},7,{"labels":[]}]}`))
	f.Add([]byte(`{"vector":"udp_flood","events":[{"id":1,"seq":"2","kind":"start","ips":["203.0.113.20"],"bps":1e9,"ports":[53,"1-2"],"protocols":17,"at":"2026-03-01T02:59:00Z","drill":true}]}`))
	f.Add([]byte(`{"events":[{"id":null,"kind":"end"},[],"x",null,{"id":{},"kind":7,"ips":{}}]}`))
	now := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, m := range []*mapping{am, generic} {
			things, err := m.read(t.Context(), data, now)
			if err != nil {
				if status.Code(err) != codes.InvalidArgument || len(things) > 0 {
					t.Fatalf("%v with %d things", err, len(things))
				}
				continue
			}
			for _, one := range things {
				if (one.malformed == nil) == (len(one.forms) == 0) {
					t.Fatalf("%v", one)
				}
				if one.malformed != nil && (len(one.malformed.GetViolations()) == 0 || one.malformed.GetText() == "") {
					t.Fatalf("%v", one.malformed)
				}
				for i, s := range one.forms {
					if s.GetKind() == 0 || i > 0 && s.GetSeq() <= one.forms[i-1].GetSeq() {
						t.Fatalf("form %d of %v", i, one.forms)
					}
				}
			}
		}
	})
}
