// Package auth says who a caller is and what it may do. It owns the identity (from the URI in a verified client
// certificate), the role table of every RPC, the belief in forwarded calls, and the TLS configurations that make
// certificates verified. It does not make certificates (api/auth/pki does) and knows nothing of what an RPC means.
//
// An identity is the one URI of the form tidegate://CLUSTER/ROLE/NAME (of a customer tidegate://CLUSTER/customer/CUSTOMER/NAME) among the certificate's subject alternative
// names. The common name, DNS names and addresses say nothing about who somebody is. What a role may call stands in
// one table, by full method name; a method that is not in the table is denied to everybody.
//
// Callers are api (interceptors), cmd (TLS configurations) and the demo.
package auth

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/policy"
)

// Scheme is the scheme of the URI that names an identity.
const Scheme = "tidegate"

// MaxName bounds the length of a cluster's and of a principal's name, in octets.
const MaxName = 64

// Role says what kind of caller somebody is.
type Role string

// The roles.
const (
	Member   Role = "member"   // a node of the cluster
	Admin    Role = "admin"    // keeps the inventory, and everything that an operator does
	Operator Role = "operator" // starts and ends mitigations
	Viewer   Role = "viewer"   // looks
	Detector Role = "detector" // reports signals
	Approver Role = "approver" // looks, and approves or rejects what others asked for
	Customer Role = "customer" // sees and drives what is its own, and nothing else
)

// AllRoles returns the roles, in a fixed order.
func AllRoles() []Role { return []Role{Member, Admin, Operator, Viewer, Detector, Approver, Customer} }

// Valid reports whether r is one of AllRoles.
func (r Role) Valid() bool { return slices.Contains(AllRoles(), r) }

// Identity is who somebody is, inside one cluster.
type Identity struct {
	Role Role
	// Name is the name of the principal; of role customer it is CUSTOMER/NAME: whose it is, and who.
	Name string
	// Token is the name of the bearer token by which somebody is known; empty for a certificate.
	Token string
}

// CustomerID returns the customer that somebody of role customer belongs to; empty for every other role.
func (i Identity) CustomerID() policy.CustomerID {
	id, _ := i.Principal().Scope()
	return id
}

// Principal returns the identity as the domain knows it: role/name.
func (i Identity) Principal() policy.Principal { return policy.Principal(i.String()) }

// String returns role/name; of a bearer token role/name;token=TOKEN.
func (i Identity) String() string {
	s := string(i.Role) + "/" + i.Name
	if i.Token != "" {
		s += byToken + i.Token
	}
	return s
}

// byToken stands before the name of a token.
const byToken = ";token="

// URI returns the identity as it stands in a certificate of the cluster.
func (i Identity) URI(cluster string) *url.URL {
	return &url.URL{Scheme: Scheme, Host: cluster, Path: "/" + i.String()}
}

// ErrIdentity is wrapped by every error about a certificate or a text that names nobody.
var ErrIdentity = errors.New("no usable identity")

// ParseIdentity reads role/name, or customer/CUSTOMER/name, as in the metadata of a forwarded call.
func ParseIdentity(s string) (Identity, error) {
	who, token, byToken := strings.Cut(s, byToken)
	role, name, ok := strings.Cut(who, "/")
	if !ok {
		return Identity{}, fmt.Errorf("cannot read identity %q: %w: want role/name", clip(s), ErrIdentity)
	}
	id := Identity{Role: Role(role), Name: name, Token: token}
	if err := CheckName(token); byToken && err != nil {
		return Identity{}, fmt.Errorf("cannot read identity %q: %w: token: %w", clip(s), ErrIdentity, err)
	}
	if !id.Role.Valid() {
		return Identity{}, fmt.Errorf("cannot read identity %q: %w: %q is not a role (%s)", clip(s), ErrIdentity, clip(role), roleList())
	}
	if id.Role == Customer {
		var customer string
		if customer, name, ok = strings.Cut(name, "/"); !ok {
			return Identity{}, fmt.Errorf("cannot read identity %q: %w: want customer/CUSTOMER/NAME", clip(s), ErrIdentity)
		}
		if err := CheckName(customer); err != nil {
			return Identity{}, fmt.Errorf("cannot read identity %q: %w: %w", clip(s), ErrIdentity, err)
		}
	}
	if err := CheckName(name); err != nil {
		return Identity{}, fmt.Errorf("cannot read identity %q: %w: %w", clip(s), ErrIdentity, err)
	}
	return id, nil
}

