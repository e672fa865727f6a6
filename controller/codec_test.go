package controller

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
	raftv1 "github.com/tidegate/tidegate/proto/tidegate/raft/v1"
)

var update = flag.Bool("update", false, "write the golden files of this version anew; only for a new format")

// fill sets every field of v, at any depth, to a value that is not zero: a field that the codec forgets shows, also
// one that is added to the domain later.
func fill(t testing.TB, v reflect.Value, r *rand.Rand) {
	t.Helper()
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		*p = time.Unix(r.Int64N(4e9), r.Int64N(1e9)).UTC()
		return
	case *time.Duration:
		*p = time.Duration(1 + r.Int64N(1e15))
		return
	case *netip.Addr:
		*p = randomAddr(r)
		return
	case *netip.Prefix:
		a := randomAddr(r)
		*p = netip.PrefixFrom(a, r.IntN(a.BitLen()+1))
		return
	case *policy.Document:
		doc := reflect.New(reflect.TypeOf(documents()[r.IntN(len(documents()))]).Elem())
		fill(t, doc.Elem(), r)
		*p, _ = doc.Interface().(policy.Document)
		return
	}
	if words := wordsOf(v.Type()); words != nil {
		v.SetString(words[1+r.IntN(len(words)-1)])
		return
	}
	if n, ok := limits()[v.Type()]; ok {
		v.SetUint(1 + r.Uint64N(n))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("text " + itoa(r.IntN(1e6)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(1 + r.Int64N(1e9))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1 + r.Uint64N(1<<v.Type().Bits()-1))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(1+r.IntN(1e6)) / 8)
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i), r)
		}
	case reflect.Slice:
		s := reflect.MakeSlice(v.Type(), 1+r.IntN(3), 3)
		for i := range s.Len() {
			fill(t, s.Index(i), r)
		}
		v.Set(s)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), r)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), r)
		}
	default:
		t.Fatalf("no way to fill a %s", v.Type())
	}
}

func randomAddr(r *rand.Rand) netip.Addr {
	if r.IntN(2) == 0 {
		var a [4]byte
		for i := range a {
			a[i] = byte(r.Uint32())
		}
		return netip.AddrFrom4(a)
	}
	var a [16]byte
	for i := range a {
		a[i] = byte(r.Uint32())
	}
	return netip.AddrFrom16(a)
}

func documents() []policy.Document {
	return []policy.Document{
		&policy.Customer{}, &policy.ProtectedBlock{}, &policy.Router{}, &policy.Policy{}, &policy.Safeguards{}, &policy.Detector{},
	}
}

func limits() map[reflect.Type]uint64 {
	return map[reflect.Type]uint64{
		reflect.TypeFor[policy.Origin]():          uint64(len(raftv1.Origin_name) - 1),
		reflect.TypeFor[policy.Phase]():           uint64(len(raftv1.Phase_name) - 1),
		reflect.TypeFor[policy.ActionKind]():      uint64(len(raftv1.ActionKind_name) - 1),
		reflect.TypeFor[policy.VerdictKind]():     uint64(len(raftv1.VerdictKind_name) - 1),
		reflect.TypeFor[flowspec.Family]():        uint64(len(raftv1.Family_name) - 1),
		reflect.TypeFor[flowspec.ActionType]():    uint64(len(raftv1.RuleActionType_name) - 1),
		reflect.TypeFor[flowspec.RTForm]():        uint64(len(raftv1.RouteTargetForm_name) - 1),
		reflect.TypeFor[wanted.Kind]():            uint64(len(raftv1.RouteKind_name) - 1),
		reflect.TypeFor[flowspec.ComponentType](): uint64(flowspec.FlowLabel),
	}
}

func wordsOf(t reflect.Type) []string {
	switch t {
	case reflect.TypeFor[policy.DocumentKind]():
		return texts[string](documentKinds())
	case reflect.TypeFor[policy.LinkState]():
		return texts[string](linkStates())
	case reflect.TypeFor[policy.BlockKind]():
		return texts[string](blockKinds())
	case reflect.TypeFor[policy.Validation]():
		return texts[string](validations())
	case reflect.TypeFor[policy.EndCause]():
		return texts[string](endCauses())
	case reflect.TypeFor[policy.ExemptionKind]():
		return texts[string](exemptionKinds())
	case reflect.TypeFor[policy.AskKind]():
		return texts[string](askKinds())
	case reflect.TypeFor[policy.OrderKind]():
		return texts[string](orderKinds())
	case reflect.TypeFor[policy.OrderStatus]():
		return texts[string](orderStates())
	}
	return nil
}

