package policy

import (
	"fmt"
	"strings"
	"time"
)

// plural prints a number with its noun: "1 rule", "2 rules".
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	switch one {
	case "table entry":
		return fmt.Sprintf("%d table entries", n)
	case "prefix", "match":
		one += "e"
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// choose returns the word that goes with n: "is" or "are".
func choose(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// span prints a duration without what is zero at its end: "5m", "1h30m".
func span(d time.Duration) string {
	s := d.String()
	if t, ok := strings.CutSuffix(s, "m0s"); ok {
		s = t + "m"
	}
	if t, ok := strings.CutSuffix(s, "h0m"); ok {
		s = t + "h"
	}
	return s
}

// mitigationList names mitigations for a sentence: "M3, M7".
func mitigationList(ids []MitigationID) string { return list(ids, mitigationText) }

func mitigationText(id MitigationID) string { return fmt.Sprintf("M%d", id) }
