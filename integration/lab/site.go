package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
)

// bridgeName is the switch in a Lab's namespace, once the Lab has a Site.
const bridgeName = "br0"

// Site is a machine of its own: a network namespace behind the switch of a Lab, with a disk that only it sees. Lab.Close
// ends it.
type Site struct {
	name    string
	address netip.Addr
	lab     *Lab
	ns      *Namespace
	disk    string // directory where the disk is mounted
}

// Bridge makes the switch, and gives the Lab's own namespace these addresses at it, all in one subnet of that length.
func (l *Lab) Bridge(bits int, addresses ...netip.Addr) error {
	in := []string{"-n", l.ns.Name()}
	err := ip(append(in, "link", "add", bridgeName, "type", "bridge", "forward_delay", "0")...)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		err = errors.Join(err, ip(append(in, "address", "add", netip.PrefixFrom(a, bits).String(), "dev", bridgeName)...))
	}
	return errors.Join(err, ip(append(in, "link", "set", bridgeName, "up")...))
}

// Site adds a machine with that address to the switch, and a disk of so many MiB (ext4 in a loop device).
func (l *Lab) Site(name string, address netip.Prefix, mebibytes int) (*Site, error) {
	ns, err := makeNamespace(true)
	if err != nil {
		return nil, err
	}
	s := &Site{name: name, address: address.Addr(), lab: l, ns: ns, disk: filepath.Join(l.dir, name)}
	l.mu.Lock()
	l.sites = append(l.sites, s)
	l.mu.Unlock()
	image := s.disk + ".img"
	port := "v-" + name
	for _, argv := range [][]string{
		{"ip", "-n", l.ns.Name(), "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", ns.Name()},
		{"ip", "-n", l.ns.Name(), "link", "set", port, "master", bridgeName, "up"},
		{"ip", "-n", ns.Name(), "address", "add", address.String(), "dev", "eth0"},
		{"ip", "-n", ns.Name(), "link", "set", "lo", "up"},
		{"ip", "-n", ns.Name(), "link", "set", "eth0", "up"},
		{"truncate", "-s", fmt.Sprintf("%dM", mebibytes), image},
		{"mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image},
		{"mkdir", "-p", s.disk},
		{"mount", "-o", "loop", image, s.disk},
	} {
		if err := s.run(argv...); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Address is where the machine is reached.
func (s *Site) Address() netip.Addr { return s.address }

// Disk is the directory of the machine's disk; it is mounted for the machine's own processes, not for others.
func (s *Site) Disk() string { return s.disk }

// Processes are the ids of all processes of the machine, whoever started them.
func (s *Site) Processes() ([]int, error) { return s.ns.Processes() }

// Do runs f on a thread of the machine: f sees its network and its disk.
func (s *Site) Do(f func() error) error { return s.ns.Do(f) }

// Start runs a program on the machine, as Lab.Start does.
func (s *Site) Start(name string, argv ...string) (*Process, error) {
	p, err := startProcess(s.ns, name, filepath.Join(s.lab.dir, name+".log"), argv)
	if err != nil {
		return nil, err
	}
	s.lab.mu.Lock()
	s.lab.processes = append(s.lab.processes, p)
	s.lab.mu.Unlock()
	return p, nil
}

// Filter replaces what the machine's packet filter does with what arrives: nftables rules such as
// "ip saddr 10.99.0.2 drop". None lets everything pass.
func (s *Site) Filter(rules ...string) error {
	var b strings.Builder
	b.WriteString("table inet lab\ndelete table inet lab\n") // the first line makes the second one work
	if len(rules) > 0 {
		b.WriteString("table inet lab {\n chain arrives {\n  type filter hook input priority 0; policy accept;\n  " +
			strings.Join(rules, "\n  ") + "\n }\n}\n")
	}
	return s.ns.Do(func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(b.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot filter at %s: %w: %s", s.name, err, out)
		}
		return nil
	})
}

// Freeze makes every write to the machine's disk hang, or lets them go on.
func (s *Site) Freeze(on bool) error {
	return s.ns.Do(func() error {
		if err := freeze(s.disk, on); err != nil {
			return fmt.Errorf("cannot freeze (%v) the disk of %s: %w", on, s.name, err)
		}
		return nil
	})
}

// run runs a program to its end, on the machine.
func (s *Site) run(argv ...string) error {
	return s.ns.Do(func() error {
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("cannot run %s: %w: %s", strings.Join(argv, " "), err, out)
		}
		return nil
	})
}
