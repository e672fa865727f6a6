package output

import "github.com/tidegate/tidegate/cmd/node"

// Findings prints what a check found.
func (p *Printer) Findings(fs []node.Finding) error {
	if done, err := p.Value(fs); done {
		return err
	}
	t := &table{head: []string{"", "WHAT", "FOUND"}, empty: "Nothing was checked."}
	tones := map[node.Grade]tone{node.Good: green, node.Caution: yellow, node.Bad: red}
	for _, f := range fs {
		t.add(cell{string(f.Grade), tones[f.Grade]}, cell{text: f.What}, cell{text: f.Text})
	}
	p.table(t)
	return nil
}
