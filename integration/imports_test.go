package integration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// modulePath prefixes our own packages.
const modulePath = "github.com/tidegate/tidegate/"

// anything marks a layer that may import every other.
const anything = "*"

// layer is a part of the house. A package belongs to the layer with the longest path that
// is its own or a parent's, so a new folder inherits its parent's rules; a package in no
// layer is refused, which makes a new room a decision.
type layer struct {
	path string
	// may lists the other layers that it may import: design, "Imports go one way".
	may []string
	// pure layers are functions of their arguments: pureStandard and their own libraries
	// are all that they may import from elsewhere.
	pure      bool
	libraries []string
}

var layers = []layer{
	{path: "bgp/flowspec", pure: true},
	// Random rules for everybody's tests. Chance is no pure thing, so it is a layer of its own; what ships may not import it.
	{path: "bgp/flowspec/flowspectest", may: []string{"bgp/flowspec"}},
	{path: "bgp/wanted", may: []string{"bgp/flowspec"}, pure: true},
	// What a router can do with a rule, and what it costs there; the policy asks before it announces.
	{path: "bgp/profile", may: []string{"bgp/flowspec"}, pure: true},
	// The same rules as configuration to paste.
	{path: "bgp/render", may: []string{"bgp/flowspec"}, pure: true},
	{
		path: "policy", may: []string{"bgp/flowspec", "bgp/wanted", "bgp/profile"}, pure: true,
		libraries: []string{
			// A State is read by many at once: what it derives on demand, it derives under a
			// sync.Once. Its digest walks the fields of every record by reflection.
			"sync", "reflect",
			"go4.org/netipx", "github.com/gaissmai/bart",
			"cel.dev/cel-go",
		},
	},
	{path: "proto/tidegate/v1"},
	{path: "proto/tidegate/raft/v1"},
	// The controller declares the Speaker that it needs; it does not know bgp.
	{path: "controller", may: []string{"policy", "bgp/flowspec", "bgp/wanted", "proto/tidegate/raft/v1"}},
	{path: "bgp", may: []string{"bgp/flowspec", "bgp/wanted"}},
	// The way to a speaker over a unix socket: docs/decisions/0007-speaker-socket.md.
	{path: "proto/tidegate/speaker/v1"},
	{path: "bgp/remote", may: []string{"bgp/flowspec", "bgp/wanted", "proto/tidegate/speaker/v1"}},
	// What the speaker says of itself comes back through the controller as a value of the border, so api reads it.
	{path: "api", may: []string{"controller", "policy", "bgp/flowspec", "bgp/wanted", "bgp/profile", "proto/tidegate/v1"}},
	{path: "cmd", may: []string{anything}},
	{path: "integration", may: []string{anything}},
}

// pureStandard is what a pure package may use of the standard library: no I/O, no clock to
// read (time is there for durations; the linter forbids time.Now), no randomness, no
// logging, nothing to wait on. What is missing here is refused until somebody adds it.
var pureStandard = []string{
	"bytes", "cmp", "container", "crypto/sha256", "encoding/base64", "encoding/binary", "encoding/hex",
	"encoding/json", "errors", "fmt", "hash", "iter", "maps", "math", "math/big", "math/bits", "net/netip",
	"regexp", "slices", "sort", "strconv", "strings", "time", "unicode", "unicode/utf8",
}

// giant is a foreign module that one room holds, so that the rest of the house does not
// depend on its ways.
type giant struct {
	module string
	in     func(pkg string) bool
	room   string
}

var giants = []giant{
	{"github.com/osrg/gobgp", func(pkg string) bool { return pkg == "bgp" }, "bgp"},
	{"github.com/hashicorp/raft", func(pkg string) bool { return below(pkg, "controller") }, "controller"},
	{"github.com/hashicorp/raft-boltdb", func(pkg string) bool { return below(pkg, "controller") }, "controller"},
	{"github.com/hashicorp/raft-wal", func(pkg string) bool { return below(pkg, "controller") }, "controller"},
}

// topFolders may stand at the top of the repository; the rest of what Git ignores there is
// bin and .cache.
var topFolders = []string{
	"api", "bgp", "cmd", "controller", "docs", "integration", "policy", "proto",
	".ci", ".git", ".github", "bin", ".cache",
}

