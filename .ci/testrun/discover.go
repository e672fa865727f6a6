package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// goPackage is the part of `go list -json` that is used here.
type goPackage struct {
	ImportPath   string
	Dir          string
	TestGoFiles  []string
	XTestGoFiles []string
}

// selection says whether a package with these test functions belongs to a step.
type selection func(pkg goPackage, functions []string) bool

// unitTests selects what runs in this process's neighbourhood: all but integration.
func unitTests(pkg goPackage, functions []string) bool {
	return len(functions) > 0 && !inside(pkg.ImportPath, integration)
}

// properties selects the packages with a TestProperty….
func properties(pkg goPackage, functions []string) bool {
	return !inside(pkg.ImportPath, integration) && slices.ContainsFunc(functions, func(f string) bool {
		return strings.HasPrefix(f, "TestProperty")
	})
}

// interopTests selects the integration tests, but not the faults.
func interopTests(pkg goPackage, functions []string) bool {
	return len(functions) > 0 && inside(pkg.ImportPath, integration) && !inside(pkg.ImportPath, faults)
}

// inside reports whether the package is root or below it.
func inside(pkg, root string) bool {
	return pkg == root || strings.HasPrefix(pkg, root+"/")
}

// packages returns the import paths that sel selects, in the order of go list.
func packages(ctx context.Context, sel selection) ([]string, error) {
	all, err := list(ctx)
	if err != nil {
		return nil, err
	}
	var selected []string
	for _, pkg := range all {
		functions, err := testFunctions(pkg)
		if err != nil {
			return nil, err
		}
		if sel(pkg, functions) {
			selected = append(selected, pkg.ImportPath)
		}
	}
	return selected, nil
}

// fuzzTarget names one fuzz function.
type fuzzTarget struct{ pkg, name string }

// fuzzTargets returns every fuzz function of the module.
func fuzzTargets(ctx context.Context) ([]fuzzTarget, error) {
	all, err := list(ctx)
	if err != nil {
		return nil, err
	}
	var targets []fuzzTarget
	for _, pkg := range all {
		functions, err := testFunctions(pkg)
		if err != nil {
			return nil, err
		}
		for _, f := range functions {
			if strings.HasPrefix(f, "Fuzz") {
				targets = append(targets, fuzzTarget{pkg.ImportPath, f})
			}
		}
	}
	return targets, nil
}

// list returns the packages of the module, this program's among them.
func list(ctx context.Context) ([]goPackage, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-json=ImportPath,Dir,TestGoFiles,XTestGoFiles", "./...", self, supply)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return nil, fmt.Errorf("cannot list packages: %w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("cannot list packages: %w", err)
	}
	var all []goPackage
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var pkg goPackage
		err := dec.Decode(&pkg)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("cannot decode the list of packages: %w", err)
		}
		all = append(all, pkg)
	}
}

// testFunctions returns the names of the tests, examples and fuzz targets of a package.
// It reads the source: `go test -list` would have to build every test binary to tell.
func testFunctions(pkg goPackage) ([]string, error) {
	var names []string
	for _, file := range slices.Concat(pkg.TestGoFiles, pkg.XTestGoFiles) {
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(pkg.Dir, file), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("cannot read the tests of %q: %w", pkg.ImportPath, err)
		}
		for _, decl := range parsed.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if ok && f.Recv == nil && isTest(f.Name.Name) {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names, nil
}

// isTest reports whether go test runs a function of that name.
func isTest(name string) bool {
	if name == "TestMain" {
		return false
	}
	return strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz") || strings.HasPrefix(name, "Example")
}
