package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// kindKey is the key that selects what a document is. No field of a document may bear this name; a test sees to it.
const kindKey = "kind"

// parser reads one file.
type parser struct {
	file string
	errs Errors
	doc  *Document
}

func parse(name string, data []byte) ([]*Document, Errors) {
	p := &parser{file: name}
	switch {
	case len(data) > MaxSize:
		return nil, Errors{{Pos: Position{File: name}, Problem: "the file is longer than 8 MiB", Fix: "apply it in several parts"}}
	case !utf8.Valid(data):
		return nil, Errors{{Pos: Position{File: name}, Problem: "the file is not UTF-8 text"}}
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithUniqueKeys(false)) // keys are compared here, with a better message
	if err != nil {
		return nil, Errors{{Pos: Position{File: name}, Problem: plain(err)}}
	}
	var docs []*Document
	for len(p.errs) < maxErrors {
		var n yaml.Node
		if err := loader.Load(&n); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			p.syntax(err)
			break // what comes after a syntax error means nothing
		}
		if d := p.document(&n); d != nil {
			docs = append(docs, d)
		}
	}
	if len(docs) == 0 && len(p.errs) == 0 {
		p.errs = append(p.errs, &Error{Pos: Position{File: name}, Problem: "there is no document in the file", Fix: "begin one with kind: Customer, for example"})
	}
	return docs, p.errs
}

// syntax notes text that is not YAML.
func (p *parser) syntax(err error) {
	e := &Error{Pos: Position{File: p.file}, Problem: "this is not valid YAML: " + plain(err), Fix: "is the file complete?"}
	if le, ok := errors.AsType[*yaml.LoadError](err); ok {
		e.Pos.Line, e.Pos.Column = le.Mark.Line, max(0, le.Mark.Column)
		e.Problem = "this is not valid YAML: " + le.Message
	}
	p.errs = append(p.errs, e)
}

// plain is the message of a foreign error in one line.
func plain(err error) string {
	return strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "yaml: ")), " ")
}

func (p *parser) pos(n *yaml.Node) Position {
	return Position{File: p.file, Line: n.Line, Column: n.Column}
}

func (p *parser) add(n *yaml.Node, key, problem, fix string) {
	if len(p.errs) < maxErrors {
		p.errs = append(p.errs, &Error{Pos: p.pos(n), Key: key, Problem: problem, Fix: fix})
	}
}

// document reads one document; nil when there is none or when it is none.
func (p *parser) document(n *yaml.Node) *Document {
	if n.Kind == yaml.DocumentNode {
		if len(n.Content) == 0 {
			return nil
		}
		n = n.Content[0]
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" && n.Value == "" {
		return nil // nothing between two separators
	}
	if !p.usable(n, "") {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		p.add(n, "", "a document is made of keys and values, this is "+kindOf(n), "begin it with kind: Customer, for example")
		return nil
	}
	out := &tidegatev1.Document{}
	field, rest := p.selectKind(n, out.ProtoReflect().Descriptor())
	if field == nil {
		return nil
	}
	msg := out.ProtoReflect().Mutable(field).Message()
	p.doc = &Document{Proto: out, Kind: string(field.Message().Name()), Pos: p.pos(n), at: make(map[string]Position)}
	p.message(n, rest, msg, "")
	p.doc.Name = nameOf(msg)
	return p.doc
}

// nameOf is what the document is called: its name, or a customer's id.
func nameOf(m protoreflect.Message) string {
	fields := m.Descriptor().Fields()
	f := fields.ByName("id")
	if f == nil {
		f = fields.ByName("name")
	}
	return m.Get(f).String()
}

// selectKind finds the field of the oneof that the key kind names, and the key-value pairs besides it.
func (p *parser) selectKind(n *yaml.Node, d protoreflect.MessageDescriptor) (protoreflect.FieldDescriptor, []*yaml.Node) {
	kinds := d.Oneofs().Get(0).Fields()
	var names []string
	byName := make(map[string]protoreflect.FieldDescriptor)
	for i := range kinds.Len() {
		f := kinds.Get(i)
		names = append(names, string(f.Message().Name()))
		byName[string(f.Message().Name())] = f
	}
	var rest []*yaml.Node
	var value *yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := n.Content[i]; k.Kind == yaml.ScalarNode && k.Value == kindKey {
			if value != nil {
				p.add(k, kindKey, "the key stands twice in the document", "remove one of the two; a line of three hyphens separates documents")
				return nil, nil
			}
			value = n.Content[i+1]
			continue
		}
		rest = append(rest, n.Content[i], n.Content[i+1])
	}
	if value == nil {
		p.add(n, kindKey, "it is missing", "write kind: with one of "+strings.Join(names, ", "))
		return nil, nil
	}
	f, ok := byName[value.Value]
	if value.Kind != yaml.ScalarNode || !ok {
		p.add(value, kindKey, strconv.Quote(short(value.Value))+" is not a kind of document", suggest(value.Value, names))
		return nil, nil
	}
	return f, rest
}

