package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxFile bounds a node's file, in bytes: it holds a dozen keys.
const maxFile = 1 << 20

// reader reads a YAML file strictly and collects what is wrong with it.
type reader struct {
	file     string
	problems []Problem
}

// section is one mapping of the file. Keys are taken out one by one; what is left at the end is unknown.
type section struct {
	r     *reader
	path  string // with a trailing dot, empty at the top
	line  int
	keys  []*yaml.Node // in the order of the file
	value map[string]*yaml.Node
	known []string
}

func (r *reader) problem(line int, key, format string, args ...any) {
	r.problems = append(r.problems, Problem{File: r.file, Line: line, Key: key, Text: fmt.Sprintf(format, args...)})
}

func (r *reader) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int { return a.Line - b.Line })
	return &ConfigError{Problems: r.problems}
}

// top parses data, which must be one YAML document with a mapping in it.
func (r *reader) top(data []byte) (*section, bool) {
	if len(data) > maxFile {
		r.problem(0, "", "is %d bytes long; a node's file has at most %d", len(data), maxFile)
		return nil, false
	}
	var doc yaml.Node
	if err := yaml.Load(data, &doc); err != nil {
		line, text := 0, err.Error()
		if e, ok := errors.AsType[*yaml.LoadError](err); ok {
			line, text = e.Mark.Line, e.Message
		}
		r.problem(line, "", "is not valid YAML: %s", text)
		return nil, false
	}
	n := &doc
	if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
		n = n.Content[0]
	}
	return r.section(n, "")
}

func (r *reader) section(n *yaml.Node, path string) (*section, bool) {
	name := strings.TrimSuffix(path, ".")
	if n.Kind != yaml.MappingNode {
		r.problem(n.Line, name, "must be a mapping of keys to values")
		return nil, false
	}
	s := &section{r: r, path: path, line: n.Line, value: map[string]*yaml.Node{}}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch _, twice := s.value[k.Value]; {
		case k.Kind != yaml.ScalarNode:
			r.problem(k.Line, name, "has a key that is not a word")
		case v.Kind == yaml.AliasNode:
			r.problem(v.Line, path+k.Value, "aliases are not read here; write the value out")
		case twice:
			r.problem(k.Line, path+k.Value, "stands twice")
		default:
			s.keys = append(s.keys, k)
			s.value[k.Value] = v
		}
	}
	return s, true
}

// take returns the value of key and marks it as known.
func (s *section) take(key string) (*yaml.Node, bool) {
	s.known = append(s.known, key)
	n, ok := s.value[key]
	return n, ok && n.Tag != "!!null"
}

// text reads a scalar; absent or wrong is "".
func (s *section) text(key string) string {
	n, ok := s.take(key)
	if !ok {
		return ""
	}
	if n.Kind != yaml.ScalarNode {
		s.r.problem(n.Line, s.path+key, "must be a single value")
		return ""
	}
	return n.Value
}

// at is the line of a key, or that of the section when the key is missing.
func (s *section) at(key string) int {
	if n, ok := s.value[key]; ok {
		return n.Line
	}
	return s.line
}

// bad reports a problem with a key's value.
func (s *section) bad(key, format string, args ...any) {
	s.r.problem(s.at(key), s.path+key, format, args...)
}

// sub reads a mapping.
func (s *section) sub(key string) (*section, bool) {
	n, ok := s.take(key)
	if !ok {
		return nil, false
	}
	return s.r.section(n, s.path+key+".")
}

// list reads a list of mappings.
func (s *section) list(key string) []*section {
	n, ok := s.take(key)
	if !ok {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		s.r.problem(n.Line, s.path+key, "must be a list")
		return nil
	}
	var out []*section
	for i, item := range n.Content {
		if sub, ok := s.r.section(item, fmt.Sprintf("%s%s[%d].", s.path, key, i)); ok {
			out = append(out, sub)
		}
	}
	return out
}

// rest returns the keys that nobody took, in the order of the file, and marks them as known.
func (s *section) rest() []string {
	var out []string
	for _, k := range s.keys {
		if !slices.Contains(s.known, k.Value) {
			out = append(out, k.Value)
		}
	}
	return out
}

// done reports what is left over.
func (s *section) done() {
	if s == nil {
		return
	}
	for _, k := range s.keys {
		if slices.Contains(s.known, k.Value) {
			continue
		}
		text := fmt.Sprintf("unknown key; known here: %s", strings.Join(s.known, ", "))
		if near := nearest(k.Value, s.known); near != "" {
			text = fmt.Sprintf("unknown key; did you mean %q?", near)
		}
		s.r.problem(k.Line, s.path+k.Value, "%s", text)
	}
}

// nearest is the known word within two edits of word, or "". Of a short word two edits leave nothing.
func nearest(word string, known []string) string {
	best, out := 3, ""
	if len(word) < 5 {
		best = 2
	}
	for _, k := range known {
		if d := distance(word, k); d < best {
			best, out = d, k
		}
	}
	return out
}

// distance is the Levenshtein distance, with two letters swapped counting as one edit.
func distance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	before, last, row := rows[0], rows[1], rows[2]
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j-1]+cost, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