func changes() []policy.Change {
	return []policy.Change{
		&policy.PutDocument{}, &policy.DeleteDocument{}, &policy.PutMitigation{}, &policy.EndMitigation{}, &policy.PutAttack{},
		&policy.PutResult{}, &policy.PutLease{}, &policy.PutFreeze{}, &policy.EndFreeze{}, &policy.PutQuarantine{}, &policy.EndQuarantine{},
		&policy.BeginAudit{}, &policy.PutOrder{}, &policy.PutToken{}, &policy.RevokeToken{},
	}
}

func TestEveryChangeComesBackFromTheLog(t *testing.T) {
	p, err := newPacker()
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, kind := range changes() {
		for i := range 200 {
			v := reflect.New(reflect.TypeOf(kind).Elem())
			if i > 0 { // the first one is all zero, as far as it may be
				fill(t, v.Elem(), r)
			} else if d, ok := v.Interface().(*policy.PutDocument); ok {
				d.Document = &policy.Customer{}
			} else if m, ok := v.Interface().(*policy.PutMitigation); ok {
				m.Mitigation = &policy.Mitigation{}
			}
			ch, ok := v.Interface().(policy.Change)
			if !ok {
				t.Fatalf("%T is no change", v.Interface())
			}
			want := item{by: operator, reason: "because", requestID: "id", changes: []policy.Change{ch}}
			b, err := packItem(want)
			if err != nil {
				t.Fatalf("%T: %v", ch, err)
			}
			data, err := p.pack(7, time.Unix(1e9, 5), [][]byte{b})
			if err != nil {
				t.Fatal(err)
			}
			env, err := p.unpack(data)
			if err != nil {
				t.Fatalf("%T: %v", ch, err)
			}
			got := env.items[0]
			if env.base != 7 || !env.at.Equal(time.Unix(1e9, 5)) || got.by != want.by || got.reason != want.reason || got.requestID != want.requestID {
				t.Fatalf("head of the entry: %+v", env)
			}
			if diff := cmp.Diff(want.changes, got.changes, cmpNetip()); diff != "" {
				t.Fatalf("%T (-want +got):\n%s", ch, diff)
			}
		}
	}
}

func TestEveryRecordComesBackFromASnapshot(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	records := []policy.Record{
		&policy.MetaRecord{}, &policy.RouteRecord{}, &policy.PutDocument{}, &policy.PutMitigation{}, &policy.PutAttack{},
		&policy.PutResult{}, &policy.PutFreeze{}, &policy.PutQuarantine{},
		&policy.AuditRecord{}, &policy.PutOrder{}, &policy.PutToken{},
	}
	for _, kind := range records {
		for range 100 {
			v := reflect.New(reflect.TypeOf(kind).Elem())
			fill(t, v.Elem(), r)
			want, _ := v.Interface().(policy.Record)
			var c codec
			b, err := proto.Marshal(c.packRecord(want))
			if err != nil || c.err != nil {
				t.Fatal(err, c.err)
			}
			var rec raftv1.Record
			if err := parse(b, &rec); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, c.record(&rec), cmpNetip()); diff != "" || c.err != nil {
				t.Fatalf("%T: %v (-want +got):\n%s", want, c.err, diff)
			}
		}
	}
}

// TestEnumsAreComplete holds that every number of an enum means something, and that numbers fit their words.
func TestEnumsAreComplete(t *testing.T) {
	for name, n := range map[string][2]int{
		"DocumentKind":  {len(raftv1.DocumentKind_name), len(documentKinds())},
		"LinkState":     {len(raftv1.LinkState_name), len(linkStates())},
		"BlockKind":     {len(raftv1.BlockKind_name), len(blockKinds())},
		"Validation":    {len(raftv1.Validation_name), len(validations())},
		"EndCause":      {len(raftv1.EndCause_name), len(endCauses())},
		"ExemptionKind": {len(raftv1.ExemptionKind_name), len(exemptionKinds())},
		"AskKind":       {len(raftv1.AskKind_name), len(askKinds())},
		"OrderKind":     {len(raftv1.OrderKind_name), len(orderKinds())},
		"OrderStatus":   {len(raftv1.OrderStatus_name), len(orderStates())},
	} {
		if n[0] != n[1] {
			t.Errorf("%s has %d values in the records and %d words", name, n[0], n[1])
		}
	}
}