// CheckName reports whether s can be the name of a cluster or of a principal: 1 to MaxName letters, digits, dots,
// hyphens, underscores, of which the first is a letter or a digit. Nothing in it needs escaping in a URI, a log line,
// a file name or a metric.
func CheckName(s string) error {
	if s == "" {
		return errors.New("the name is empty")
	}
	if len(s) > MaxName {
		return fmt.Errorf("the name has %d characters; at most %d", len(s), MaxName)
	}
	for i, c := range []byte(s) {
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune(".-_", rune(c))) {
			return fmt.Errorf("character %q at position %d of the name; letters, digits and, not at the start, . - _ are allowed", c, i+1)
		}
	}
	return nil
}

// FromCertificate returns who a verified certificate of the cluster names. The certificate must hold exactly one URI
// of the scheme tidegate, of this cluster. It does not verify the certificate: TLS has done that.
func FromCertificate(cert *x509.Certificate, cluster string) (Identity, error) {
	id, in, err := readCertificate(cert)
	if err != nil {
		return Identity{}, err
	}
	if in != cluster {
		return Identity{}, fmt.Errorf("cannot use certificate: %w: it belongs to cluster %q, this is %q", ErrIdentity, clip(in), cluster)
	}
	return id, nil
}

// readCertificate returns the identity in cert and its cluster.
func readCertificate(cert *x509.Certificate) (Identity, string, error) {
	if cert == nil {
		return Identity{}, "", fmt.Errorf("cannot use certificate: %w: there is none", ErrIdentity)
	}
	var found *url.URL
	for _, u := range cert.URIs {
		if !strings.EqualFold(u.Scheme, Scheme) {
			continue
		}
		if found != nil {
			return Identity{}, "", fmt.Errorf("cannot use certificate: %w: it has more than one %s:// URI", ErrIdentity, Scheme)
		}
		found = u
	}
	if found == nil {
		return Identity{}, "", fmt.Errorf("cannot use certificate: %w: it has no %s://CLUSTER/ROLE/NAME URI", ErrIdentity, Scheme)
	}
	id, err := ParseIdentity(strings.TrimPrefix(found.Path, "/"))
	if err != nil {
		return Identity{}, "", fmt.Errorf("cannot use certificate: %w", err)
	}
	// Whatever else the URI holds (a port, a user, a query, an escape, another spelling of the scheme) would be a
	// second way to write the same identity, or a part that nobody checks.
	if id.Token != "" {
		return Identity{}, "", fmt.Errorf("cannot use certificate: %w: it names a token", ErrIdentity)
	}
	if err := CheckName(found.Host); err != nil || found.String() != id.URI(found.Host).String() || found.Scheme != Scheme {
		return Identity{}, "", fmt.Errorf("cannot use certificate: %w: URI %q is not of the form %s://CLUSTER/ROLE/NAME", ErrIdentity, clip(found.String()), Scheme)
	}
	return id, found.Host, nil
}

// Caller is who made a call: the effective identity and, for a forwarded call, the node that forwarded it.
type Caller struct {
	Identity
	// Via is the name of the member that forwarded the call; empty for a direct one.
	Via string
	// PerSecond bounds the calls of the token by which the caller is known; 0: what its role has.
	PerSecond int
}

type callerKey struct{}

// WithCaller returns a context that carries c.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom returns the caller that the interceptors have put into ctx, and whether there is one.
func CallerFrom(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}

func roleList() string {
	var names []string
	for _, r := range AllRoles() {
		names = append(names, string(r))
	}
	return strings.Join(names, ", ")
}

// clip shortens what a stranger wrote before it stands in a message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
