package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// Heard is one event at a router that records.
type Heard struct {
	At   time.Time // with the monotonic clock: when the record was read, at most some 20 ms after it was made
	From netip.Addr
	// Kind is what happened. Lost is a rule that went with its session.
	Kind HeardKind
	Key  flowspec.Key // of the rule; none with SessionUp and SessionDown
}

// HeardKind is what happened at a router.
type HeardKind int

// What a router can hear.
const (
	Announced HeardKind = iota
	Withdrawn
	Lost
	SessionUp
	SessionDown
)

const birdRecordConfig = `log "{{.Dir}}/bird-record.log" all;
timeformat log iso long us;
mrtdump "{{.Dir}}/bird.mrt";
router id {{.Address}};
flow4 table ft4;
flow6 table ft6;
protocol device {}
{{- range $i, $n := .Neighbours}}
protocol bgp n{{$i}} {
  debug { states, routes, events }; mrtdump { states, messages };
  local {{$.Address}} port {{$.Port}} as {{$.ASN}};
  neighbor {{$n}} as {{$.NeighbourASN}};
  multihop; strict bind on; passive on; error wait time 1, 5; hold time 30;
  flow4 { table ft4; import all; export none; };
  flow6 { table ft6; import all; export none; };
}
{{- end}}
`

// RecordBIRD starts BIRD and hands every change of its tables to heard, until ctx is done. Its messages are kept in
// bird.mrt in the lab's directory as well (RFC 6396).
func (l *Lab) RecordBIRD(ctx context.Context, address netip.Addr, asn flowspec.ASN, heard func(Heard)) (Router, error) {
	r, err := l.startBIRD(ctx, birdRecordConfig, address, asn)
	if err != nil {
		return nil, err
	}
	down := make(map[string]bool) // protocols whose session ends: what is removed then was not withdrawn
	go follow(ctx, filepath.Join(l.dir, "bird-record.log"), func(line string, at time.Time) error {
		h, ok, err := l.birdRecord(line, down)
		if h.At = at; err == nil && ok {
			heard(h)
		}
		return err
	}, heard)
	return r, nil
}

// birdRecord reads one line of BIRD's log.
func (l *Lab) birdRecord(line string, down map[string]bool) (Heard, bool, error) {
	_, text, ok := strings.Cut(line, "<TRACE> ")
	if !ok {
		return Heard{}, false, nil
	}
	head, rest, _ := strings.Cut(text, " ")
	name, _, _ := strings.Cut(strings.TrimSuffix(head, ":"), ".")
	i, err := strconv.Atoi(strings.TrimPrefix(name, "n"))
	if err != nil || i >= len(l.cfg.Neighbours) {
		return Heard{}, false, nil
	}
	h := Heard{From: l.cfg.Neighbours[i]}
	switch rest {
	case "State changed to up":
		down[name], h.Kind = false, SessionUp
		return h, true, nil
	case "State changed to stop", "State changed to flush", "State changed to down":
		was := down[name]
		down[name], h.Kind = true, SessionDown
		return h, !was, nil
	}
	switch {
	case strings.HasPrefix(rest, "> added "), strings.HasPrefix(rest, "> updated "):
		h.Kind = Announced
	case strings.HasPrefix(rest, "> removed ") && down[name]:
		h.Kind = Lost
	case strings.HasPrefix(rest, "> removed "):
		h.Kind = Withdrawn
	default:
		return Heard{}, false, nil
	}
	_, body, _ := strings.Cut(rest, "{ ")
	body, _, ok = strings.Cut(body, "; }")
	if !ok {
		return Heard{}, false, fmt.Errorf("cannot read %q of bird", line)
	}
	comps, err := parseBIRDMatch(body)
	if err != nil {
		return Heard{}, false, fmt.Errorf("cannot read %q of bird: %w", line, err)
	}
	family := flowspec.IPv4
	if strings.Contains(rest, "flow6 {") {
		family = flowspec.IPv6
	}
	m, err := flowspec.NewMatch(family, comps...)
	h.Key = m.Key()
	return h, true, err
}

