package policy

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// Token is a bearer token: what stands in place of a certificate for those who cannot hold one. The State has its hash, and
// never the token.
type Token struct {
	Name     string
	Role     string     // one of TokenRoles
	Customer CustomerID // whose, of role customer
	Source   string     // the detector that it reports as, of role detector; empty: its name
	// PerSecond bounds its calls on each node; 0: what its role has.
	PerSecond int
	Hash      [32]byte // SHA-256 of the token
	By        Principal
	Reason    string
	Created   time.Time
	Expires   time.Time
	Revoked   time.Time // zero: it is not
	RevokedBy Principal
}

// TokenRoles are the roles that a token may have. A member shows a certificate, since it speaks for everybody; so do an
// admin, who makes tokens, and an approver, who must be somebody else than who asked.
func TokenRoles() []string { return []string{"viewer", "operator", "detector", "customer"} }

// Bounds of tokens.
const (
	MaxTokens        = 1000                 // remembered ones, good or not
	MaxTokenLifetime = 366 * 24 * time.Hour // from when it is made
	TokenMemory      = 30 * 24 * time.Hour  // how long a token is remembered that is not good any more
)

// maxCalls bounds what may be written as calls per second.
const maxCalls = 100_000

// byToken is what follows in a principal that is known by a token: the token's name.
const byToken = ";token="

// Principal is who calls with the token.
func (t *Token) Principal() Principal {
	who := t.Name
	switch {
	case t.Customer != "":
		who = string(t.Customer) + "/" + t.Name
	case t.Source != "":
		who = t.Source
	}
	return Principal(t.Role + "/" + who + byToken + t.Name)
}

// Token returns the name of the token by which p is known; empty for a certificate.
func (p Principal) Token() string {
	_, name, _ := strings.Cut(string(p), byToken)
	return name
}

// Good reports whether the token may be used at now.
func (t *Token) Good(now time.Time) bool { return t.Revoked.IsZero() && now.Before(t.Expires) }

// forgotten is when the token is forgotten.
func (t *Token) forgotten() time.Time {
	if !t.Revoked.IsZero() && t.Revoked.Before(t.Expires) {
		return t.Revoked.Add(TokenMemory)
	}
	return t.Expires.Add(TokenMemory)
}

// PutToken adds a token. State.Apply sets Created and By.
type PutToken struct{ Token Token }

// RevokeToken ends a token; one that is not known is no error.
type RevokeToken struct{ Name string }

func (*PutToken) isChange()             {}
func (*PutToken) isRecord()             {}
func (*RevokeToken) isChange()          {}
func (c *PutToken) auditObject() string { return "Token/" + c.Token.Name }

func (c *RevokeToken) auditObject() string { return "Token/" + c.Name }

// CreateTokenRequest makes a token that is good for Lifetime.
type CreateTokenRequest struct {
	Token    Token // Name, Role, Customer, Source, PerSecond and Hash
	Lifetime time.Duration
}

// RevokeTokenRequest ends a token at once.
type RevokeTokenRequest struct{ Name string }

func (*CreateTokenRequest) isRequest() {}
func (*RevokeTokenRequest) isRequest() {}

// Token returns a token by name, good or not.
func (s *State) Token(name string) (Token, bool) {
	t, ok := s.tokens.get([]byte(name))
	if !ok {
		return Token{}, false
	}
	return *t, true
}

// Tokens yields the tokens that are remembered, by name.
func (s *State) Tokens() iter.Seq[Token] {
	return func(yield func(Token) bool) {
		for t := range s.tokens.values() {
			if !yield(*t) {
				return
			}
		}
	}
}

// TokenCount returns how many tokens are remembered.
func (s *State) TokenCount() int { return s.tokens.n }

func tokenEndKey(t *Token) []byte { return append(appendTime(nil, t.forgotten()), t.Name...) }

func (s *State) putToken(t *Token) error {
	if t.Name == "" || t.Hash == [32]byte{} {
		return fmt.Errorf("cannot put token without a name and a hash: %w", ErrBadChange)
	}
	if old, ok := s.tokens.get([]byte(t.Name)); ok {
		s.tokensByEnd.remove(tokenEndKey(old))
	}
	s.tokens.set([]byte(t.Name), t)
	s.tokensByEnd.set(tokenEndKey(t), t)
	return nil
}

// changeToken carries out a change of tokens.
func (s *State) changeToken(c Change, e Entry) error {
	switch c := c.(type) {
	case *PutToken:
		if c == nil {
			return fmt.Errorf("cannot put token: %w", ErrBadChange)
		}
		t := c.Token
		t.Created, t.By = s.at, e.By
		return s.putToken(&t)
	case *RevokeToken:
		if c == nil {
			return fmt.Errorf("cannot revoke token: %w", ErrBadChange)
		}
		old, ok := s.tokens.get([]byte(c.Name))
		if !ok || !old.Revoked.IsZero() {
			return nil
		}
		t := *old
		t.Revoked, t.RevokedBy = s.at, e.By
		return s.putToken(&t)
	}
	return fmt.Errorf("cannot carry out change of type %T: %w", c, ErrUnknownChange)
}

func (s *State) pruneTokens() {
	for s.tokensByEnd.n > 0 {
		k, t, _ := s.tokensByEnd.min()
		if s.at.Before(t.forgotten()) {
			return
		}
		s.tokensByEnd.remove(k)
		s.tokens.remove([]byte(t.Name))
	}
}

