package flowspec

import (
	"slices"
	"strings"
)

// fixCondition says what may have been meant by a word that is no condition.
func fixCondition(word string) string {
	known := words()
	for _, n := range IPProtocol.names() {
		if n.text == word {
			return "write proto " + word
		}
	}
	if near := meant(word); near != "" {
		return "did you mean " + near + "?"
	}
	return "known are " + strings.Join(known[1:], " ")
}

// meant returns the condition that a word comes near to, or nothing. A wrong guess is worse than none.
func meant(word string) string {
	const longest = 20 // the field in words is not longer
	word = strings.ToLower(word)
	if len(word) > longest {
		return ""
	}
	inWords := strings.NewReplacer("-", " ", "_", " ", "src", "source", "dst", "destination").Replace(word)
	known := words()
	for t := DestinationPrefix; t <= FlowLabel; t++ {
		if strings.EqualFold(t.String(), inWords) {
			return known[t]
		}
	}
	best, distance, several := "", 3, false
	for _, k := range known[1:] {
		d := edits(word, k)
		switch {
		case strings.HasPrefix(word, k) && strings.Trim(word, "abcdefghijklmnopqrstuvwxyz") == "":
			d = 0 // length, protocol, ports
		case len(k) < 5 && d > 1:
			continue
		}
		if d < distance {
			best, distance, several = k, d, false
		} else if d == distance {
			several = true
		}
	}
	if several {
		return ""
	}
	return best
}

// edits returns how many octets must be inserted, removed or replaced to make b of a.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := corner
			if a[i] != b[j] {
				change++
			}
			corner = row[j+1]
			row[j+1] = slices.Min([]int{change, corner + 1, row[j] + 1})
		}
	}
	return row[len(b)]
}