func TestUnpackLimits(t *testing.T) {
	p, err := newPacker()
	if err != nil {
		t.Fatal(err)
	}
	bomb := p.enc.EncodeAll(make([]byte, maxBody+1), nil)
	b, err := proto.Marshal(&raftv1.Envelope{Type: 1, Level: 1, Compression: 2, Body: bomb})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.unpack(b); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%d octets that become %d: %v", len(b), maxBody+1, err)
	}
	if _, err := p.pack(1, time.Unix(1, 0), [][]byte{make([]byte, maxBody+1)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a body over the limit: %v", err)
	}
	for _, bad := range []item{
		{by: "operator/\xff"},
		{changes: []policy.Change{nil}},
		{changes: []policy.Change{&policy.PutDocument{}}},
		{changes: []policy.Change{&policy.PutMitigation{Mitigation: &policy.Mitigation{Phase: 9}}}},
		{changes: []policy.Change{&policy.DeleteDocument{Ref: policy.DocumentRef{Kind: "Nonsense"}}}},
	} {
		if _, err := packItem(bad); err == nil {
			t.Errorf("%+v was encoded", bad)
		}
	}
}

// fixture is a log in the making.
type fixture struct {
	t    *testing.T
	f    *fsm
	logs []*raft.Log
}

func (x *fixture) at() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC) }

func (x *fixture) add(changes ...policy.Change) {
	x.t.Helper()
	s := x.f.state.Load()
	l := &raft.Log{Index: uint64(len(x.logs)*2 + 3), Term: 2, Data: x.f.mustPack(x.t, s.Index(), x.at().Add(time.Duration(len(x.logs))*time.Second), changes...)}
	if r, _ := x.f.Apply(l).(applyResult); r.err != nil || r.conflict {
		x.t.Fatalf("entry %d: %+v", len(x.logs), r)
	}
	x.logs = append(x.logs, l)
}

// decide adds what is decided on a request.
func (x *fixture) decide(r policy.Request) {
	x.t.Helper()
	s := x.f.state.Load()
	d := policy.Decide(s, r, policy.Entry{Index: s.Index() + 1, At: x.at().Add(9 * time.Second), By: operator, Reason: "golden"})
	if len(d.Changes) == 0 {
		x.t.Fatalf("%+v: %+v", r, d.Verdict)
	}
	x.add(d.Changes...)
}

// fixtures are the logs that are kept, by name.
func fixtures() map[string]func(x *fixture) {
	return map[string]func(x *fixture){"level1": everyChange, "rates": rateLimits, "actions": everyAction, "audit": audited, "approvals": approvals, "holds": holds}
}

// holds has freezes and quarantines: with a limit and without, replaced, ended, released, over, and one that the leader began.
func holds(x *fixture) {
	x.add(&policy.BeginAudit{})
	for _, d := range inventory() {
		x.add(&policy.PutDocument{Document: d})
	}
	x.decide(&policy.SignalRequest{Signal: signal("fnm", "one", 1, "203.0.113.40/32")})
	x.decide(&policy.FreezeRequest{Duration: time.Hour})
	x.decide(&policy.UnfreezeRequest{})
	x.decide(&policy.QuarantineRequest{Source: "fnm", Duration: 2 * time.Hour})
	x.decide(&policy.QuarantineRequest{Source: "tap"})
	x.decide(&policy.QuarantineRequest{Source: "tap", Duration: time.Hour})
	x.decide(&policy.QuarantineRequest{Source: "flow", Duration: time.Hour, Automatic: true})
	x.decide(&policy.QuarantineRequest{Source: "gone"})
	x.decide(&policy.ReleaseRequest{Source: "gone"})
	x.decide(&policy.WithdrawAllRequest{Freeze: true})
}

