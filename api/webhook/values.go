package webhook

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// text reads a string; a number is one too, so that ids need no quotes.
func (r *reading) text(field string) string {
	v := r.eval(field)
	if v == nil {
		return ""
	}
	s, ok := asText(v)
	if !ok {
		r.bad(field, "it is a "+v.Type().TypeName()+", not a text", "let the mapping give a text")
	}
	return s
}

func asText(v ref.Val) (string, bool) {
	switch v := v.(type) {
	case types.String:
		return string(v), true
	case types.Int:
		return strconv.FormatInt(int64(v), 10), true
	case types.Uint:
		return strconv.FormatUint(uint64(v), 10), true
	case types.Double:
		if isWhole(float64(v)) {
			return strconv.FormatUint(uint64(v), 10), true
		}
	}
	return "", false
}

// texts reads a string, or a list of them.
func (r *reading) texts(field string) []string {
	var out []string
	for _, v := range r.values(field) {
		s, ok := asText(v)
		if !ok {
			r.bad(field, "there is a "+v.Type().TypeName()+" in it", "let the mapping give a text or a list of texts")
			return nil
		}
		out = append(out, s)
	}
	return out
}

// values are the elements of a list, or the one value that there is.
func (r *reading) values(field string) []ref.Val {
	v := r.eval(field)
	if v == nil {
		return nil
	}
	list, ok := v.(traits.Lister)
	if !ok {
		return []ref.Val{v}
	}
	var out []ref.Val
	for it := list.Iterator(); it.HasNext() == types.True; {
		out = append(out, it.Next())
	}
	return out
}

// number reads a number, or a text that is one.
func (r *reading) number(field string) float64 {
	v := r.eval(field)
	if v == nil {
		return 0
	}
	n, ok := math.NaN(), true
	switch v := v.(type) {
	case types.Int:
		n = float64(v)
	case types.Uint:
		n = float64(v)
	case types.Double:
		n = float64(v)
	case types.String:
		f, err := strconv.ParseFloat(strings.TrimSpace(string(v)), 64)
		n, ok = f, err == nil
	default:
		ok = false
	}
	if !ok {
		r.bad(field, fmt.Sprintf("%q is not a number", clip(fmt.Sprint(v.Value()))), "let the mapping give a number")
		return 0
	}
	return n
}

// whole reads a whole number from 0 to 2^64-1. A JSON number above 2^53 is not exact: then it has to be a text.
func (r *reading) whole(field string) uint64 {
	v := r.eval(field)
	if v != nil {
		if s, ok := asText(v); ok {
			if n, err := strconv.ParseUint(s, 10, 64); err == nil {
				return n
			}
		}
		r.bad(field, fmt.Sprintf("%q is not a whole number", clip(fmt.Sprint(v.Value()))), "let the mapping give a whole number; above 2^53 as a text")
	}
	return 0
}

// truth reads yes or no.
func (r *reading) truth(field string) bool {
	v := r.eval(field)
	if v == nil {
		return false
	}
	b, ok := v.(types.Bool)
	if !ok {
		r.bad(field, "it is a "+v.Type().TypeName()+", not true or false", "let the mapping give true or false")
	}
	return bool(b)
}

// ranges reads numbers, and ranges such as "1024-65535".
func (r *reading) ranges(field string) []*tidegatev1.Range {
	var out []*tidegatev1.Range
	for _, v := range r.values(field) {
		s, ok := asText(v)
		low, high, isRange := strings.Cut(s, "-")
		if !isRange {
			high = low
		}
		l, lerr := strconv.ParseUint(low, 10, 32)
		h, herr := strconv.ParseUint(high, 10, 32)
		if !ok || lerr != nil || herr != nil {
			r.bad(field, fmt.Sprintf("%q is neither a number nor a range", clip(fmt.Sprint(v.Value()))), "let the mapping give numbers, or ranges such as 1024-65535")
			return nil
		}
		out = append(out, &tidegatev1.Range{Low: uint32(l), High: uint32(h)})
	}
	return out
}
