package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidegate/tidegate/api"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// Limits of a mapping.
const (
	maxExpression = 2000    // characters
	maxCost       = 100_000 // of one evaluation, in CEL's units
	maxDepth      = 32      // of an expression
)

// The fields of a mapping. In an expression body is the whole request, and item what the signal is about: one of each, or
// the body again.
const (
	fieldAttackID    = "attack_id"
	fieldSeq         = "seq"
	fieldKind        = "kind"
	fieldTargets     = "targets"
	fieldVector      = "vector"
	fieldProtocols   = "protocols"
	fieldSourcePorts = "source_ports"
	fieldPorts       = "destination_ports"
	fieldLengths     = "packet_lengths"
	fieldSources     = "source_prefixes"
	fieldBits        = "bits_per_second"
	fieldPackets     = "packets_per_second"
	fieldConfidence  = "confidence"
	fieldDetected    = "detected_at"
	fieldDrill       = "drill"
	keyEach          = "each"
)

// fields are those that a mapping may have.
func fields() []string {
	return []string{
		fieldAttackID, fieldSeq, fieldKind, fieldTargets, fieldVector, fieldProtocols, fieldSourcePorts, fieldPorts, fieldLengths,
		fieldSources, fieldBits, fieldPackets, fieldConfidence, fieldDetected, fieldDrill,
	}
}

// mapping turns a body into signals.
type mapping struct {
	kind Kind
	each cel.Program // nil: the body is one thing
	of   map[string]cel.Program
}

// thing is what becomes one signal.
type thing struct {
	// forms are the signal, as it should be reported first, and otherwise; see judge.
	forms     []*tidegatev1.Signal
	malformed *tidegatev1.Verdict // nil: it could be read
}

// expressions returns those of a webhook, with what its kind adds.
func expressions(c Hook) (each string, of map[string]string) {
	if c.Kind != Alertmanager {
		return c.Each, c.Map
	}
	of = map[string]string{
		fieldTargets: "item.labels.target",
		fieldVector:  "item.labels.vector",
		fieldBits:    `item.annotations.?bits_per_second.orValue("0")`,
		fieldPackets: `item.annotations.?packets_per_second.orValue("0")`,
	}
	maps.Copy(of, c.Map)
	return "", of
}

// checkMapping says what is wrong with the expressions of a webhook.
func checkMapping(c Hook) []Problem {
	var out []Problem
	known := fields()
	for _, key := range slices.Sorted(maps.Keys(c.Map)) {
		switch {
		case !slices.Contains(known, key):
			out = append(out, Problem{"map." + key, "unknown key; known here: " + strings.Join(known, ", ")})
		case c.Kind == Alertmanager && (key == fieldAttackID || key == fieldSeq || key == fieldKind):
			out = append(out, Problem{"map." + key, "an alert's own fingerprint, times and status are used for it"})
		}
	}
	if c.Kind == Alertmanager && c.Each != "" {
		out = append(out, Problem{keyEach, "an Alertmanager's alerts are the signals"})
	}
	if c.Kind == JSON {
		for _, key := range []string{fieldAttackID, fieldTargets, fieldVector} {
			if c.Map[key] == "" {
				out = append(out, Problem{"map." + key, "is missing; write a CEL expression, e.g. item." + key})
			}
		}
	}
	if len(out) > 0 {
		return out
	}
	_, out = compile(c)
	return out
}

func newMapping(c Hook) (*mapping, error) {
	m, problems := compile(c)
	if len(problems) > 0 {
		return nil, errors.New(problems[0].Key + ": " + problems[0].Text)
	}
	return m, nil
}

