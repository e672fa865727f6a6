// Command supply checks what the binary is made of besides our own code: that each module that is linked has a licence that we
// may use, that none has a version with a vulnerability that we know of, and it writes the bill of materials. It works from
// the module cache, without a network; vuln alone asks the Go vulnerability database.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	binary     = "./cmd/tidegate"
	page       = "docs/reference/licences.md"
	advisories = ".ci/advisories.txt"
	// govulncheck is run from its own module, so that it chooses no version of ours.
	govulncheck = "golang.org/x/vuln/cmd/govulncheck@v1.9.0"
	database    = "https://vuln.go.dev/index/modules.json"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "supply:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("want one of check, licences, sbom, vuln")
	}
	mods, err := linked(ctx)
	if err != nil {
		return err
	}
	switch args[0] {
	case "check":
		return check(mods, out)
	case "licences":
		text, err := licencePage(mods)
		if err != nil {
			return err
		}
		return os.WriteFile(page, []byte(text), 0o644) //nolint:gosec // a page of the docs
	case "sbom":
		b, err := bill(mods)
		if err != nil {
			return err
		}
		_, err = out.Write(b)
		return err
	case "vuln":
		return vuln(ctx, out)
	}
	return fmt.Errorf("cannot run %q: want check, licences, sbom or vuln", args[0])
}

// module is one that is linked into the binary.
type module struct{ Path, Version, Dir, Sum string }

// linked lists the modules of the packages that the binary is built from, ours left out.
func linked(ctx context.Context) ([]module, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-json=Module", binary)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0") // what is released, wherever this runs
	cmd.Stderr = os.Stderr
	raw, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("cannot list what %s is built from: %w", binary, err)
	}
	return modulesOf(raw)
}

// check is what `make lint` runs.
func check(mods []module, out io.Writer) error {
	want, err := licencePage(mods)
	if err != nil {
		return err
	}
	got, err := os.ReadFile(page)
	if err != nil || string(got) != want {
		return fmt.Errorf("%s is not what is linked: run make licences", page)
	}
	text, err := os.ReadFile(advisories)
	if err != nil {
		return fmt.Errorf("cannot read advisories: %w", err)
	}
	n, err := advised(string(text), mods)
	if err != nil {
		return err
	}
	if err := billAgrees(mods); err != nil {
		return err
	}
	fmt.Fprintf(out, "supply: %d modules are linked; their licences are allowed, and %d known vulnerabilities are not among them\n", len(mods), n)
	return nil
}

// billAgrees checks that the bill of materials is the same each time, and names each module with the checksum of go.sum.
func billAgrees(mods []module) error {
	a, err := bill(mods)
	if err != nil {
		return err
	}
	b, err := bill(mods)
	if err != nil {
		return err
	}
	sums, err := os.ReadFile("go.sum")
	if err != nil {
		return fmt.Errorf("cannot read go.sum: %w", err)
	}
	if string(a) != string(b) || !json.Valid(a) {
		return fmt.Errorf("the bill of materials is not the same twice")
	}
	for _, m := range mods {
		if !strings.Contains(string(sums), m.Path+" "+m.Version+" "+m.Sum+"\n") {
			return fmt.Errorf("go.sum does not have %s %s with the checksum %s", m.Path, m.Version, m.Sum)
		}
	}
	return nil
}

// vuln runs govulncheck, if its database can be reached, and says loudly that it did not if it cannot.
func vuln(ctx context.Context, out io.Writer) error {
	asking, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(asking, http.MethodHead, database, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err == nil {
		err = resp.Body.Close()
	}
	if err != nil {
		fmt.Fprintf(out, "\n*** NOT CHECKED: govulncheck did not run, since its database cannot be reached from here: %v\n"+
			"*** What was checked instead are the versions in %s, by make lint.\n\n", err, advisories)
		return nil
	}
	cmd := exec.CommandContext(ctx, "go", "run", govulncheck, "./...")
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("govulncheck: %w", err)
	}
	return nil
}
