package policy

import "fmt"

// plural prints a number with its noun: "1 rule", "2 rules".
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	switch one {
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

// mitigationList names mitigations for a sentence: "M3, M7".
func mitigationList(ids []MitigationID) string { return list(ids, mitigationText) }

func mitigationText(id MitigationID) string { return fmt.Sprintf("M%d", id) }
