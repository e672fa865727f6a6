package output

import (
	"fmt"
	"slices"
	"strings"

	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// confidence says how sure the detectors of a mitigation are together, and which they are.
func (p *Printer) confidence(m *pb.Mitigation) {
	var sources []string
	for _, c := range m.GetCauses() {
		if !slices.Contains(sources, c.GetSource()) {
			sources = append(sources, c.GetSource())
		}
	}
	if m.GetConfidence() == 0 && len(sources) < 2 {
		return
	}
	text := "none stated"
	if c := m.GetConfidence(); c > 0 {
		text = fmt.Sprint(c)
	}
	p.line("confidence", fmt.Sprintf("%s, of %s", text, strings.Join(sources, ", ")))
}

// collateral says what is acted on beyond what was reported.
func (p *Printer) collateral(m *pb.Mitigation) {
	if c := m.GetCollateral(); c != nil {
		p.toned("collateral", cell{fmt.Sprintf("%.10g addresses that were not reported (%.1f %% of all that are acted on)", c.GetAddresses(), c.GetPercent()), yellow})
	}
}
