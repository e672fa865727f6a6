package demo

import (
	_ "embed"
	"strings"
)

//go:embed sample/inventory.yaml
var sampleInventory string

//go:embed sample/router.yaml
var sampleRouter string

func join(words []string) string { return strings.Join(words, ", ") }