// RecordGoBGP starts gobgpd and hands every UPDATE that it takes to heard, and the ends of sessions, until ctx is done.
func (l *Lab) RecordGoBGP(ctx context.Context, address netip.Addr, asn flowspec.ASN, heard func(Heard)) (Router, error) {
	r, err := l.StartGoBGP(ctx, address, asn)
	if err != nil {
		return nil, err
	}
	if _, err := l.Start("gobgp-monitor", "gobgp", "-u", address.String(), "-p", "50051", "-j", "monitor", "adj-in"); err != nil {
		return nil, err
	}
	go follow(ctx, filepath.Join(l.dir, "gobgp-monitor.log"), func(line string, at time.Time) error {
		return gobgpRecord(line, func(h Heard) {
			h.At = at
			heard(h)
		})
	}, heard)
	go follow(ctx, filepath.Join(l.dir, "gobgpd.log"), func(line string, at time.Time) error {
		var in struct {
			Key netip.Addr `json:"Key"`
			Msg string     `json:"msg"`
		}
		if json.Unmarshal([]byte(line), &in) != nil || !in.Key.IsValid() {
			return nil // other lines have no address, or are not JSON
		}
		switch in.Msg {
		case "Peer Up":
			heard(Heard{At: at, From: in.Key, Kind: SessionUp})
		case "Peer Down":
			heard(Heard{At: at, From: in.Key, Kind: SessionDown})
		}
		return nil
	}, heard)
	return r, nil
}

// gobgpRecord reads one line of "gobgp -j monitor adj-in".
func gobgpRecord(line string, heard func(Heard)) error {
	var paths []struct {
		gobgpPath
		Withdrawal bool
	}
	if err := json.Unmarshal([]byte(line), &paths); err != nil {
		return fmt.Errorf("cannot read %q of gobgpd: %w", line, err)
	}
	for _, p := range paths {
		var comps []flowspec.Component
		for _, v := range p.NLRI.Value {
			c, err := v.component()
			if err != nil {
				return fmt.Errorf("cannot read %q of gobgpd: %w", line, err)
			}
			comps = append(comps, c)
		}
		if len(comps) == 0 {
			continue // an End-of-RIB marker
		}
		family := flowspec.IPv4
		if comps[0].Prefix.Addr().Is6() {
			family = flowspec.IPv6
		}
		m, err := flowspec.NewMatch(family, comps...)
		if err != nil {
			return fmt.Errorf("cannot read %q of gobgpd: %w", line, err)
		}
		h := Heard{From: p.NeighborIP, Key: m.Key()}
		if p.Withdrawal {
			h.Kind = Withdrawn
		}
		heard(h)
	}
	return nil
}

// followEvery is how often a file is looked at for more lines.
const followEvery = 20 * time.Millisecond

// follow hands each line that is appended to a file to take, until ctx is done. A line that cannot be read ends it with an
// event of no neighbour, which nobody can take for a rule.
func follow(ctx context.Context, path string, take func(line string, at time.Time) error, heard func(Heard)) {
	var rest []byte
	var offset int64
	buf := make([]byte, 64<<10)
	for Pause(ctx, followEvery) == nil {
		f, err := os.Open(path)
		if err != nil {
			continue // not there yet
		}
		for {
			n, err := f.ReadAt(buf, offset)
			offset += int64(n)
			at := time.Now()
			rest = append(rest, buf[:n]...)
			for {
				line, after, ok := bytes.Cut(rest, []byte("\n"))
				if !ok {
					break
				}
				if len(line) > 0 && take(string(line), at) != nil {
					heard(Heard{At: at, Kind: Withdrawn, Key: flowspec.Key("unreadable: " + string(line))})
				}
				rest = after
			}
			if err != nil {
				break
			}
		}
		_ = f.Close() // only read
	}
}
