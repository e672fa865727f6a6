package lab

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// ExaBGP has no table: it hands what it hears to a process, as JSON.
const exabgpConfig = `process dump { run {{.Dir}}/exabgp_dump.py {{.Dir}}/exabgp.json; encoder json; }
{{- range .Neighbours}}
neighbor {{.}} {
  router-id {{$.Address}}; local-address {{$.Address}}; local-as {{$.ASN}}; peer-as {{$.NeighbourASN}};
  passive true; listen {{$.Port}};
  family { ipv4 flow; ipv6 flow; }
  api { processes [ dump ]; neighbor-changes; receive { parsed; update; } }
}
{{- end}}
`

//go:embed exabgp_dump.py
var exabgpDump []byte

// exabgp is ExaBGP 4.
type exabgp struct {
	daemon

	mu   sync.Mutex // guards what follows
	rib  exabgpRIB
	read int64 // octets taken so far
}

// StartExaBGP starts ExaBGP and waits until it listens.
func (l *Lab) StartExaBGP(ctx context.Context, address netip.Addr, asn flowspec.ASN) (Router, error) {
	config, err := l.config("exabgp.conf", exabgpConfig, address, asn)
	if err != nil {
		return nil, err
	}
	err = errors.Join(os.WriteFile(filepath.Join(l.dir, "exabgp_dump.py"), exabgpDump, 0o700), //nolint:gosec // It is run.
		os.WriteFile(filepath.Join(l.dir, "exabgp.json"), nil, 0o600))
	if err != nil {
		return nil, fmt.Errorf("cannot write the process of exabgp: %w", err)
	}
	p, err := l.Start("exabgp", "env", "exabgp.daemon.user=root", "exabgp.daemon.drop=false", "exabgp.tcp.bind="+address.String(), fmt.Sprintf("exabgp.tcp.port=%d", Port),
		"exabgp.api.cli=false", "exabgp.api.ack=false", "exabgp", config)
	if err != nil {
		return nil, err
	}
	r := &exabgp{daemon: daemon{Process: p, lab: l, address: address, asn: asn}}
	return r, r.ready(ctx, func(ctx context.Context) error {
		return l.ns.Do(func() error {
			// From no neighbour's address: it would be taken for that neighbour.
			d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(nobody(), 0))}
			c, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(address, Port).String())
			if err != nil {
				return err
			}
			return c.Close()
		})
	})
}

// Table implements Router.
func (r *exabgp) Table(ctx context.Context) ([]Seen, error) {
	entries, err := r.Entries(ctx)
	return table("exabgp", entries, err)
}

// Entries implements Lister: it reads what the process has written since the last time.
func (r *exabgp) Entries(context.Context) ([]Entry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, err := os.Open(filepath.Join(r.lab.dir, "exabgp.json"))
	if err != nil {
		return nil, fmt.Errorf("cannot read what exabgp said: %w", err)
	}
	defer f.Close() //nolint:errcheck // It was only read.
	data, err := io.ReadAll(io.NewSectionReader(f, r.read, 1<<40))
	if err != nil {
		return nil, fmt.Errorf("cannot read what exabgp said: %w", err)
	}
	whole := data[:bytes.LastIndexByte(data, '\n')+1] // a line may be half written
	for line := range bytes.Lines(whole) {
		if err := r.rib.take(line); err != nil {
			return nil, fmt.Errorf("cannot read %q of exabgp: %w", line, err)
		}
	}
	r.read += int64(len(whole))
	return r.rib.entries(), nil
}

// Shown implements Router: ExaBGP shows everything.
func (r *exabgp) Shown(rule flowspec.Rule) flowspec.Rule { return Plain(rule) }

// ShowsFrom implements Router.
func (r *exabgp) ShowsFrom() bool { return true }

// nobody is an address of the loopback interface that no neighbour has.
func nobody() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 99}) }