// approvals has what awaits a second person and what was decided: starts, a step, a quiet time, orders, and one thing that
// nobody waited for.
func approvals(x *fixture) {
	x.add(&policy.BeginAudit{})
	for _, d := range inventory() {
		x.add(&policy.PutDocument{Document: d})
	}
	sg := policy.DefaultSafeguards()
	sg.ApprovalAddresses, sg.ApprovalWithdrawals, sg.ApprovalTimeout = 4, 1, 10*time.Minute
	x.add(&policy.PutDocument{Document: sg}, &policy.PutDocument{Document: &policy.Policy{
		Name: "asks", Priority: 9, Vectors: []policy.Vector{"ntp_amplification"}, Mode: policy.ModeApprove, Action: policy.Action{Kind: policy.Discard}, Lifetime: time.Hour,
	}}, &policy.PutDocument{Document: &policy.Policy{
		Name: "climbs", Priority: 9, Vectors: []policy.Vector{"dns_amplification"}, Lifetime: time.Hour, Quiet: 5 * time.Minute, Relax: policy.RelaxApprove,
		Ladder: []policy.Step{
			{Action: policy.Action{Kind: policy.RateLimit, Rate: 1e6}},
			{Action: policy.Action{Kind: policy.Discard}, After: time.Second, Mode: policy.ModeApprove},
		},
	}})
	asks := func(attack, target string) {
		sig := signal("fnm", attack, 1, target)
		sig.Vector = "ntp_amplification"
		x.decide(&policy.SignalRequest{Signal: sig})
	}
	asks("one", "203.0.113.40/32")
	asks("two", "203.0.113.44/32")
	asks("three", "203.0.113.48/32")
	second := func(r policy.Request) {
		x.t.Helper()
		s := x.f.state.Load()
		d := policy.Decide(s, r, policy.Entry{Index: s.Index() + 1, At: x.at().Add(9 * time.Second), By: "approver/bob", Reason: "golden"})
		if len(d.Changes) == 0 {
			x.t.Fatalf("%+v: %+v", r, d.Verdict)
		}
		x.add(d.Changes...)
	}
	second(&policy.ApproveRequest{Mitigation: 1})
	second(&policy.RejectRequest{Mitigation: 2})
	for i, attack := range []string{"four", "five"} {
		x.decide(&policy.SignalRequest{Signal: signal("fnm", attack, 1, "203.0.113."+itoa(52+4*i)+"/32")})
	}
	s := x.f.state.Load()
	m, _ := s.Mitigation(5)
	at := m.StepSince.Add(5 * time.Second)
	d := policy.Decide(s, &policy.EscalateRequest{Reports: []policy.AttackReport{{ID: 4, At: at}, {ID: 5, At: at}}},
		policy.Entry{Index: s.Index() + 1, At: at, By: "member/n1", Reason: "golden"})
	x.add(d.Changes...)
	second(&policy.ApproveRequest{Mitigation: 5})
	over := signal("fnm", "five", 2, "203.0.113.56/32")
	over.Kind = policy.SignalEnd
	x.decide(&policy.SignalRequest{Signal: over})
	x.decide(&policy.StartRequest{
		Targets: []netip.Prefix{pfx("203.0.113.64/29")}, Match: flowspec.Match{Family: flowspec.IPv4}, Action: policy.Action{Kind: policy.Discard}, BreakGlass: true,
	})
	x.decide(&policy.WithdrawAllRequest{})
	x.decide(&policy.WithdrawAllRequest{Customer: "uni"})
	second(&policy.RejectRequest{Order: 1})
}

// everyChange uses every kind of change.
func everyChange(x *fixture) {
	x.add(&policy.PutLease{})
	docs := []policy.Change{
		&policy.PutDocument{Document: &policy.ProtectedBlock{
			Name: "resolvers", Kind: policy.BlockResolver, Prefixes: []netip.Prefix{pfx("203.0.113.53/32")}, Note: "golden",
		}},
		&policy.PutDocument{Document: policy.DefaultSafeguards()},
	}
	for _, d := range inventory() {
		docs = append(docs, &policy.PutDocument{Document: d})
	}
	x.add(docs...)
	for i := range 5 {
		s := x.f.state.Load()
		sig := signal("fnm", "attack-"+itoa(i), 1, "203.0.113."+itoa(40+10*i)+"/32")
		d := policy.Decide(s, &policy.SignalRequest{Signal: sig}, policy.Entry{Index: s.Index() + 1, At: x.at().Add(time.Second * 9), By: "detector/fnm"})
		if d.Verdict.Kind != policy.Mitigated {
			x.t.Fatalf("golden signal: %+v", d.Verdict)
		}
		x.add(append(d.Changes, &policy.PutResult{Result: policy.Result{RequestID: policy.RequestID(itoa(i)), By: operator, Verdict: d.Verdict}})...)
	}
	s := x.f.state.Load()
	d := policy.Decide(s, &policy.WithdrawRequest{ID: 2}, policy.Entry{Index: s.Index() + 1, At: x.at().Add(time.Minute), By: operator})
	x.add(d.Changes...)
	x.add(&policy.DeleteDocument{Ref: policy.DocumentRef{Kind: policy.KindPolicy, Name: "all"}})
}

