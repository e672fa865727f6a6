package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// Write writes documents so that Parse reads the same ones again: kind first, then the fields in their order, those
// that are not set left out.
func Write(w io.Writer, docs ...*tidegatev1.Document) error {
	for i, d := range docs {
		m := d.ProtoReflect()
		f := m.WhichOneof(m.Descriptor().Oneofs().Get(0))
		if f == nil {
			return fmt.Errorf("cannot write document %d: it is empty", i)
		}
		if i > 0 {
			if _, err := io.WriteString(w, "---\n"); err != nil {
				return fmt.Errorf("cannot write documents: %w", err)
			}
		}
		if err := dump(w, printer{}.documentNode(m, f)); err != nil {
			return err
		}
	}
	return nil
}

// Print writes any message as YAML, in the form of the documents: proto field names, durations like 1h30m, times in
// RFC 3339, unset fields left out but for lists, which are empty then: who reads a list need not ask whether there is
// one. A tidegate.v1.Document is printed as Write does.
func Print(w io.Writer, m proto.Message) error {
	if d, ok := m.(*tidegatev1.Document); ok {
		return Write(w, d)
	}
	return dump(w, printer{lists: true}.mapping(m.ProtoReflect()))
}

// JSON is Print in JSON: the same keys, the same words.
func JSON(m proto.Message) ([]byte, error) {
	var b bytes.Buffer
	if err := writeJSON(&b, printer{lists: true}.messageNode(m.ProtoReflect())); err != nil {
		return nil, fmt.Errorf("cannot write JSON: %w", err)
	}
	return b.Bytes(), nil
}

// writeJSON writes a node that a printer made. Its numbers and truth values are those of JSON, but for infinity and
// not-a-number, which JSON does not have: they become words.
func writeJSON(b *bytes.Buffer, n *yaml.Node) error {
	open, end := byte('['), byte(']')
	switch {
	case n.Kind == yaml.MappingNode:
		open, end = '{', '}'
	case n.Kind == yaml.ScalarNode && n.Tag != "!!str" && json.Valid([]byte(n.Value)):
		b.WriteString(n.Value)
		return nil
	case n.Kind == yaml.ScalarNode:
		e := json.NewEncoder(b)
		e.SetEscapeHTML(false) // rules have a > in them
		return e.Encode(n.Value)
	}
	b.WriteByte(open)
	for i, c := range n.Content {
		switch {
		case i == 0:
		case open == '{' && i%2 == 1:
			b.WriteByte(':')
		default:
			b.WriteByte(',')
		}
		if err := writeJSON(b, c); err != nil {
			return err
		}
	}
	b.WriteByte(end)
	return nil
}

// printer turns messages into nodes.
type printer struct {
	lists bool // also those that are empty
}

// documentNode is the document in the field f of the oneof, with its kind in front.
func (p printer) documentNode(m protoreflect.Message, f protoreflect.FieldDescriptor) *yaml.Node {
	body := p.mapping(m.Get(f).Message())
	body.Content = append([]*yaml.Node{text(kindKey), text(string(f.Message().Name()))}, body.Content...)
	return body
}

func dump(w io.Writer, n *yaml.Node) error {
	out, err := yaml.Dump(n, yaml.WithIndent(2), yaml.WithLineWidth(-1))
	if err != nil {
		return fmt.Errorf("cannot write YAML: %w", err)
	}
	if _, err := w.Write(out); err != nil {
		return fmt.Errorf("cannot write YAML: %w", err)
	}
	return nil
}

// mapping is a message as a node.
func (p printer) mapping(m protoreflect.Message) *yaml.Node {
	out := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) && !(p.lists && f.IsList()) {
			continue
		}
		out.Content = append(out.Content, text(string(f.Name())), p.fieldNode(m.Get(f), f))
	}
	return out
}

func (p printer) fieldNode(v protoreflect.Value, f protoreflect.FieldDescriptor) *yaml.Node {
	if !f.IsList() {
		return p.valueNode(v, f)
	}
	out := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	for i := range v.List().Len() {
		out.Content = append(out.Content, p.valueNode(v.List().Get(i), f))
	}
	return out
}

func (p printer) valueNode(v protoreflect.Value, f protoreflect.FieldDescriptor) *yaml.Node {
	switch f.Kind() {
	case protoreflect.MessageKind:
		return p.messageNode(v.Message())
	case protoreflect.EnumKind:
		return text(enumText(f.Enum(), v.Enum()))
	case protoreflect.BoolKind:
		return scalar("!!bool", strconv.FormatBool(v.Bool()))
	case protoreflect.StringKind:
		return text(v.String())
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		s := strconv.FormatFloat(v.Float(), 'g', -1, 64)
		if !strings.ContainsAny(s, ".eIN") {
			return scalar("!!int", s) // as a reader of YAML sees it; with another tag it would be printed with the tag
		}
		return scalar("!!float", s)
	default:
		return scalar("!!int", v.String())
	}
}

func (p printer) messageNode(m protoreflect.Message) *yaml.Node {
	switch x := m.Interface().(type) {
	case *durationpb.Duration:
		return text(formatDuration(x.AsDuration()))
	case *timestamppb.Timestamp:
		return text(x.AsTime().UTC().Format(time.RFC3339Nano))
	case *tidegatev1.Document:
		if f := m.WhichOneof(m.Descriptor().Oneofs().Get(0)); f != nil {
			return p.documentNode(m, f)
		}
	}
	return p.mapping(m)
}

// enumText is the name of an enum value without what all of its values begin with: mitigated.
func enumText(d protoreflect.EnumDescriptor, n protoreflect.EnumNumber) string {
	v := d.Values().ByNumber(n)
	if v == nil {
		return strconv.Itoa(int(n))
	}
	zero := string(d.Values().ByNumber(0).Name())
	return strings.ToLower(strings.TrimPrefix(string(v.Name()), strings.TrimSuffix(zero, "UNSPECIFIED")))
}

// formatDuration is time.Duration's text without units that are zero: 1h and not 1h0m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// text is a string; the dumper quotes it where it would be read as something else.
func text(s string) *yaml.Node { return scalar("!!str", s) }

func scalar(tag, s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: s} }
