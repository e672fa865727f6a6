package api

import (
	"context"
	"encoding/hex"
	"errors"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// tokenVersion is the version of bearer tokens that this program knows.
const tokenVersion = 1

// ReasonTokensTooEarly is a first token while not every node runs a version that knows tokens.
const ReasonTokensTooEarly = "tokens_too_early"

type tokenService struct {
	tidegatev1.UnimplementedTokenServiceServer
	*Server
}

// book is the tokens of the state that the node has.
type book struct{ View }

// Token implements auth.TokenBook.
func (b book) Token(name string) (policy.Token, bool) { return b.State().Token(name) }

// CreateToken makes a token known by its hash.
func (s *tokenService) CreateToken(ctx context.Context, req *tidegatev1.CreateTokenRequest) (*tidegatev1.CreateTokenResponse, error) {
	const method = tidegatev1.TokenService_CreateToken_FullMethodName
	return onLeaderFirst(ctx, s.Server, method, req, func(ctx context.Context) (*tidegatev1.CreateTokenResponse, error) {
		v := &violations{}
		cmd, err := command(ctx, v, req)
		if err != nil {
			return nil, err
		}
		r := &policy.CreateTokenRequest{Lifetime: v.duration("lifetime", req.GetLifetime(), true), Token: policy.Token{
			Name: req.GetName(), Role: req.GetRole(), Customer: policy.CustomerID(req.GetCustomer()), Source: req.GetSource(), PerSecond: int(req.GetPerSecond()),
		}}
		hash, err := hex.DecodeString(req.GetHash())
		if err != nil || len(hash) != len(r.Token.Hash) {
			v.add("hash", "it is not 64 hexadecimal digits", "send the SHA-256 of the token, never the token")
		} else {
			r.Token.Hash = [32]byte(hash)
		}
		if err := v.err(); err != nil {
			return nil, err
		}
		if s.ctrl.State().TokenCount() == 0 {
			if err := s.allKnow(ctx, ReasonTokensTooEarly, func(n *tidegatev1.Node) bool { return n.GetTokenVersion() >= tokenVersion }); err != nil {
				return nil, err
			}
		}
		cmd.Request = r
		out, err := s.ctrl.Write(ctx, cmd)
		if err != nil {
			return nil, err
		}
		if err := refusal(out.Decision); err != nil {
			return nil, err
		}
		return &tidegatev1.CreateTokenResponse{Token: s.named(req.GetName()), Write: writeInfo(out)}, nil
	})
}

// named is a token as it is shown; nil if there is none.
func (s *tokenService) named(name string) *tidegatev1.Token {
	t, ok := s.ctrl.State().Token(name)
	if !ok {
		return nil
	}
	return s.tokenProto(&t)
}

// tokenProto is a token without its hash: nobody needs that.
func (s *tokenService) tokenProto(t *policy.Token) *tidegatev1.Token {
	state := "good"
	switch {
	case !t.Revoked.IsZero():
		state = "revoked"
	case !t.Good(s.deps.Now()):
		state = "expired"
	}
	return &tidegatev1.Token{
		Name: t.Name, Role: t.Role, Customer: string(t.Customer), Source: t.Source, PerSecond: uint32(t.PerSecond), Principal: string(t.Principal()),
		By: string(t.By), Reason: t.Reason, Created: timeProto(t.Created), Expires: timeProto(t.Expires), Revoked: timeProto(t.Revoked),
		RevokedBy: string(t.RevokedBy), State: state,
	}
}

// ListTokens shows the tokens that are remembered.
func (s *tokenService) ListTokens(context.Context, *tidegatev1.ListTokensRequest) (*tidegatev1.ListTokensResponse, error) {
	st := s.ctrl.State()
	out := &tidegatev1.ListTokensResponse{Read: s.readInfo(st)}
	for t := range st.Tokens() {
		out.Tokens = append(out.Tokens, s.tokenProto(&t))
	}
	return out, nil
}

// RevokeToken ends a token.
func (s *tokenService) RevokeToken(ctx context.Context, req *tidegatev1.RevokeTokenRequest) (*tidegatev1.RevokeTokenResponse, error) {
	return onLeader(ctx, s.Server, tidegatev1.TokenService_RevokeToken_FullMethodName, req, func(ctx context.Context) (*tidegatev1.RevokeTokenResponse, error) {
		v := &violations{}
		cmd, err := command(ctx, v, req)
		if err != nil {
			return nil, err
		}
		if err := auth.CheckName(req.GetName()); err != nil {
			v.add("name", err.Error(), "name a token")
		}
		if err := v.err(); err != nil {
			return nil, err
		}
		cmd.Request = &policy.RevokeTokenRequest{Name: req.GetName()}
		out, err := s.ctrl.Write(ctx, cmd)
		if err != nil {
			return nil, err
		}
		if err := refusal(out.Decision); err != nil {
			return nil, err
		}
		return &tidegatev1.RevokeTokenResponse{Token: s.named(req.GetName()), Write: writeInfo(out), Text: out.Decision.Verdict.Reason.Text}, nil
	})
}

// errTokenEnded is why a stream ends whose token does.
var errTokenEnded = errors.New("the token is not good any more")