// rateLimits has two owners of one key, which were told apart by their kind of action and their rate.
func rateLimits(x *fixture) {
	for _, d := range inventory() {
		x.add(&policy.PutDocument{Document: d})
	}
	for i, a := range []policy.Action{{Kind: policy.RateLimit, Rate: 2e6}, {Kind: policy.RateLimit, Rate: 1e6}, {Kind: policy.Discard}} {
		x.decide(&policy.StartRequest{
			Targets: []netip.Prefix{pfx("203.0.113.40/32"), pfx("203.0.113.48/32")}, Match: flowspec.Match{Family: flowspec.IPv4},
			Action: a, Lifetime: time.Duration(i+1) * 10 * time.Minute,
		})
	}
	x.add(&policy.PutDocument{Document: &policy.Policy{Name: "all", Action: policy.Action{Kind: policy.RateLimit, Rate: 125}, Lifetime: time.Hour}})
	x.add(&policy.EndMitigation{ID: 3, Cause: policy.EndWithdrawn})
}

// everyAction has a mitigation of every kind of action, and routers and safeguards with blackholes.
func everyAction(x *fixture) {
	for _, d := range inventory() {
		x.add(&policy.PutDocument{Document: d})
	}
	sg := policy.DefaultSafeguards()
	sg.ShortestRTBHIPv4, sg.MaxRTBHRoutes = 30, 4
	x.add(&policy.PutDocument{Document: sg}, &policy.PutDocument{Document: &policy.Router{
		Name: "bh", Address: netip.MustParseAddr("192.0.2.9"), ASN: 64500, Group: "edge", MaxPrefix: 100, Carries: wanted.RTBH,
		DiscardIPv4: netip.MustParseAddr("192.0.2.1"), DiscardIPv6: netip.MustParseAddr("100::1"), AcceptUntested: true, MaxEntries: 9,
	}})
	for i, a := range []policy.Action{
		{Kind: policy.RateLimitPackets, Packets: 5000, Sample: true, Continue: true},
		{Kind: policy.Redirect, Target: flowspec.RouteTargetAS(64500, 666), Sample: true},
		{Kind: policy.Redirect, Target: flowspec.RouteTargetAS(4200000000, 666)},
		{Kind: policy.Redirect, Target: flowspec.RouteTargetAddress(netip.MustParseAddr("192.0.2.7"), 666)},
		{Kind: policy.RedirectIP, Address: netip.MustParseAddr("192.0.2.8"), Copy: true},
		{Kind: policy.Mark, DSCP: 46},
		{Kind: policy.RTBH},
	} {
		x.decide(&policy.StartRequest{
			Targets: []netip.Prefix{pfx("203.0.113." + itoa(40+4*i) + "/31")}, Match: flowspec.Match{Family: flowspec.IPv4}, Action: a,
		})
	}
}

// audited is a log whose entries are in the audit chain: who reads it under any later version comes to the same hashes.
func audited(x *fixture) {
	x.add(&policy.BeginAudit{}, &policy.PutLease{})
	everyChange(x)
}

// TestGolden replays what earlier builds wrote. A format may be added to; these files stay readable for ever, and
// what they mean stays the same.
func TestGolden(t *testing.T) {
	for name, build := range fixtures() {
		t.Run(name, func(t *testing.T) {
			if *update {
				writeGolden(t, name, build)
			}
			checkGolden(t, name)
		})
	}
}