// usable refuses what has no place in a document: it makes files mean something other than what they show.
func (p *parser) usable(n *yaml.Node, key string) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		p.add(n, key, "aliases are not allowed", "write the value out")
	case n.Anchor != "":
		p.add(n, key, "anchors are not allowed", "remove &"+short(n.Anchor)+" and write values out where they are needed")
	case n.Style&yaml.TaggedStyle != 0:
		p.add(n, key, "tags are not allowed", "remove "+short(n.Tag))
	default:
		return true
	}
	return false
}

// message reads the key-value pairs of a mapping into m.
func (p *parser) message(at *yaml.Node, pairs []*yaml.Node, m protoreflect.Message, path string) {
	fields := m.Descriptor().Fields()
	seen := make(map[string]int)
	for i := 0; i+1 < len(pairs); i += 2 {
		k, v := pairs[i], pairs[i+1]
		if k.Kind != yaml.ScalarNode || !p.usable(k, path) {
			if k.Kind != yaml.ScalarNode {
				p.add(k, path, "a key is a word, this is "+kindOf(k), "")
			}
			continue
		}
		key := join(path, k.Value)
		if line, ok := seen[k.Value]; ok {
			p.add(k, short(key), fmt.Sprintf("the key stands twice, first in line %d", line), "remove one of the two; a line of three hyphens separates documents")
			continue
		}
		seen[k.Value] = k.Line
		f := fields.ByName(protoreflect.Name(k.Value))
		if f == nil {
			p.add(k, short(key), "there is no such key in "+string(m.Descriptor().Name()), suggest(k.Value, keysOf(m.Descriptor())))
			continue
		}
		p.doc.at[key] = p.pos(k)
		if p.usable(v, key) {
			p.field(v, m, f, key)
		}
	}
	if len(pairs) == 0 && path != "" {
		p.add(at, path, "it is empty", "write "+strings.Join(keysOf(m.Descriptor()), ", ")+", or remove the key")
	}
}