func compile(c Hook) (*mapping, []Problem) {
	env, err := cel.NewEnv(
		cel.Variable("body", cel.DynType), cel.Variable("item", cel.DynType), cel.OptionalTypes(),
		cel.ParserExpressionSizeLimit(maxExpression), cel.ParserRecursionLimit(maxDepth),
	)
	if err != nil {
		return nil, []Problem{{"map", err.Error()}}
	}
	m := &mapping{kind: c.Kind, of: map[string]cel.Program{}}
	var problems []Problem
	add := func(key, text string) cel.Program {
		p, err := program(env, text)
		if err != nil {
			problems = append(problems, Problem{key, err.Error()})
		}
		return p
	}
	each, of := expressions(c)
	if each != "" {
		m.each = add(keyEach, each)
	}
	for _, key := range slices.Sorted(maps.Keys(of)) {
		m.of[key] = add("map."+key, of[key])
	}
	return m, problems
}

func program(env *cel.Env, text string) (cel.Program, error) {
	ast, issues := env.Compile(text)
	if err := issues.Err(); err != nil {
		return nil, fmt.Errorf("%q is not a CEL expression: %s", clip(text), firstLine(err.Error()))
	}
	p, err := env.Program(ast, cel.CostLimit(maxCost), cel.InterruptCheckFrequency(1000))
	if err != nil {
		return nil, fmt.Errorf("%q cannot be used: %s", clip(text), firstLine(err.Error()))
	}
	return p, nil
}

// read turns a body, received or signed at a time, into things. The error is a status: then nothing of it is a signal.
func (m *mapping) read(ctx context.Context, data []byte, at time.Time) ([]thing, error) {
	var body any
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&body); err != nil {
		return nil, malformed("body", "it is not JSON: "+err.Error(), "post one JSON object")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, malformed("body", "something follows the JSON", "post one JSON object")
	}
	object, ok := body.(map[string]any)
	if !ok {
		return nil, malformed("body", "it is not an object", "post one JSON object")
	}
	if m.kind == Alertmanager && object["version"] != "4" {
		return nil, malformed("version", fmt.Sprintf("version %q of Alertmanager's webhook is not known", clip(fmt.Sprint(object["version"]))), "post version 4")
	}
	items, err := m.items(ctx, object)
	if err != nil {
		return nil, err
	}
	if len(items) > api.MaxBatch {
		return nil, malformed(keyEach, fmt.Sprintf("there are %d signals in it", len(items)), fmt.Sprintf("post at most %d at once", api.MaxBatch))
	}
	out := make([]thing, len(items))
	for i, item := range items {
		r := &reading{ctx: ctx, m: m, vars: map[string]any{"body": object, "item": item}}
		if m.kind == Alertmanager {
			out[i] = r.alert(item, at)
		} else {
			out[i] = r.generic(at)
		}
	}
	return out, nil
}

// items are what becomes a signal each.
func (m *mapping) items(ctx context.Context, object map[string]any) ([]any, error) {
	if m.kind == Alertmanager {
		list, ok := object["alerts"].([]any)
		if !ok {
			return nil, malformed("alerts", "it is not a list", "post what Alertmanager posts")
		}
		return list, nil
	}
	if m.each == nil {
		return []any{object}, nil
	}
	v, _, err := m.each.ContextEval(ctx, map[string]any{"body": object, "item": object})
	if err != nil {
		return nil, malformed(keyEach, firstLine(err.Error()), "post what the mapping expects")
	}
	list, ok := v.(traits.Lister)
	if !ok {
		return nil, malformed(keyEach, "it is not a list", "post what the mapping expects")
	}
	var out []any
	for it := list.Iterator(); it.HasNext() == types.True && len(out) <= api.MaxBatch; {
		out = append(out, it.Next())
	}
	return out, nil
}

// reading is the making of one signal.
type reading struct {
	ctx  context.Context // of the call of read that made it
	m    *mapping
	vars map[string]any
	list []*tidegatev1.FieldViolation
}

func (r *reading) bad(field, problem, fix string) {
	r.list = append(r.list, &tidegatev1.FieldViolation{Field: field, Problem: problem, Fix: fix})
}

// eval returns the value of a field; nil when there is no expression for it, or it has none.
func (r *reading) eval(field string) ref.Val {
	p, ok := r.m.of[field]
	if !ok {
		return nil
	}
	v, _, err := p.ContextEval(r.ctx, r.vars)
	if err != nil {
		r.bad(field, firstLine(err.Error()), "post what the mapping expects")
		return nil
	}
	if o, ok := v.(*types.Optional); ok {
		if !o.HasValue() {
			return nil
		}
		v = o.GetValue()
	}
	if v.Type() == types.NullType {
		return nil
	}
	return v
}

