// Package manifest reads and writes documents (customers, protected blocks, routers, policies, safeguards, detectors) as YAML.
// It owns the form of the files: which keys there are comes from the descriptors of proto/tidegate/v1, so that a new
// field needs no change here. It checks form only; what the values mean is judged by the server, whose answer Locate
// maps back to file and line.
//
// A file holds one or several documents, separated by lines of three hyphens. The key kind selects what a document
// is; all other keys are the proto field names:
//
//	kind: Customer
//	id: uni-a
//	official: [203.0.113.0/24]
//
// Durations are written like 5m or 1h30m. Reading is strict: unknown keys, wrong types, keys that stand twice,
// anchors and aliases, tags, and keys without a value are errors, each with file, line and column; all of them are
// reported, not only the first.
//
// Callers are `tidegate apply`, `plan`, and everything that prints -o yaml (Print works for every message).
package manifest

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// MaxSize is how long a file, or all files of a directory together, may be, in octets. It is also the server's limit
// of one request.
const MaxSize = 8 << 20

// maxErrors bounds how many errors are collected; more help nobody.
const maxErrors = 100

// Position is a place in a file. Lines and columns count from 1; 0 means unknown.
type Position struct {
	File         string
	Line, Column int
}

// String returns file:line:column, without what is unknown.
func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	default:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
}

// Document is one document and where its parts stand.
type Document struct {
	Proto *tidegatev1.Document
	Kind  string // as in a DocumentRef, e.g. "Customer"
	Name  string
	Pos   Position            // of its first key
	at    map[string]Position // by field path, such as "links[3].prefix"
}

// Ref returns kind/name, as the server names documents.
func (d *Document) Ref() string { return d.Kind + "/" + d.Name }

// Position returns where a field stands, given its path, such as "links[3].prefix". Of a field that is not in the
// file it returns the place of what contains it, in the end that of the document.
func (d *Document) Position(field string) Position {
	for path := field; path != ""; path = parent(path) {
		if p, ok := d.at[path]; ok {
			return p
		}
	}
	return d.Pos
}

// parent cuts the last step off a path: "links[3].prefix", "links[3]", "links", "".
func parent(path string) string { return path[:max(0, strings.LastIndexAny(path, ".["))] }

// Error is one thing wrong in a file.
type Error struct {
	Pos     Position
	Key     string // path of the key, such as "links[3].prefix"; empty when it is about no key
	Problem string
	Fix     string
}

// Error returns position, key, problem and fix in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Pos.String() + ": ")
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Problem)
	if e.Fix != "" {
		b.WriteString("; " + e.Fix)
	}
	return b.String()
}

// Errors is everything that is wrong, in the order of the files.
type Errors []*Error

// Error returns one line per error.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Load reads a file, or all files that end in .yaml or .yml in a directory and below it, or, for "-", stdin. Errors
// about what is written are of type Errors; a document that stands twice is one of them.
func Load(path string, stdin io.Reader) ([]*Document, error) {
	if path == "-" {
		data, err := readAll(stdin, MaxSize)
		if err != nil {
			return nil, fmt.Errorf("cannot read standard input: %w", err)
		}
		return Parse("-", data)
	}
	files, err := list(path)
	if err != nil {
		return nil, err
	}
	var docs []*Document
	var errs Errors
	left := MaxSize
	for _, name := range files {
		data, err := readFile(name, left)
		if err != nil {
			return nil, err
		}
		if left -= len(data); left < 0 {
			return nil, Errors{{Pos: Position{File: path}, Problem: "the files are longer than 8 MiB together", Fix: "apply them in several parts"}}
		}
		found, bad := parse(name, data)
		docs, errs = append(docs, found...), append(errs, bad...)
	}
	if errs = append(errs, twice(docs)...); len(errs) > 0 {
		return nil, errs
	}
	return docs, nil
}

// Parse reads the documents in data. The name stands in positions. Errors are of type Errors.
func Parse(name string, data []byte) ([]*Document, error) {
	docs, errs := parse(name, data)
	if errs = append(errs, twice(docs)...); len(errs) > 0 {
		return nil, errs
	}
	return docs, nil
}

// Protos returns the documents as a request holds them.
func Protos(docs []*Document) []*tidegatev1.Document {
	out := make([]*tidegatev1.Document, len(docs))
	for i, d := range docs {
		out[i] = d.Proto
	}
	return out
}

// Locate returns an error with the place in the files that the server's violation is about, and whether it is about
// one of the documents. Without one the position is empty.
func Locate(docs []*Document, v *tidegatev1.FieldViolation) (*Error, bool) {
	e := &Error{Key: v.GetField(), Problem: v.GetProblem(), Fix: v.GetFix()}
	for _, d := range docs {
		if d.Ref() == v.GetDocument() {
			e.Pos = d.Position(v.GetField())
			return e, true
		}
	}
	if v.GetDocument() != "" {
		e.Pos.File = v.GetDocument() // one that the server has, not in the files
	}
	return e, false
}

// twice reports documents that stand more than once.
func twice(docs []*Document) Errors {
	var errs Errors
	first := make(map[string]*Document, len(docs))
	for _, d := range docs {
		if d.Name == "" {
			continue // the server says that the name is missing
		}
		if f, ok := first[d.Ref()]; ok {
			errs = append(errs, &Error{Pos: d.Pos, Problem: fmt.Sprintf("%s stands twice, first at %s", d.Ref(), f.Pos), Fix: "remove one of the two"})
			continue
		}
		first[d.Ref()] = d
	}
	return errs[:min(len(errs), maxErrors)]
}

// list returns the files to read, sorted.
func list(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read documents: %w", err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var files []string
	err = filepath.WalkDir(path, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ext := filepath.Ext(name); !e.IsDir() && (ext == ".yaml" || ext == ".yml") {
			files = append(files, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read documents: %w", err)
	}
	if len(files) == 0 {
		return nil, Errors{{Pos: Position{File: path}, Problem: "there is no file that ends in .yaml or .yml in the directory"}}
	}
	slices.SortFunc(files, cmp.Compare)
	return files, nil
}

func readFile(name string, most int) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read documents: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	data, err := readAll(f, most)
	if err != nil {
		return nil, fmt.Errorf("cannot read %q: %w", name, err)
	}
	return data, nil
}

// readAll reads one octet more than the limit at most: enough to see that it is too long.
func readAll(r io.Reader, most int) ([]byte, error) {
	return io.ReadAll(io.LimitReader(r, int64(most)+1))
}
