package controller

import (
	"fmt"
	"strings"

	"github.com/hashicorp/raft"
)

// compareMembers tells when the configured members are not those of the cluster. A configuration file is the list with
// which a cluster begins; from then on its members are in the log, and raft passes over the file without a word.
func (c *Controller) compareMembers(r *raft.Raft) error {
	f := r.GetConfiguration()
	if err := f.Error(); err != nil {
		return fmt.Errorf("cannot read stored members: %w", err)
	}
	diff := differences(c.cfg.Members, f.Configuration().Servers)
	if len(diff) == 0 {
		return nil
	}
	text := "the configured members differ from those stored in the data directory, which hold: " + strings.Join(diff, "; ")
	c.detail.Store(&text)
	c.log.Warn("the configured members are not those of the cluster; the stored ones hold", "differences", diff)
	return nil
}

// differences says how the configured members differ from the stored ones, in the order of the one list and the other.
func differences(configured []Member, stored []raft.Server) (out []string) {
	rest := make(map[string]string, len(stored))
	for _, s := range stored {
		rest[string(s.ID)] = string(s.Address)
	}
	for _, m := range configured {
		switch addr, ok := rest[m.ID]; {
		case !ok:
			out = append(out, fmt.Sprintf("%q is configured and not stored", m.ID))
		case addr != m.RaftAddress:
			out = append(out, fmt.Sprintf("%q has raft address %q in the configuration, stored is %q", m.ID, m.RaftAddress, addr))
		}
		delete(rest, m.ID)
	}
	for _, s := range stored {
		if _, left := rest[string(s.ID)]; left {
			out = append(out, fmt.Sprintf("%q at %q is stored and not configured", s.ID, s.Address))
		}
	}
	return out
}
