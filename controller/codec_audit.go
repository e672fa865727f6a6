package controller

import (
	"github.com/tidegate/tidegate/policy"
	raftv1 "github.com/tidegate/tidegate/proto/tidegate/raft/v1"
)

func packAudit(r *policy.AuditRecord) *raftv1.AuditRecord {
	return &raftv1.AuditRecord{
		Seq: r.Seq, Index: uint64(r.Index), At: stamp(r.At), By: string(r.By), RequestId: string(r.RequestID), Reason: r.Reason,
		Kinds: list(r.Kinds, func(k policy.AuditKind) *raftv1.AuditKind {
			return &raftv1.AuditKind{Kind: k.Kind, Count: uint64(k.Count)}
		}),
		Objects: r.Objects, More: uint64(r.More), Digest: packDigest(r.Digest), Prev: packDigest(r.Prev), Hash: packDigest(r.Hash),
	}
}

func (c *codec) audit(r *raftv1.AuditRecord) *policy.AuditRecord {
	return &policy.AuditRecord{
		Seq: r.GetSeq(), Index: policy.Index(r.GetIndex()), At: c.time(r.GetAt()), By: policy.Principal(r.GetBy()),
		RequestID: policy.RequestID(r.GetRequestId()), Reason: r.GetReason(),
		Kinds: list(r.GetKinds(), func(k *raftv1.AuditKind) policy.AuditKind {
			return policy.AuditKind{Kind: k.GetKind(), Count: number[int](c, k.GetCount())}
		}),
		Objects: r.GetObjects(), More: number[int](c, r.GetMore()),
		Digest: c.digest(r.GetDigest()), Prev: c.digest(r.GetPrev()), Hash: c.digest(r.GetHash()),
	}
}