func checkGolden(t *testing.T, name string) {
	t.Helper()
	base := filepath.Join("testdata", name)
	f := testFSM(t)
	text, err := os.ReadFile(base + ".log")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var index uint64
		var hexed string
		if _, err := fmt.Sscanf(line, "%d %s", &index, &hexed); err != nil {
			t.Fatal(err)
		}
		data, err := hex.DecodeString(hexed)
		if err != nil {
			t.Fatal(err)
		}
		if r, _ := f.Apply(&raft.Log{Index: index, Data: data}).(applyResult); r.err != nil || r.conflict {
			t.Fatalf("entry %d of an earlier build: %+v", index, r)
		}
	}
	snap, err := os.ReadFile(base + ".snapshot")
	if err != nil {
		t.Fatal(err)
	}
	restored, err := readSnapshot(bytes.NewReader(snap))
	if err != nil {
		t.Fatalf("snapshot of an earlier build: %v", err)
	}
	want, err := os.ReadFile(base + ".summary")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), summary(f.state.Load())); diff != "" {
		t.Errorf("the log means something else now (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(string(want), summary(restored)); diff != "" {
		t.Errorf("the snapshot means something else now (-want +got):\n%s", diff)
	}
}

// summary says what a State means, in words that do not change with its representation.
func summary(s *policy.State) string {
	var b strings.Builder
	fmt.Fprintf(&b, "index %d at %s, lease %s, next M%d\n", s.Index(), s.At().Format(time.RFC3339Nano), s.LeaseAt().Format(time.RFC3339Nano), s.NextID())
	for r := range s.AuditFrom(0) {
		fmt.Fprintf(&b, "audit %d at index %d by %s: %v %v, hash %x\n", r.Seq, r.Index, r.By, r.Kinds, r.Objects, r.Hash)
	}
	for _, k := range documentKinds() {
		for d := range s.Documents(k) {
			fmt.Fprintf(&b, "%s %s\n", d.Ref().Kind, d.Ref().Name)
		}
	}
	for m := range s.Mitigations() {
		fmt.Fprintf(&b, "M%d phase %d %s expires %s changed %d\n", m.ID, m.Phase, m.End, m.Expires.Format(time.RFC3339Nano), m.Changed)
		for _, r := range m.Rules {
			fmt.Fprintf(&b, "  %s\n", r)
		}
	}
	for m := range s.Awaiting() {
		fmt.Fprintf(&b, "M%d awaits %s, asked by %s, until %s\n", m.ID, m.Awaits.Kind, m.Awaits.By, m.Awaits.Until.Format(time.RFC3339Nano))
	}
	for m := range s.Unapproved() {
		fmt.Fprintf(&b, "M%d is approved by nobody until %s\n", m.ID, m.BreakGlassUntil.Format(time.RFC3339Nano))
	}
	for o := range s.Orders() {
		fmt.Fprintf(&b, "A%d %s %s: %s\n", o.ID, o.Kind, o.Status, o.What())
	}
	if z, ok := s.Frozen(); ok {
		fmt.Fprintf(&b, "frozen by %s since %s until %s: %s\n", z.By, z.Since.Format(time.RFC3339Nano), z.Until.Format(time.RFC3339Nano), z.Reason)
	}
	for q := range s.Quarantines() {
		fmt.Fprintf(&b, "%s is in quarantine by %s (automatic %v) since %s until %s: %s\n", q.Source, q.By, q.Automatic, q.Since.Format(time.RFC3339Nano), q.Until.Format(time.RFC3339Nano), q.Reason)
	}
	for _, r := range s.Routes() {
		if r.Kind == wanted.RTBH {
			fmt.Fprintf(&b, "blackhole %s changed %d\n", r.Rule.Match, r.Changed)
			continue
		}
		fmt.Fprintf(&b, "route %s changed %d\n", r.Rule, r.Changed)
	}
	return b.String()
}

