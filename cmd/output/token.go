package output

import pb "github.com/tidegate/tidegate/proto/tidegate/v1"

// TokenMade prints a token that was made. Token is itself, to be shown this once; empty: it stands in the directory.
func (p *Printer) TokenMade(r *pb.CreateTokenResponse, token, dir string) error {
	t := r.GetToken()
	if token != "" {
		if done, err := p.Value(map[string]any{"name": t.GetName(), "principal": t.GetPrincipal(), "expires": t.GetExpires().AsTime(), "token": token}); done {
			return err
		}
	} else if done, err := p.message(r); done {
		return err
	}
	p.Sentence("Token %s is good until %s; its calls are those of %s.", t.GetName(), p.clock(t.GetExpires()), t.GetPrincipal())
	if token == "" {
		p.Sentence("It is in %s, a --tls-dir, and nowhere else.", dir)
		return nil
	}
	p.Sentence("It is shown this once:")
	p.Sentence("%s", token)
	return nil
}

// Tokens prints the tokens that are remembered.
func (p *Printer) Tokens(r *pb.ListTokensResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	t := &table{head: []string{"TOKEN", "PRINCIPAL", "STATE", "UNTIL", "BY", "REASON"}, empty: "There are no tokens."}
	for _, k := range r.GetTokens() {
		state, until := cell{k.GetState(), green}, k.GetExpires()
		switch k.GetState() {
		case "revoked":
			state, until = cell{"revoked by " + k.GetRevokedBy(), yellow}, k.GetRevoked()
		case "expired":
			state = cell{"expired", yellow}
		}
		t.add(cell{k.GetName(), bold}, cell{text: k.GetPrincipal()}, state, cell{text: p.clock(until)}, cell{text: k.GetBy()}, cell{text: orDash(cut(k.GetReason(), 60))})
	}
	p.table(t)
	p.stale(r.GetRead())
	return nil
}

// TokenRevoked prints what a revocation came to.
func (p *Printer) TokenRevoked(r *pb.RevokeTokenResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	p.warn(normal, "%s.", r.GetText())
	return nil
}
