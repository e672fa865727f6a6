package node

import (
	"errors"
	"fmt"
	"strings"
)

// ErrTLS is wrapped by errors about certificates, keys and their directories.
var ErrTLS = errors.New("certificates are not usable")

// ErrSecret is wrapped by errors about the files of secrets.
var ErrSecret = errors.New("secret is not usable")

// ErrAlreadyRan is returned by a second Run.
var ErrAlreadyRan = errors.New("node has already run")

// Problem is one thing wrong with a node's file: where, what, and how to mend it.
type Problem struct {
	File string
	Line int    // 0: the file as a whole
	Key  string // path of the key, e.g. "cluster.members[1].raft"; empty: the file as a whole
	Text string
}

// Error is "FILE:LINE: KEY: TEXT", as editors like it.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Key != "" {
		b.WriteString(": " + p.Key)
	}
	b.WriteString(": " + p.Text)
	return b.String()
}

// ConfigError is everything that is wrong with a node's file, in the order of its lines.
type ConfigError struct{ Problems []Problem }

// Error has one line for each problem.
func (e *ConfigError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}
