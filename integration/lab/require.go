package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// Require skips the test where a lab cannot be: without Linux, root or the routers. In CI (CI=true) a test that cannot
// run proves nothing, so that there it fails.
func Require(t testing.TB) {
	t.Helper()
	missing := absent()
	if len(missing) == 0 {
		return
	}
	Missing(t, missing...)
}

// Missing skips the test for want of what is named, or fails it in CI.
func Missing(t testing.TB, what ...string) {
	t.Helper()
	text := "needs " + strings.Join(what, ", ") + " (see make setup)"
	if os.Getenv("CI") == "true" {
		t.Fatal("this test " + text + ", and in CI it must run")
	}
	t.Skip(text)
}

// absent lists what a lab needs and this machine does not have.
func absent() []string {
	var out []string
	if runtime.GOOS != "linux" {
		out = append(out, "Linux")
	}
	if os.Getuid() != 0 {
		out = append(out, "root")
	}
	for _, p := range []struct {
		deb      string
		programs []string
	}{
		{"iproute2", []string{"ip"}},
		{"frr", []string{bgpd, "vtysh"}},
		{"bird2", []string{"bird", "birdc"}},
		{"exabgp", []string{"exabgp"}},
		{"gobgpd", []string{"gobgpd", "gobgp"}},
	} {
		for _, program := range p.programs {
			if _, err := exec.LookPath(program); err != nil {
				out = append(out, "the Debian package "+p.deb+" ("+program+" is not in PATH)")
				break
			}
		}
	}
	return out
}

// Versions are the versions of the routers that StartRouters starts, by name, as they say themselves.
func Versions(ctx context.Context) (map[string]string, error) {
	number := regexp.MustCompile(`\d+(\.\d+)+`)
	out := map[string]string{}
	for name, program := range map[string]string{"frr": bgpd, "bird": "bird", "exabgp": "exabgp", "gobgpd": "gobgpd"} {
		text, err := exec.CommandContext(ctx, program, "--version").CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("cannot ask %s for its version: %w: %s", name, err, text)
		}
		if out[name] = number.FindString(string(text)); out[name] == "" {
			return nil, fmt.Errorf("cannot find the version of %s in %q", name, text)
		}
	}
	return out, nil
}

// RequireFaults is Require for tests that break networks and disks: nftables, file systems in files, and what the kernel
// must have for them.
func RequireFaults(t testing.TB) {
	t.Helper()
	if missing := AbsentForFaults(); len(missing) > 0 {
		Missing(t, missing...)
	}
}

// AbsentForFaults lists what this machine does not have of what RequireFaults asks for.
func AbsentForFaults() []string {
	missing := absent()
	for deb, program := range map[string]string{"nftables": "nft", "e2fsprogs": "mkfs.ext4", "mount": "losetup"} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, "the Debian package "+deb+" ("+program+" is not in PATH)")
		}
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		missing = append(missing, "loop devices in the kernel (/dev/loop-control)")
	}
	return missing
}
