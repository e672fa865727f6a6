package demo

import (
	_ "embed"
	"strings"
)

//go:embed sample/inventory.yaml
var sampleInventory string //nolint:gochecknoglobals // go:embed fills a variable

//go:embed sample/router.yaml
var sampleRouter string //nolint:gochecknoglobals // go:embed fills a variable

func join(words []string) string { return strings.Join(words, ", ") }