// listed is the part of `go list -json` that the checks read.
type listed struct {
	ImportPath   string
	Dir          string
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// below reports whether the path is root or under it.
func below(path, root string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}

// layerOf finds the layer of a path inside the module.
func layerOf(path string) (layer, bool) {
	var best layer
	found := false
	for _, l := range layers {
		if below(path, l.path) && len(l.path) > len(best.path) {
			best, found = l, true
		}
	}
	return best, found
}

// violations judges one package; each sentence names the package, the import and the rule.
func violations(pkg listed) []string {
	path := strings.TrimPrefix(pkg.ImportPath, modulePath)
	from, ok := layerOf(path)
	if !ok {
		return []string{fmt.Sprintf("%s is in no layer: add it to the design and to this table, or move it", pkg.ImportPath)}
	}
	var found []string
	for _, imp := range pkg.Imports {
		if why := forbidden(from, imp); why != "" {
			found = append(found, fmt.Sprintf("%s imports %s: %s", path, imp, why))
		}
	}
	// The giants are kept out of tests as well, except that the integration tests compare
	// us with the bare libraries.
	all := slices.Concat(pkg.Imports, pkg.TestImports, pkg.XTestImports)
	if from.path == "integration" {
		all = pkg.Imports
	}
	slices.Sort(all)
	for _, imp := range slices.Compact(all) {
		for _, g := range giants {
			if below(imp, g.module) && !g.in(path) {
				found = append(found, fmt.Sprintf("%s imports %s: only %s does", path, imp, g.room))
			}
		}
	}
	return found
}

// forbidden says why a layer may not import something, or nothing.
func forbidden(from layer, imp string) string {
	ours, isOurs := strings.CutPrefix(imp, modulePath)
	if isOurs {
		to, ok := layerOf(ours)
		switch {
		case !ok:
			return "that is in no layer"
		case to.path == from.path, slices.Contains(from.may, to.path), slices.Contains(from.may, anything):
			return ""
		default:
			return fmt.Sprintf("%s may import of ours only %q", from.path, from.may)
		}
	}
	if !from.pure {
		return ""
	}
	if slices.Contains(pureStandard, imp) {
		return ""
	}
	if slices.ContainsFunc(from.libraries, func(module string) bool { return below(imp, module) }) {
		return ""
	}
	return fmt.Sprintf("%s is pure, and that is not on its list", from.path)
}

// goroutines returns the positions of go statements in a file; purity has no other way to
// start one without an import.
func goroutines(name string, src any) ([]string, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("cannot parse %q: %w", name, err)
	}
	var found []string
	ast.Inspect(file, func(n ast.Node) bool {
		if g, ok := n.(*ast.GoStmt); ok {
			found = append(found, fset.Position(g.Go).String())
		}
		return true
	})
	return found, nil
}

// listPackages asks the go command about the whole module.
func listPackages(t *testing.T) []listed {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.CommandContext(t.Context(), "go", "list",
		"-json=ImportPath,Dir,GoFiles,Imports,TestImports,XTestImports", modulePath+"...")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cannot list packages: %v\n%s", err, stderr.String())
	}
	var pkgs []listed
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var pkg listed
		err := dec.Decode(&pkg)
		if errors.Is(err, io.EOF) {
			return pkgs
		}
		if err != nil {
			t.Fatalf("cannot decode the list of packages: %v", err)
		}
		pkgs = append(pkgs, pkg)
	}
}

func TestImports(t *testing.T) {
	pkgs := listPackages(t)
	// A list that went wrong must not look like a house in order.
	if !slices.ContainsFunc(pkgs, func(p listed) bool { return p.ImportPath == modulePath+"bgp/flowspec" }) {
		t.Fatalf("go list does not know bgp/flowspec; it returned %d packages", len(pkgs))
	}
	for _, pkg := range pkgs {
		for _, v := range violations(pkg) {
			t.Error(v)
		}
	}
}

