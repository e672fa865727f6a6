package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLicenceOf(t *testing.T) {
	const mit = "MIT License\n\nPermission is hereby granted, free of charge, to any person\nobtaining a copy of this software and"
	for _, row := range []struct{ name, text, want string }{
		{"MIT", mit, "MIT"},
		{"Apache", "   Apache License\n  Version 2.0, January 2004", "Apache-2.0"},
		{"both", mit + "\nApache License Version 2.0, January 2004", "Apache-2.0 AND MIT"},
		{"two clauses", "Redistributions in binary form must reproduce the above copyright notice", "BSD-2-Clause"},
		{"GPL", "GNU GENERAL PUBLIC LICENSE Version 3", ""},
		{"MIT and GPL", mit + " or the GNU General Public License", ""},
		{"proprietary", "All rights reserved.", ""},
		{"nothing", "", ""},
	} {
		if got := licenceOf(row.text); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

func TestUnknownLicenceFails(t *testing.T) {
	dir := t.TempDir()
	mods := []module{{Path: "example.net/x", Version: "v1.0.0", Dir: dir}}
	if _, err := licencePage(mods); err == nil || !strings.Contains(err.Error(), "no licence") {
		t.Errorf("without one: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "LICENSE"), []byte("Server Side Public License"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := licencePage(mods); err == nil || !strings.Contains(err.Error(), "example.net/x v1.0.0: LICENSE") {
		t.Errorf("another one: %v", err)
	}
	if _, err := bill(mods); err == nil {
		t.Error("it is in the bill")
	}
}

func TestAdvised(t *testing.T) {
	const text = "# a comment\nexample.net/x v1.10.0 GO-2025-1 overflows\n"
	for version, bad := range map[string]bool{
		"v1.9.9": true, "v1.10.0": false, "v1.10.0-rc.1": true, "v1.11.0": false, "v2.0.0": false, "v0.0.0-20240924180020-3414d57e47da": true,
	} {
		n, err := advised(text, []module{{Path: "example.net/x", Version: version}})
		if n != 1 || (err != nil) != bad {
			t.Errorf("%s: %d, %v", version, n, err)
		}
	}
	if _, err := advised("example.net/x v1\n", nil); err == nil {
		t.Error("a broken line")
	}
	if _, err := advised("example.net/x one GO-1 a\n", []module{{Path: "example.net/x", Version: "v1.0.0"}}); err == nil {
		t.Error("a broken version")
	}
}

func TestModulesOf(t *testing.T) {
	raw := `{"Module":{"Path":"b","Version":"v1.0.0"}}{}{"Module":{"Path":"a","Version":"v1.0.0"}}{"Module":{"Path":"b","Version":"v1.0.0"}}{"Module":{"Path":"us","Main":true}}`
	mods, err := modulesOf([]byte(raw))
	if err != nil || len(mods) != 2 || mods[0].Path != "a" || mods[1].Path != "b" {
		t.Errorf("%v, %v", mods, err)
	}
	if _, err := modulesOf([]byte(`{"Module":{"Path":"b","Version":"v1.0.0","Replace":{"Path":"c"}}}`)); err == nil {
		t.Error("a replaced module passes")
	}
}