// tokenOf checks whom a token stands for: a customer, or a detector.
func (vs *violations) tokenOf(s *State, t *Token) {
	switch _, known := s.Customer(t.Customer); {
	case t.Role != "customer" && t.Customer != "":
		vs.add("customer", "leave it out, or write role customer", "a token of role %s belongs to no customer", clip(t.Role))
	case t.Role == "customer" && !known:
		vs.add("customer", "name a customer of the inventory", "there is no customer %q", clip(string(t.Customer)))
	case t.Role == "customer" && !isName(string(t.Customer)):
		vs.add("customer", "give the customer an id of letters, digits, . - and _", "%q cannot stand in an identity", clip(string(t.Customer)))
	}
	switch {
	case t.Source == "":
	case t.Role != "detector":
		vs.add("source", "leave it out, or write role detector", "a token of role %s reports nothing", clip(t.Role))
	case !isName(t.Source):
		vs.add("source", "name a detector", "%q is not a name", clip(t.Source))
	}
}

func (r *CreateTokenRequest) validate(s *State) []Violation {
	var vs violations
	t := &r.Token
	if !isName(t.Name) {
		vs.add("name", "write letters, digits, . - and _", "%q is not a name", clip(t.Name))
	}
	if !slices.Contains(TokenRoles(), t.Role) {
		vs.add("role", "write "+strings.Join(TokenRoles(), ", ")+"; members, admins and approvers show a certificate", "a token has no role %q", clip(t.Role))
	}
	vs.tokenOf(s, t)
	if r.Lifetime < shortestLife || r.Lifetime > MaxTokenLifetime {
		vs.add("lifetime", fmt.Sprintf("write %s to %s", span(shortestLife), span(MaxTokenLifetime)), "a token cannot be good for %s", r.Lifetime)
	}
	if t.PerSecond < 0 || t.PerSecond > maxCalls {
		vs.add("per_second", fmt.Sprintf("write 1 to %d calls a second, or leave it out", maxCalls), "%d is no bound", t.PerSecond)
	}
	if t.Hash == [32]byte{} {
		vs.add("hash", "send the SHA-256 of the token, in hexadecimal digits", "it is missing")
	}
	return vs
}

func decideCreateToken(s *State, r *CreateTokenRequest, e Entry) Decision {
	if vs := r.validate(s); len(vs) > 0 {
		return malformed(vs)
	}
	t := r.Token
	if old, ok := s.tokens.get([]byte(t.Name)); ok {
		return refusef(CodeTokenExists, "token %s exists, or did until lately: made by %s at %s, remembered until %s; choose another name",
			t.Name, old.By, old.Created.UTC().Format(time.RFC3339), old.forgotten().UTC().Format(time.RFC3339))
	}
	for old := range s.tokens.values() {
		if old.Hash == t.Hash {
			return refusef(CodeTokenExists, "token %s has this hash: make a new token", old.Name)
		}
	}
	if s.tokens.n >= MaxTokens {
		return refusef(CodeTokenLimit, "%d tokens are remembered, at most %d are: one that expired or was revoked is forgotten after %s",
			s.tokens.n, MaxTokens, span(TokenMemory))
	}
	t.By, t.Reason, t.Created, t.Expires, t.Revoked, t.RevokedBy = e.By, e.Reason, e.At, e.At.Add(r.Lifetime), time.Time{}, ""
	return Decision{
		Verdict: Verdict{Kind: Mitigated, Reason: Reason{CodeTokenMade, fmt.Sprintf("token %s is good until %s, for %s",
			t.Name, t.Expires.UTC().Format(time.RFC3339), t.Principal())}},
		Changes: []Change{&PutToken{t}},
	}
}

func decideRevokeToken(s *State, r *RevokeTokenRequest) Decision {
	t, ok := s.tokens.get([]byte(r.Name))
	switch {
	case !ok:
		return refusef(CodeUnknownToken, "there is no token %q", clip(r.Name))
	case !t.Revoked.IsZero():
		return observe(CodeNothingToDo, 0, "token %s was revoked by %s at %s", t.Name, t.RevokedBy, t.Revoked.UTC().Format(time.RFC3339))
	}
	return Decision{
		Verdict: Verdict{Kind: Ended, Reason: Reason{CodeTokenRevoked, fmt.Sprintf("token %s of %s is revoked: calls with it are refused from now on", t.Name, t.Principal())}},
		Changes: []Change{&RevokeToken{t.Name}},
	}
}

// samePerson reports whether who approves may be who asked: the same person in any role, or who made the token that asked or
// approves. What is not known any more counts against it.
func (s *State) samePerson(asked, approves Principal) bool {
	if asked.samePerson(approves) {
		return true
	}
	asker, ok := s.behind(asked)
	other, also := s.behind(approves)
	return !ok || !also || asker.samePerson(other)
}

// behind returns who answers for p: who made the token by which it is known, else itself. It is false if the token is not
// known any more.
func (s *State) behind(p Principal) (Principal, bool) {
	name := p.Token()
	if name == "" {
		return p, true
	}
	t, ok := s.tokens.get([]byte(name))
	if !ok {
		return "", false
	}
	return t.By, true
}