func TestPurePackagesStartNoGoroutine(t *testing.T) {
	checked := 0
	for _, pkg := range listPackages(t) {
		l, _ := layerOf(strings.TrimPrefix(pkg.ImportPath, modulePath))
		if !l.pure {
			continue
		}
		for _, file := range pkg.GoFiles {
			found, err := goroutines(filepath.Join(pkg.Dir, file), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, pos := range found {
				t.Errorf("%s: %s is pure and starts no goroutine", pos, l.path)
			}
			checked++
		}
	}
	if checked == 0 {
		t.Error("no pure file was checked")
	}
}

func TestTopFolders(t *testing.T) {
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		names[e.Name()] = true
		if !slices.Contains(topFolders, e.Name()) {
			t.Errorf("%s: no such folder in the design; it must earn itself there and in this list", e.Name())
		}
	}
	if !names["bgp"] || !names["integration"] {
		t.Error("this is not the top of the repository: bgp and integration are not here")
	}
}

// TestGoModInstalls keeps `go install …@latest` possible, which refuses a module whose
// go.mod replaces or excludes, and keeps the tools' versions out of the product's.
func TestGoModInstalls(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json", filepath.Join("..", "go.mod")).Output()
	if err != nil {
		t.Fatalf("cannot read go.mod: %v", err)
	}
	var mod struct {
		Module           struct{ Path string }
		Replace, Exclude []struct{}
		Tool             []struct{}
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	if want := strings.TrimSuffix(modulePath, "/"); mod.Module.Path != want {
		t.Errorf("module %q, want %q", mod.Module.Path, want)
	}
	if n := len(mod.Replace); n > 0 {
		t.Errorf("go.mod has %d replace directives, want none", n)
	}
	if n := len(mod.Exclude); n > 0 {
		t.Errorf("go.mod has %d exclude directives, want none", n)
	}
	if n := len(mod.Tool); n > 0 {
		t.Errorf("go.mod has %d tool directives, want none: tools are in .ci/tools.mod", n)
	}
}

// TestImportRulesBite shows the rules synthetic violations.
func TestImportRulesBite(t *testing.T) {
	const (
		gobgp = "github.com/osrg/gobgp/v4/pkg/server"
		raft  = "github.com/hashicorp/raft"
		prom  = "github.com/prometheus/client_golang/prometheus"
	)
	tests := []struct {
		name string
		path string // inside the module
		imp  []string
		test []string // imports of the external tests
		want []string
	}{
		{name: "flowspec, standard library", path: "bgp/flowspec", imp: []string{"net/netip", "strconv"}},
		{
			name: "flowspec imports ours", path: "bgp/flowspec", imp: []string{modulePath + "bgp/wanted"},
			want: []string{"bgp/flowspec imports " + modulePath + "bgp/wanted: bgp/flowspec may import of ours only []"},
		},
		{
			name: "flowspec imports a library", path: "bgp/flowspec", imp: []string{"go4.org/netipx"},
			want: []string{"bgp/flowspec imports go4.org/netipx: bgp/flowspec is pure, and that is not on its list"},
		},
		{
			name: "a package under flowspec is as pure", path: "bgp/flowspec/text", imp: []string{"os"},
			want: []string{"bgp/flowspec/text imports os: bgp/flowspec is pure, and that is not on its list"},
		},
		{name: "flowspec's tests are free", path: "bgp/flowspec", test: []string{"os", "math/rand/v2"}},
		{
			name: "flowspec's tests know no GoBGP", path: "bgp/flowspec", test: []string{gobgp},
			want: []string{"bgp/flowspec imports " + gobgp + ": only bgp does"},
		},
		{name: "random rules have a layer of their own", path: "bgp/flowspec/flowspectest", imp: []string{"math/rand/v2", modulePath + "bgp/flowspec"}},
		{
			name: "flowspec does not know the random rules", path: "bgp/flowspec", imp: []string{modulePath + "bgp/flowspec/flowspectest"},
			want: []string{"bgp/flowspec imports " + modulePath + "bgp/flowspec/flowspectest: bgp/flowspec may import of ours only []"},
		},
		{name: "wanted imports flowspec", path: "bgp/wanted", imp: []string{modulePath + "bgp/flowspec", "time"}},
		{
			name: "wanted locks", path: "bgp/wanted", imp: []string{"sync"},
			want: []string{"bgp/wanted imports sync: bgp/wanted is pure, and that is not on its list"},
		},
		{
			name: "wanted imports net", path: "bgp/wanted", imp: []string{"net"},
			want: []string{"bgp/wanted imports net: bgp/wanted is pure, and that is not on its list"},
		},
		{name: "policy, a pure library", path: "policy", imp: []string{"github.com/gaissmai/bart", "cel.dev/cel-go/cel"}},
		{
			name: "policy waits, logs and rolls dice", path: "policy", imp: []string{"context", "log/slog", "math/rand/v2"},
			want: []string{
				"policy imports context: policy is pure, and that is not on its list",
				"policy imports log/slog: policy is pure, and that is not on its list",
				"policy imports math/rand/v2: policy is pure, and that is not on its list",
			},
		},
		{
			name: "policy imports the controller", path: "policy", imp: []string{modulePath + "controller"},
			want: []string{"policy imports " + modulePath + `controller: policy may import of ours only ["bgp/flowspec" "bgp/wanted" "bgp/profile"]`},
		},
		{
			name: "policy measures itself", path: "policy", imp: []string{prom},
			want: []string{"policy imports " + prom + ": policy is pure, and that is not on its list"},
		},
		{name: "the controller holds raft", path: "controller", imp: []string{raft, "os", modulePath + "policy"}},
		{name: "and so do its rooms", path: "controller/logstore", imp: []string{raft, "os"}},
		{
			name: "the controller knows no speaker", path: "controller", imp: []string{modulePath + "bgp"},
			want: []string{
				"controller imports " + modulePath +
					`bgp: controller may import of ours only ["policy" "bgp/flowspec" "bgp/wanted" "proto/tidegate/raft/v1"]`,
			},
		},
		{
			name: "the controller knows no public API", path: "controller", imp: []string{modulePath + "proto/tidegate/v1"},
			want: []string{
				"controller imports " + modulePath +
					`proto/tidegate/v1: controller may import of ours only ["policy" "bgp/flowspec" "bgp/wanted" "proto/tidegate/raft/v1"]`,
			},
		},
		{name: "bgp holds GoBGP", path: "bgp", imp: []string{gobgp, modulePath + "bgp/wanted"}},
		{
			name: "bgp's rooms do not", path: "bgp/bgptest", imp: []string{gobgp},
			want: []string{"bgp/bgptest imports " + gobgp + ": only bgp does"},
		},
		{
			name: "bgp knows no policy", path: "bgp", imp: []string{modulePath + "policy"},
			want: []string{"bgp imports " + modulePath + `policy: bgp may import of ours only ["bgp/flowspec" "bgp/wanted"]`},
		},
		{
			name: "the api knows no speaker and no raft", path: "api/auth", imp: []string{modulePath + "bgp", raft},
			want: []string{
				"api/auth imports " + modulePath +
					`bgp: api may import of ours only ["controller" "policy" "bgp/flowspec" "bgp/wanted" "bgp/profile" "proto/tidegate/v1"]`,
				"api/auth imports " + raft + ": only controller does",
			},
		},
		{name: "cmd wires all of ours", path: "cmd/node", imp: []string{modulePath + "bgp", modulePath + "api", modulePath + "controller"}},
		{
			name: "but not the giants", path: "cmd/node", imp: []string{gobgp},
			want: []string{"cmd/node imports " + gobgp + ": only bgp does"},
		},
		{name: "integration tests compare with the bare libraries", path: "integration", test: []string{gobgp, raft}},
		{
			name: "nothing imports cmd", path: "api", imp: []string{modulePath + "cmd/node"},
			want: []string{
				"api imports " + modulePath +
					`cmd/node: api may import of ours only ["controller" "policy" "bgp/flowspec" "bgp/wanted" "bgp/profile" "proto/tidegate/v1"]`,
			},
		},
		{
			name: "a room that nobody drew", path: "util",
			want: []string{modulePath + "util is in no layer: add it to the design and to this table, or move it"},
		},
		{
			name: "a name that only begins like a layer", path: "policymaker",
			want: []string{modulePath + "policymaker is in no layer: add it to the design and to this table, or move it"},
		},
		{
			name: "an import of such a room", path: "cmd/node", imp: []string{modulePath + "util"},
			want: []string{"cmd/node imports " + modulePath + "util: that is in no layer"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := violations(listed{ImportPath: modulePath + tt.path, Imports: tt.imp, XTestImports: tt.test})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("a goroutine", func(t *testing.T) {
		got, err := goroutines("x.go", "package x\n\nfunc f() {\n\tgo f()\n}\n")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"x.go:4:2"}, got); diff != "" {
			t.Errorf("go statements (-want +got):\n%s", diff)
		}
	})
}
