package controller

import (
	"net/netip"
	"strconv"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func itoa(n int) string { return strconv.Itoa(n) }

// cmpNetip compares what netip and the domain keep unexported, and takes nil for empty.
func cmpNetip() cmp.Option {
	return cmp.Options{
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmpopts.EquateEmpty(),
	}
}