// generic reads a signal of which the mapping says everything. Without a number of its own it has the time in ns.
func (r *reading) generic(at time.Time) thing {
	s := &tidegatev1.Signal{AttackId: r.text(fieldAttackID), Kind: r.kind(), Seq: uint64(max(at.UnixNano(), 0))}
	if _, ok := r.m.of[fieldSeq]; ok {
		s.Seq = r.whole(fieldSeq)
	}
	if s.GetKind() != tidegatev1.SignalKind_SIGNAL_KIND_END {
		r.describe(s)
	}
	s.Drill = r.truth(fieldDrill)
	return r.thing(s)
}

func (r *reading) thing(forms ...*tidegatev1.Signal) thing {
	if len(r.list) > 0 {
		return thing{malformed: api.MalformedVerdict(r.list)}
	}
	return thing{forms: forms}
}

// describe reads what an attack is; an end says nothing of that.
func (r *reading) describe(s *tidegatev1.Signal) {
	s.Targets = r.texts(fieldTargets)
	s.Vector = r.text(fieldVector)
	for _, n := range r.ranges(fieldProtocols) {
		if n.GetHigh() != n.GetLow() {
			r.bad(fieldProtocols, "there is a range in it", "let the mapping give numbers")
		}
		s.Protocols = append(s.Protocols, n.GetLow())
	}
	s.SourcePorts, s.DestinationPorts, s.PacketLengths = r.ranges(fieldSourcePorts), r.ranges(fieldPorts), r.ranges(fieldLengths)
	s.SourcePrefixes = r.texts(fieldSources)
	s.BitsPerSecond, s.PacketsPerSecond, s.Confidence = r.number(fieldBits), r.number(fieldPackets), r.number(fieldConfidence)
	if at := r.text(fieldDetected); at != "" {
		t, err := time.Parse(time.RFC3339Nano, at)
		if err != nil {
			r.bad(fieldDetected, fmt.Sprintf("%q is not a time", clip(at)), "write RFC 3339, e.g. 2026-11-24T16:07:43Z")
			return
		}
		s.DetectedAt = timestamppb.New(t)
	}
}

// kind reads where in the attack the signal stands: a start unless the mapping says otherwise.
func (r *reading) kind() tidegatev1.SignalKind {
	if _, ok := r.m.of[fieldKind]; !ok {
		return tidegatev1.SignalKind_SIGNAL_KIND_START
	}
	switch text := r.text(fieldKind); text {
	case "start":
		return tidegatev1.SignalKind_SIGNAL_KIND_START
	case "update":
		return tidegatev1.SignalKind_SIGNAL_KIND_UPDATE
	case "end":
		return tidegatev1.SignalKind_SIGNAL_KIND_END
	default:
		if len(r.list) == 0 || r.list[len(r.list)-1].GetField() != fieldKind {
			r.bad(fieldKind, fmt.Sprintf("%q is not a kind of signal", clip(text)), "let it be start, update or end")
		}
		return tidegatev1.SignalKind_SIGNAL_KIND_UNSPECIFIED
	}
}

func malformed(field, problem, fix string) error {
	text := field + ": " + problem + "; " + fix
	return withDetails(status.New(codes.InvalidArgument, text),
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: field, Description: problem + "; " + fix}}},
		&tidegatev1.FieldViolation{Field: field, Problem: problem, Fix: fix}).Err()
}

// outdated reports whether a verdict says that the number of a signal was below that of one before, or the same with
// another body.
func outdated(v *tidegatev1.Verdict) bool {
	return v.GetCode() == codeStale || v.GetCode() == codeSeqConflict
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

// clip shortens what a stranger wrote.
func clip(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}

// isWhole reports whether f is a number without decimals that a uint64 holds exactly.
func isWhole(f float64) bool { return f >= 0 && f < 1<<53 && f == math.Trunc(f) }
