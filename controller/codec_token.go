package controller

import (
	"github.com/tidegate/tidegate/policy"
	raftv1 "github.com/tidegate/tidegate/proto/tidegate/raft/v1"
)

// packToken is packChange for bearer tokens; nil for any other change.
func packToken(ch policy.Change) *raftv1.Change {
	switch ch := ch.(type) {
	case *policy.PutToken:
		t := &ch.Token
		return &raftv1.Change{Change: &raftv1.Change_PutToken{PutToken: &raftv1.PutToken{Token: &raftv1.Token{
			Name: t.Name, Role: t.Role, Customer: string(t.Customer), Source: t.Source, PerSecond: int64(t.PerSecond), Hash: packDigest(t.Hash),
			By: string(t.By), Reason: t.Reason, Created: stamp(t.Created), Expires: stamp(t.Expires), Revoked: stamp(t.Revoked), RevokedBy: string(t.RevokedBy),
		}}}}
	case *policy.RevokeToken:
		return &raftv1.Change{Change: &raftv1.Change_RevokeToken{RevokeToken: &raftv1.RevokeToken{Name: ch.Name}}}
	}
	return nil
}

// token is the way back; nil for any other change.
func (c *codec) token(ch *raftv1.Change) policy.Change {
	switch ch := ch.GetChange().(type) {
	case *raftv1.Change_PutToken:
		t := ch.PutToken.GetToken()
		return &policy.PutToken{Token: policy.Token{
			Name: t.GetName(), Role: t.GetRole(), Customer: policy.CustomerID(t.GetCustomer()), Source: t.GetSource(),
			PerSecond: number[int](c, t.GetPerSecond()), Hash: c.digest(t.GetHash()), By: policy.Principal(t.GetBy()), Reason: t.GetReason(),
			Created: c.time(t.GetCreated()), Expires: c.time(t.GetExpires()), Revoked: c.time(t.GetRevoked()), RevokedBy: policy.Principal(t.GetRevokedBy()),
		}}
	case *raftv1.Change_RevokeToken:
		return &policy.RevokeToken{Name: ch.RevokeToken.GetName()}
	}
	return nil
}
