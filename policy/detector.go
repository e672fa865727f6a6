package policy

import (
	"fmt"
	"iter"
)

// Detector says how far a detection system is believed. One without a document is trusted fully.
type Detector struct {
	Name string // in its certificate
	// Trust, from 0 to 1, weighs the confidence of its signals; at 0 they confirm nothing.
	Trust float64
	Note  string
}

// Ref returns the kind and the name of d.
func (d *Detector) Ref() DocumentRef { return DocumentRef{KindDetector, d.Name} }

// Validate reports what is wrong with the detector by itself.
func (d *Detector) Validate() []Violation {
	c := checker{ref: d.Ref()}
	c.name("name", d.Name)
	if t := d.Trust; !(t >= 0 && t <= 1) { // NaN is refused too
		c.add("trust", fmt.Sprintf("%v is not from 0 to 1", t), "write a number such as 0.7, or leave it out for 1")
	}
	c.text("note", d.Note)
	return c.found
}

// Detector returns a detector document by the name in the detector's certificate.
func (s *State) Detector(name string) (*Detector, bool) { return s.inv.detectors.get([]byte(name)) }

// Detectors yields the detector documents, by name.
func (s *State) Detectors() iter.Seq[*Detector] { return s.inv.detectors.values() }