func writeGolden(t *testing.T, name string, build func(x *fixture)) {
	t.Helper()
	x := &fixture{t: t, f: testFSM(t)}
	build(x)
	var b strings.Builder
	for _, l := range x.logs {
		fmt.Fprintf(&b, "%d %x\n", l.Index, l.Data)
	}
	var snap bytes.Buffer
	if err := writeSnapshot(&snap, x.f.state.Load()); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	for end, data := range map[string][]byte{".log": []byte(b.String()), ".snapshot": snap.Bytes(), ".summary": []byte(summary(x.f.state.Load()))} {
		if err := os.WriteFile(filepath.Join("testdata", name+end), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestParseRefusesWhatHasNoName puts a field that nobody knows into each message of an item in turn, the deepest ones
// too: an older node must stop there instead of following something else than the others.
func TestParseRefusesWhatHasNoName(t *testing.T) {
	s := manyMitigations(t, 0).state.Load()
	d := policy.Decide(s, start("10.200.0.1/32", "").Request, policy.Entry{Index: s.Index() + 1, At: s.At(), By: operator})
	plain, err := packItem(item{by: operator, reason: "test", changes: d.Changes})
	if err != nil {
		t.Fatal(err)
	}
	if err := parse(plain, &raftv1.Item{}); err != nil {
		t.Fatalf("as written: %v", err)
	}
	twice := protowire.AppendString(protowire.AppendTag(bytes.Clone(plain), 1, protowire.BytesType), "operator/bob")
	var again raftv1.Item
	if err := parse(twice, &again); err != nil || again.GetBy() != "operator/bob" {
		t.Errorf("known fields in another encoding than ours: by %q, error %v", again.GetBy(), err)
	}
	for _, field := range [][]byte{
		protowire.AppendVarint(protowire.AppendTag(nil, 500, protowire.VarintType), 1),
		protowire.AppendBytes(protowire.AppendTag(nil, 600, protowire.BytesType), nil),
	} {
		messages := 0
		for i := 0; i == 0 || i < messages; i++ {
			var it raftv1.Item
			if err := proto.Unmarshal(plain, &it); err != nil {
				t.Fatal(err)
			}
			messages = 0
			var name protoreflect.Name
			eachMessage(it.ProtoReflect(), func(m protoreflect.Message) {
				if messages == i {
					m.SetUnknown(field)
					name = m.Descriptor().Name()
				}
				messages++
			})
			b, err := proto.Marshal(&it)
			if err != nil {
				t.Fatal(err)
			}
			if err := parse(b, &raftv1.Item{}); !errors.Is(err, ErrUnknownRecord) {
				t.Errorf("message %d of %d, %s, with field % x: got %v", i, messages, name, field, err)
			}
		}
		if messages < 10 {
			t.Fatalf("only %d messages were tried", messages)
		}
	}
}

// eachMessage calls f for m and the messages in it, in a fixed order.
func eachMessage(m protoreflect.Message, f func(protoreflect.Message)) {
	f(m)
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		switch {
		case fd.Message() == nil || !m.Has(fd):
		case fd.IsList():
			for j := range m.Get(fd).List().Len() {
				eachMessage(m.Get(fd).List().Get(j).Message(), f)
			}
		default:
			eachMessage(m.Get(fd).Message(), f)
		}
	}
}

// FuzzUnpack: whatever is accepted can be written and read again, and means the same.
func FuzzUnpack(f *testing.F) {
	p, err := newPacker()
	if err != nil {
		f.Fatal(err)
	}
	for name := range fixtures() {
		text, err := os.ReadFile(filepath.Join("testdata", name+".log"))
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if _, hexed, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
				if data, err := hex.DecodeString(hexed); err == nil {
					f.Add(data)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		env, err := p.unpack(data)
		if err != nil {
			return
		}
		var items [][]byte
		for _, it := range env.items {
			b, err := packItem(it)
			if err != nil {
				t.Fatalf("accepted, but cannot be written: %v", err)
			}
			items = append(items, b)
		}
		again, err := p.pack(env.base, env.at, items)
		if errors.Is(err, ErrTooLarge) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		env2, err := p.unpack(again)
		if err != nil {
			t.Fatal(err)
		}
		b2, err := packItems(env2.items)
		if err != nil || !reflect.DeepEqual(items, b2) {
			t.Fatalf("changed on the way: %v", err)
		}
		fsm := testFSM(t)
		fsm.Apply(&raft.Log{Index: 1, Data: data}) // must not panic
	})
}

func packItems(items []item) (out [][]byte, err error) {
	for _, it := range items {
		b, err := packItem(it)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

// FuzzSnapshot: no input makes the reader panic or hang.
func FuzzSnapshot(f *testing.F) {
	snap, err := os.ReadFile(filepath.Join("testdata", "level1.snapshot"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(snap)
	f.Add(snap[:len(snap)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := readSnapshot(bytes.NewReader(data))
		if err == nil {
			var b bytes.Buffer
			if err := writeSnapshot(&b, s); err != nil {
				t.Fatalf("accepted, but cannot be written: %v", err)
			}
		}
	})
}
