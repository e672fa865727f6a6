package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/tidegate/tidegate/policy"
)

// TokenFile is the name of the file in a TLS directory that holds a bearer token in place of a certificate and a key.
const TokenFile = "token"

// Authorization is the metadata that holds a bearer token, as "Bearer TOKEN" (RFC 6750 section 2.1).
const Authorization = "authorization"

// A token is tokenMark, the cluster, its name and the secret, with tokenCut in between: nothing of this can stand in a name,
// and all of it in a header (b64token of RFC 6750).
const (
	tokenMark   = "tdg"
	tokenCut    = "~"
	secretBytes = 32
	maxToken    = len(tokenMark) + 3 + 2*MaxName + 43
)

// NewToken draws a token for a cluster. Its secret has 256 random bits, so that its plain hash tells nothing of it.
func NewToken(cluster, name string) (string, error) {
	for _, n := range []string{cluster, name} {
		if err := CheckName(n); err != nil {
			return "", fmt.Errorf("cannot make a token: %w", err)
		}
	}
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // it never fails
	return strings.Join([]string{tokenMark, cluster, name, base64.RawURLEncoding.EncodeToString(secret)}, tokenCut), nil
}

// TokenHash is what a cluster knows of a token.
func TokenHash(token string) [32]byte { return sha256.Sum256([]byte(token)) }

// ParseToken returns the cluster and the name that a token states. Its errors hold nothing of the token.
func ParseToken(token string) (cluster, name string, err error) {
	parts := strings.Split(token, tokenCut)
	if len(token) > maxToken || len(parts) != 4 || parts[0] != tokenMark || CheckName(parts[1]) != nil || CheckName(parts[2]) != nil {
		return "", "", fmt.Errorf("cannot read token: %w: want %s~CLUSTER~NAME~SECRET", ErrIdentity, tokenMark)
	}
	if secret, err := base64.RawURLEncoding.Strict().DecodeString(parts[3]); err != nil || len(secret) != secretBytes {
		return "", "", fmt.Errorf("cannot read token: %w: its secret is not %d octets in base64url", ErrIdentity, secretBytes)
	}
	return parts[1], parts[2], nil
}

// TokenBook knows the tokens of the cluster by their hashes.
type TokenBook interface {
	Token(name string) (policy.Token, bool)
}

// errToken is the one answer to every token that is not good, whatever it lacks.
var errToken = fmt.Errorf("cannot tell who is calling: %w: the token is not known here, or is not good any more", ErrIdentity)

// byToken reads the identity from the bearer token of a call.
func (a *Authenticator) byToken(ctx context.Context) (Identity, int, error) {
	list := metadata.ValueFromIncomingContext(ctx, Authorization)
	if len(list) == 0 {
		return Identity{}, 0, fmt.Errorf("cannot tell who is calling: %w: no verified client certificate, and no token", ErrIdentity)
	}
	scheme, text, _ := strings.Cut(list[0], " ")
	if len(list) != 1 || !strings.EqualFold(scheme, "Bearer") {
		return Identity{}, 0, fmt.Errorf("cannot tell who is calling: %w: want one %s: Bearer TOKEN", ErrIdentity, Authorization)
	}
	cluster, name, err := ParseToken(text)
	if err != nil {
		return Identity{}, 0, err
	}
	if cluster != a.Cluster {
		return Identity{}, 0, fmt.Errorf("cannot use token: %w: it belongs to cluster %q, this is %q", ErrIdentity, cluster, a.Cluster)
	}
	hash, known := TokenHash(text), policy.Token{}
	if a.Tokens != nil {
		known, _ = a.Tokens.Token(name)
	}
	// Of a name that is not known the hash is zero, which no token has.
	if subtle.ConstantTimeCompare(hash[:], known.Hash[:]) != 1 {
		return Identity{}, 0, errToken
	}
	return a.tokenIdentity(&known)
}

// tokenIdentity is who calls with a token, if it is good now.
func (a *Authenticator) tokenIdentity(t *policy.Token) (Identity, int, error) {
	if !t.Good(a.now()) {
		return Identity{}, 0, errToken
	}
	id, err := ParseIdentity(string(t.Principal()))
	return id, t.PerSecond, err
}

// stillGood looks up the token by which a forwarded caller is known: it may have been revoked since the other node looked.
func (a *Authenticator) stillGood(id Identity) (int, error) {
	if a.Tokens == nil {
		return 0, errToken
	}
	t, ok := a.Tokens.Token(id.Token)
	if !ok || t.Principal() != id.Principal() {
		return 0, errToken
	}
	_, perSecond, err := a.tokenIdentity(&t)
	return perSecond, err
}

func (a *Authenticator) now() time.Time {
	if a.Now == nil {
		return time.Now()
	}
	return a.Now()
}

// Ends returns when what a caller is known by ends, and whether it has ended: a certificate never does, as far as this knows.
func (a *Authenticator) Ends(id Identity) (at time.Time, ended bool) {
	if id.Token == "" {
		return time.Time{}, false
	}
	if _, err := a.stillGood(id); err != nil {
		return time.Time{}, true
	}
	t, _ := a.Tokens.Token(id.Token)
	return t.Expires, false
}

// Bearer is a token on its way to a cluster; it goes over TLS only.
type Bearer string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b Bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{Authorization: "Bearer " + string(b)}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (Bearer) RequireTransportSecurity() bool { return true }

// String keeps the token out of logs.
func (Bearer) String() string { return "(a token)" }

// GoString keeps the token out of logs.
func (Bearer) GoString() string { return "(a token)" }

var _ credentials.PerRPCCredentials = Bearer("")

// ClientFrom returns the configuration of a client of the API from a directory with ca.pem and either cert.pem and key.pem or
// token. With a token the bearer is not empty.
func ClientFrom(dir string) (cfg *tls.Config, bearer Bearer, cluster string, err error) {
	f := FilesIn(dir)
	text, err := os.ReadFile(filepath.Join(dir, TokenFile))
	if errors.Is(err, fs.ErrNotExist) {
		cfg, _, cluster, err = ClientTLS(f)
		return cfg, "", cluster, err
	}
	if err != nil {
		return nil, "", "", fmt.Errorf("cannot read token: %w", err)
	}
	if _, err := os.Stat(f.Cert); err == nil {
		return nil, "", "", fmt.Errorf("%q holds both %s and %s: who is calling? keep one of them", dir, CertFile, TokenFile)
	}
	token := strings.TrimSpace(string(text))
	cluster, _, err = ParseToken(token)
	if err != nil {
		return nil, "", "", fmt.Errorf("%q: %w", filepath.Join(dir, TokenFile), err)
	}
	pool, err := poolOf(f.CA)
	if err != nil {
		return nil, "", "", err
	}
	cfg = clientConfig(tls.Certificate{}, pool, cluster)
	cfg.Certificates = nil
	return cfg, Bearer(token), cluster, nil
}
