// Package fastnetmon turns the calls that FastNetMon Community 1.2.x makes of its notify_script into signals. It owns the
// reading of the arguments and of the text on standard input, the choice of a vector, and the memory, on disk, of which
// attack each victim is under, so that the end names the attack that the start named. It knows no flags and prints
// nothing: `tidegate signal fastnetmon` does.
//
// The script is called once when a victim is banned, once more for IPv4 when packets have been collected
// (attack_details), and once when the ban is over. The text was captured from Debian's FastNetMon 1.2.4; see testdata.
package fastnetmon

import (
	"fmt"
	"net/netip"
	"strconv"
)

// Action is why FastNetMon calls.
type Action string

// The actions.
const (
	Ban     Action = "ban"            // an attack begins
	Details Action = "attack_details" // more is known of it
	Unban   Action = "unban"          // it is over; nothing comes on standard input
)

// Call is the four arguments.
type Call struct {
	Victim   netip.Addr
	Outgoing bool    // the victim sends more than it gets
	PPS      float64 // packets per second when the ban began
	Action   Action
}

// ParseCall reads the arguments VICTIM, incoming|outgoing, PPS, ban|attack_details|unban. IPv6 addresses come padded with
// zeros.
func ParseCall(args []string) (Call, error) {
	if len(args) != 4 {
		return Call{}, fmt.Errorf("cannot read %d arguments: want VICTIM incoming|outgoing PPS ban|attack_details|unban", len(args))
	}
	victim, err := netip.ParseAddr(args[0])
	if err != nil || victim.Zone() != "" || victim.IsUnspecified() {
		return Call{}, fmt.Errorf("cannot read victim %q: it is not the address of a host", args[0])
	}
	c := Call{Victim: victim.Unmap(), Action: Action(args[3])}
	switch args[1] {
	case "incoming":
	case "outgoing":
		c.Outgoing = true
	default:
		return Call{}, fmt.Errorf("cannot read direction %q: want incoming or outgoing", args[1])
	}
	pps, err := strconv.ParseUint(args[2], 10, 53)
	if err != nil {
		return Call{}, fmt.Errorf("cannot read packets per second %q: want a whole number", args[2])
	}
	c.PPS = float64(pps)
	switch c.Action {
	case Ban, Details, Unban:
		return c, nil
	default:
		return Call{}, fmt.Errorf("cannot read action %q: want ban, attack_details or unban", args[3])
	}
}
