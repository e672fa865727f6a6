package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// modulesOf reads what `go list -json=Module` says, each module once, by path.
func modulesOf(raw []byte) ([]module, error) {
	seen := map[string]module{}
	for d := json.NewDecoder(bytes.NewReader(raw)); ; {
		var p struct {
			Module *struct {
				module
				Main    bool
				Replace *struct{}
			}
		}
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			out := make([]module, 0, len(seen))
			for _, m := range seen {
				out = append(out, m)
			}
			slices.SortFunc(out, func(a, b module) int { return strings.Compare(a.Path, b.Path) })
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("cannot read the list of modules: %w", err)
		case p.Module == nil || p.Module.Main:
			continue
		case p.Module.Replace != nil:
			return nil, fmt.Errorf("%s is replaced: what is linked is not what go.mod names", p.Module.Path)
		}
		seen[p.Module.Path] = p.Module.module
	}
}

// licence is one that we may use, and a sentence by which its text is known, in lower case with single spaces.
type licence struct{ id, says string }

// licences are those that a module may have. What matches none of them is unknown, and fails.
func licences() []licence {
	return []licence{
		{"Apache-2.0", "apache license version 2.0, january 2004"},
		{"Apache-2.0", "licensed under the apache license, version 2.0"},
		{"MPL-2.0", "mozilla public license, version 2.0"},
		{"BSD-3-Clause", "may be used to endorse or promote products derived from this software without specific prior written permission"},
		{"BSD-2-Clause", "redistributions in binary form must reproduce the above copyright notice"},
		{"ISC", "permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted"},
		{"MIT", "permission is hereby granted, free of charge, to any person obtaining a copy of this software"},
	}
}

// licenceOf names the licence of a text; empty: it is none that we know. Texts of more than one count as all of them.
func licenceOf(text string) string {
	flat := strings.Join(strings.Fields(strings.ToLower(text)), " ")
	for _, no := range []string{"gnu general public license", "gnu affero general public license", "gnu lesser general public license"} {
		// The Mozilla licence names these as secondary ones.
		if strings.Contains(flat, no) && !strings.Contains(flat, "mozilla public license, version 2.0") {
			return ""
		}
	}
	var found []string
	for _, l := range licences() {
		if strings.Contains(flat, l.says) && !slices.Contains(found, l.id) && (l.id != "BSD-2-Clause" || !slices.Contains(found, "BSD-3-Clause")) {
			found = append(found, l.id)
		}
	}
	return strings.Join(found, " AND ")
}

// licenceIn returns the licences of the texts at the top of a module.
func licenceIn(dir string) (string, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("cannot read module: %w", err)
	}
	var ids []string
	for _, e := range list {
		name := strings.ToLower(e.Name())
		if e.IsDir() || !strings.HasPrefix(name, "licen") && !strings.HasPrefix(name, "copying") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", fmt.Errorf("cannot read licence: %w", err)
		}
		id := licenceOf(string(text))
		if id == "" {
			return "", fmt.Errorf("%s is a licence that is not known to be allowed", e.Name())
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return "", errors.New("there is no licence")
	}
	slices.Sort(ids)
	return strings.Join(ids, " AND "), nil
}

// licencePage is the page of the docs that names what is linked.
func licencePage(mods []module) (string, error) {
	var b strings.Builder
	b.WriteString("# What is linked\n\nThe modules in the binary, their versions and licences. `make licences` writes this page, `make lint` compares it and\n" +
		"fails for a licence that is not known to be allowed. `make sbom` writes a bill of materials (CycloneDX) to `bin/sbom.cdx.json`.\n\n" +
		"| module | version | licence |\n|---|---|---|\n")
	for _, m := range mods {
		id, err := licenceIn(m.Dir)
		if err != nil {
			return "", fmt.Errorf("%s %s: %w", m.Path, m.Version, err)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", m.Path, m.Version, id)
	}
	return b.String(), nil
}

// bill is the bill of materials in the form of CycloneDX 1.5 (https://cyclonedx.org/docs/1.5/json/). It has no time and no
// serial number: from the same go.mod comes the same bill.
func bill(mods []module) ([]byte, error) {
	type expression struct {
		Expression string `json:"expression"`
	}
	type property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	type component struct {
		Type       string       `json:"type"`
		Ref        string       `json:"bom-ref"`
		Name       string       `json:"name"`
		Version    string       `json:"version,omitempty"`
		PURL       string       `json:"purl"`
		Licences   []expression `json:"licenses"`
		Properties []property   `json:"properties,omitempty"`
	}
	self := "pkg:golang/github.com/tidegate/tidegate"
	doc := struct {
		Format   string `json:"bomFormat"`
		Spec     string `json:"specVersion"`
		Version  int    `json:"version"`
		Metadata struct {
			Component component `json:"component"`
		} `json:"metadata"`
		Components []component `json:"components"`
	}{Format: "CycloneDX", Spec: "1.5", Version: 1}
	doc.Metadata.Component = component{
		Type: "application", Ref: self, Name: "github.com/tidegate/tidegate", PURL: self, Licences: []expression{{"Apache-2.0"}},
	}
	for _, m := range mods {
		id, err := licenceIn(m.Dir)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", m.Path, m.Version, err)
		}
		purl := "pkg:golang/" + m.Path + "@" + m.Version
		doc.Components = append(doc.Components, component{
			Type: "library", Ref: purl, Name: m.Path, Version: m.Version, PURL: purl, Licences: []expression{{id}},
			Properties: []property{{"go.sum", m.Sum}},
		})
	}
	out, err := json.MarshalIndent(doc, "", "  ")
	return append(out, '\n'), err
}

// advised holds the modules against a list of vulnerabilities, and returns how many that has.
func advised(text string, mods []module) (int, error) {
	n := 0
	var bad []string
	for i, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[2], "GO-") {
			return 0, fmt.Errorf("line %d of the advisories: want MODULE VERSION GO-ID and words", i+1)
		}
		n++
		for _, m := range mods {
			if m.Path != f[0] {
				continue
			}
			older, err := before(m.Version, f[1])
			if err != nil {
				return 0, fmt.Errorf("line %d of the advisories: %w", i+1, err)
			}
			if older {
				bad = append(bad, fmt.Sprintf("%s %s has %s (%s): take %s", m.Path, m.Version, f[2], strings.Join(f[3:], " "), f[1]))
			}
		}
	}
	if len(bad) > 0 {
		return n, errors.New(strings.Join(bad, "\n"))
	}
	return n, nil
}

// before reports whether version a is older than b, a release. A version with a suffix comes before its release.
func before(a, b string) (bool, error) {
	x, pre, err := numbers(a)
	if err != nil {
		return false, err
	}
	y, _, err := numbers(b)
	if err != nil {
		return false, err
	}
	c := slices.Compare(x, y)
	return c < 0 || c == 0 && pre, nil
}

// numbers reads vMAJOR.MINOR.PATCH, and whether a suffix follows.
func numbers(v string) ([]int, bool, error) {
	base, _, _ := strings.Cut(strings.TrimPrefix(v, "v"), "+")
	base, _, pre := strings.Cut(base, "-")
	parts := strings.Split(base, ".")
	out := make([]int, len(parts))
	for i, p := range parts {
		var err error
		if out[i], err = strconv.Atoi(p); err != nil || len(parts) != 3 {
			return nil, false, fmt.Errorf("%q is no version", v)
		}
	}
	return out, pre, nil
}
