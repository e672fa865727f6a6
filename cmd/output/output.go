// Package output prints what the API answers: as aligned tables for people, as JSON or YAML for programs. It owns no
// logic beyond choosing words; the command line and the demo call it. JSON and YAML carry the names of the .proto
// files and the same words as each other, whatever the table shows.
package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"go.yaml.in/yaml/v4"
	"golang.org/x/term"
	"google.golang.org/protobuf/proto"

	"github.com/tidegate/tidegate/api/manifest"
)

// Format is how an answer is printed.
type Format string

// The formats of -o.
const (
	Table Format = "table"
	JSON  Format = "json"
	YAML  Format = "yaml"
)

// ParseFormat reads the value of -o.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case Table, JSON, YAML:
		return f, nil
	default:
		return "", fmt.Errorf("%q is not an output format; write table, json or yaml", s)
	}
}

// Printer prints answers to W.
type Printer struct {
	W      io.Writer
	Format Format
	Colour bool
	Width  int       // columns that long lines are wrapped at; 0: 100
	Now    time.Time // what "in 9m" and "3m ago" are counted from
	// Location is the time zone of tables; nil: UTC. JSON and YAML are always UTC.
	Location *time.Location
}

// Terminal reports whether f is a terminal on which colour is welcome (no NO_COLOR, no TERM=dumb), and its width.
func Terminal(f *os.File, env func(string) string) (colour bool, width int) {
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return false, 0
	}
	return env("NO_COLOR") == "" && env("TERM") != "dumb", width
}

func (p *Printer) width() int {
	if p.Width <= 0 {
		return 100
	}
	return min(max(p.Width, 60), 120)
}

// message prints m as JSON or YAML and reports whether it did: false means that a table is wanted.
func (p *Printer) message(m proto.Message) (bool, error) {
	switch p.Format {
	case JSON:
		raw, err := manifest.JSON(m)
		if err != nil {
			return true, err
		}
		return true, p.encoded(raw)
	case YAML:
		return true, manifest.Print(p.W, m)
	default:
		return false, nil
	}
}

// Value prints any value with json tags as JSON or YAML and reports whether it did.
func (p *Printer) Value(v any) (bool, error) {
	if p.Format != JSON && p.Format != YAML {
		return false, nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return true, fmt.Errorf("cannot print answer as %s: %w", p.Format, err)
	}
	return true, p.encoded(raw)
}

func (p *Printer) encoded(raw []byte) error {
	b, err := encode(raw, p.Format)
	if err != nil {
		return err
	}
	_, err = p.W.Write(b)
	return err
}

// encode gives raw JSON its final form.
func encode(raw []byte, f Format) ([]byte, error) {
	if f == JSON {
		var out bytes.Buffer
		if err := json.Indent(&out, raw, "", "  "); err != nil {
			return nil, fmt.Errorf("cannot print answer as json: %w", err)
		}
		out.WriteByte('\n')
		return out.Bytes(), nil
	}
	var n yaml.Node // JSON is YAML; a node keeps the order of the fields
	if err := yaml.Load(raw, &n); err != nil {
		return nil, fmt.Errorf("cannot print answer as yaml: %w", err)
	}
	plain(&n)
	out, err := yaml.Dump(&n, yaml.WithV4Defaults(), yaml.WithLineWidth(-1))
	if err != nil {
		return nil, fmt.Errorf("cannot print answer as yaml: %w", err)
	}
	return out, nil
}

// plain takes JSON's braces and quotes off, but for empty lists and mappings.
func plain(n *yaml.Node) {
	if len(n.Content) > 0 || n.Kind == yaml.ScalarNode {
		n.Style = 0
	}
	for _, c := range n.Content {
		plain(c)
	}
}

// Sentence prints one line.
func (p *Printer) Sentence(format string, args ...any) { fmt.Fprintf(p.W, format+"\n", args...) }