// field reads the value of one key.
func (p *parser) field(n *yaml.Node, m protoreflect.Message, f protoreflect.FieldDescriptor, key string) {
	if isNull(n) {
		p.add(n, key, "it has no value", "write a value or remove the key; is the file complete?")
		return
	}
	if !f.IsList() {
		if v, ok := p.value(n, m.NewField(f), f, key); ok {
			m.Set(f, v)
		}
		return
	}
	if n.Kind != yaml.SequenceNode {
		p.add(n, key, "a list is needed, this is "+kindOf(n), "write each entry in a line of its own after a hyphen, or all of them in [ ]")
		return
	}
	list := m.Mutable(f).List()
	for i, e := range n.Content {
		at := fmt.Sprintf("%s[%d]", key, i)
		p.doc.at[at] = p.pos(e)
		if !p.usable(e, at) {
			continue
		}
		if isNull(e) {
			p.add(e, at, "it has no value", "write a value or remove the entry")
			continue
		}
		if v, ok := p.value(e, list.NewElement(), f, at); ok {
			list.Append(v)
		}
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// value reads one value. For a message, fresh is the one to fill.
func (p *parser) value(n *yaml.Node, fresh protoreflect.Value, f protoreflect.FieldDescriptor, key string) (protoreflect.Value, bool) {
	if f.Kind() == protoreflect.MessageKind && f.Message().FullName() == durationName() {
		return p.duration(n, key)
	}
	if f.Kind() == protoreflect.MessageKind {
		if n.Kind != yaml.MappingNode {
			p.add(n, key, "keys and values are needed, this is "+kindOf(n), "write one or more of these as KEY: VALUE in { }: "+strings.Join(keysOf(f.Message()), ", "))
			return fresh, false
		}
		p.message(n, n.Content, fresh.Message(), key)
		return fresh, true
	}
	if n.Kind != yaml.ScalarNode {
		p.add(n, key, "one value is needed, this is "+kindOf(n), "")
		return fresh, false
	}
	return p.scalar(n, f, key)
}

// scalar reads text, a truth value or a number.
func (p *parser) scalar(n *yaml.Node, f protoreflect.FieldDescriptor, key string) (protoreflect.Value, bool) {
	var none protoreflect.Value
	switch f.Kind() {
	case protoreflect.StringKind:
		if n.Tag != "!!str" && !(n.Tag == "!!int" && takesNumber(f)) {
			p.add(n, key, "text is needed, this is "+kindOf(n), "write it in quotes: "+strconv.Quote(short(n.Value)))
			return none, false
		}
		return protoreflect.ValueOfString(n.Value), true
	case protoreflect.BoolKind:
		if n.Tag != "!!bool" || n.Value != "true" && n.Value != "false" {
			p.add(n, key, strconv.Quote(short(n.Value))+" is not a truth value", "write true or false")
			return none, false
		}
		return protoreflect.ValueOfBool(n.Value == "true"), true
	case protoreflect.Uint32Kind:
		if u, ok := p.integer(n, key, 0, math.MaxUint32); ok {
			return protoreflect.ValueOfUint32(uint32(u)), true
		}
	case protoreflect.Int32Kind:
		if i, ok := p.integer(n, key, math.MinInt32, math.MaxInt32); ok {
			return protoreflect.ValueOfInt32(int32(i)), true
		}
	case protoreflect.DoubleKind:
		return p.number(n, key)
	default:
		p.add(n, key, fmt.Sprintf("this version cannot read a %s from a file", f.Kind()), "")
	}
	return none, false
}

// takesNumber says of a text whether it is usually a number, so that it needs no quotes.
func takesNumber(f protoreflect.FieldDescriptor) bool {
	switch f.FullName() {
	case "tidegate.v1.Action.mark", "tidegate.v1.Service.protocol", "tidegate.v1.Service.ports":
		return true
	}
	return false
}

// number reads a finite decimal number.
func (p *parser) number(n *yaml.Node, key string) (protoreflect.Value, bool) {
	x, err := strconv.ParseFloat(n.Value, 64)
	if err != nil || n.Tag != "!!float" && n.Tag != "!!int" || math.IsNaN(x) || math.IsInf(x, 0) {
		p.add(n, key, strconv.Quote(short(n.Value))+" is not a number", "write a number such as 2 or 2.5")
		return protoreflect.Value{}, false
	}
	return protoreflect.ValueOfFloat64(x), true
}

// integer reads a whole decimal number. Octal and the other ways of YAML to write numbers are refused: 010 is 8 to
// some readers and 10 to others.
func (p *parser) integer(n *yaml.Node, key string, low, high int64) (int64, bool) {
	i, err := strconv.ParseInt(n.Value, 10, 64)
	if n.Tag != "!!int" || err != nil || strconv.FormatInt(i, 10) != n.Value || i < low || i > high {
		p.add(n, key, fmt.Sprintf("%s is not a whole number from %d to %d", strconv.Quote(short(n.Value)), low, high), "write digits only, without quotes or a leading 0")
		return 0, false
	}
	return i, true
}

// duration reads 5m or 1h30m.
func (p *parser) duration(n *yaml.Node, key string) (protoreflect.Value, bool) {
	d, err := time.ParseDuration(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		p.add(n, key, strconv.Quote(short(n.Value))+" is not a duration", "write it with its unit, such as 90s, 5m or 1h30m")
		return protoreflect.Value{}, false
	}
	return protoreflect.ValueOfMessage(durationpb.New(d).ProtoReflect()), true
}

func durationName() protoreflect.FullName { return proto.MessageName(&durationpb.Duration{}) }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// kindOf says what a node is, in words.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a group of keys and values"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		switch n.Tag {
		case "!!null":
			return "nothing"
		case "!!bool":
			return "the truth value " + short(n.Value)
		case "!!int", "!!float":
			return "the number " + short(n.Value)
		case "!!timestamp":
			return "the date " + short(n.Value)
		}
		return "the text " + strconv.Quote(short(n.Value))
	default:
		return "something else"
	}
}

func keysOf(d protoreflect.MessageDescriptor) []string {
	var out []string
	for i := range d.Fields().Len() {
		out = append(out, string(d.Fields().Get(i).Name()))
	}
	return out
}

// short keeps messages readable whatever stands in the file.
func short(s string) string {
	if r := []rune(s[:min(len(s), 400)]); len(r) > 60 || len(s) > 400 {
		return string(r[:min(len(r), 60)]) + "…"
	}
	return s
}

// suggest names the known key that is nearest to a wrong one, or all of them when none is near.
func suggest(wrong string, known []string) string {
	flat := func(s string) string { return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(s)) }
	best, distance := "", math.MaxInt
	for _, k := range known {
		d := levenshtein(flat(short(wrong)), flat(k))
		if d == 2 && sameLetters(flat(wrong), flat(k)) {
			d = 1 // two letters changed places
		}
		if d < distance {
			best, distance = k, d
		}
	}
	if distance <= max(1, len(best)/3) {
		return "did you mean " + best + "?"
	}
	sorted := slices.Sorted(slices.Values(known))
	return "known are " + strings.Join(sorted, ", ")
}

// sameLetters reports whether a and b differ in the order of their letters only.
func sameLetters(a, b string) bool {
	return string(slices.Sorted(slices.Values([]byte(a)))) == string(slices.Sorted(slices.Values([]byte(b))))
}

// levenshtein is the number of letters to insert, remove or replace between a and b, which are short.
func levenshtein(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := last
			if a[i] != b[j] {
				cost++
			}
			last = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
