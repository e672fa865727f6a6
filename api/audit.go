package api

import (
	"context"
	"encoding/hex"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// auditVersion is the version of the audit chain that this program knows.
const auditVersion = 1

// maxAudited bounds the records of one answer, defaultAudited is what an answer has unless told.
const (
	maxAudited     = 10_000
	defaultAudited = 100
)

// AuditFiles is what keeps the audit chain in files on this node.
type AuditFiles interface {
	// Written returns the sequence number of the last record in the files, and what keeps more from being written.
	Written() (seq uint64, failure string)
}

type auditService struct {
	tidegatev1.UnimplementedAuditServiceServer
	*Server
}

// List shows records of the chain.
func (s *auditService) List(_ context.Context, req *tidegatev1.AuditServiceListRequest) (*tidegatev1.AuditServiceListResponse, error) {
	v := &violations{}
	limit := int(req.GetLimit())
	if limit > maxAudited {
		v.add("limit", fmt.Sprintf("%d is more than an answer holds", limit), fmt.Sprintf("ask for at most %d, and go on after the last one", maxAudited))
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	if limit == 0 {
		limit = defaultAudited
	}
	st := s.ctrl.State()
	out := &tidegatev1.AuditServiceListResponse{Read: s.readInfo(st)}
	if head, _ := st.AuditHead(); head != nil {
		out.Newest, out.Oldest = head.Seq, oldestAudit(st)
	}
	for r := range audited(st, req) {
		if len(out.GetRecords()) == limit {
			out.More = true
			break
		}
		rec := auditProto(r)
		rec.Outcome = st.AuditOutcome(r)
		out.Records = append(out.Records, rec)
	}
	return out, nil
}

func oldestAudit(st *policy.State) uint64 {
	for r := range st.AuditFrom(0) {
		return r.Seq
	}
	return 0
}

// audited yields the records that were asked for, in the order that was asked for.
func audited(st *policy.State, req *tidegatev1.AuditServiceListRequest) iter.Seq[*policy.AuditRecord] {
	all := st.AuditFrom(req.GetAfter() + 1)
	if req.GetNewestFirst() {
		list := slices.Collect(all)
		slices.Reverse(list)
		all = slices.Values(list)
	}
	return func(yield func(*policy.AuditRecord) bool) {
		for r := range all {
			if wantsAudit(req, r) && !yield(r) {
				return
			}
		}
	}
}

func wantsAudit(req *tidegatev1.AuditServiceListRequest, r *policy.AuditRecord) bool {
	role, _, _ := strings.Cut(string(r.By), "/")
	kind := func(k policy.AuditKind) bool { return k.Kind == req.GetChange() }
	switch {
	case req.GetSince() != nil && r.At.Before(req.GetSince().AsTime()),
		req.GetBy() != "" && req.GetBy() != string(r.By) && req.GetBy() != role,
		req.GetChange() != "" && !slices.ContainsFunc(r.Kinds, kind),
		req.GetObject() != "" && !slices.Contains(r.Objects, req.GetObject()),
		req.GetWithoutLeases() && len(r.Kinds) == 1 && r.Kinds[0].Kind == "PutLease":
		return false
	}
	return true
}

func auditProto(r *policy.AuditRecord) *tidegatev1.AuditRecord {
	if r == nil {
		return nil
	}
	out := &tidegatev1.AuditRecord{
		Seq: r.Seq, Index: uint64(r.Index), At: timeProto(r.At), By: string(r.By), RequestId: string(r.RequestID), Reason: r.Reason,
		Objects: r.Objects, More: uint32(r.More), Digest: hex.EncodeToString(r.Digest[:]), Prev: hex.EncodeToString(r.Prev[:]),
		Hash: hex.EncodeToString(r.Hash[:]),
	}
	for _, k := range r.Kinds {
		out.Changes = append(out.Changes, &tidegatev1.AuditChange{Kind: k.Kind, Count: uint32(k.Count)})
	}
	return out
}

// AuditRecordFrom is the record that the API shows as in. It fails for what no node sends.
func AuditRecordFrom(in *tidegatev1.AuditRecord) (*policy.AuditRecord, error) {
	out := &policy.AuditRecord{
		Seq: in.GetSeq(), Index: policy.Index(in.GetIndex()), At: in.GetAt().AsTime(), By: policy.Principal(in.GetBy()),
		RequestID: policy.RequestID(in.GetRequestId()), Reason: in.GetReason(), Objects: in.GetObjects(), More: int(in.GetMore()),
	}
	if in.GetAt() == nil {
		out.At = time.Time{}
	}
	for _, c := range in.GetChanges() {
		out.Kinds = append(out.Kinds, policy.AuditKind{Kind: c.GetKind(), Count: int(c.GetCount())})
	}
	for _, d := range []struct {
		text string
		into *[32]byte
	}{{in.GetDigest(), &out.Digest}, {in.GetPrev(), &out.Prev}, {in.GetHash(), &out.Hash}} {
		b, err := hex.DecodeString(d.text)
		if err != nil || len(b) != len(d.into) {
			return nil, fmt.Errorf("cannot read hash %s of audit record %d", quote(d.text), in.GetSeq())
		}
		*d.into = [32]byte(b)
	}
	return out, nil
}

// Verify checks the records that the node holds, and compares one with the caller's.
func (s *auditService) Verify(_ context.Context, req *tidegatev1.VerifyRequest) (*tidegatev1.VerifyResponse, error) {
	st := s.ctrl.State()
	head, _ := st.AuditHead()
	out := &tidegatev1.VerifyResponse{Head: auditProto(head), Oldest: oldestAudit(st), Read: s.readInfo(st)}
	if s.deps.AuditFiles != nil {
		out.FileSeq, out.FileProblem = s.deps.AuditFiles.Written()
	}
	var prev *policy.AuditRecord
	for r := range st.AuditFrom(0) {
		if r.Hash != r.Sum() || prev != nil && !r.Follows(prev) {
			out.Problem = fmt.Sprintf("record %d does not have the hash that it states, or does not follow the one before", r.Seq)
			break
		}
		prev = r
		out.Checked++
	}
	if req.GetSeq() != 0 {
		out.Match = matchAudit(st, req, head)
	}
	return out, nil
}

func matchAudit(st *policy.State, req *tidegatev1.VerifyRequest, head *policy.AuditRecord) tidegatev1.AuditMatch {
	if head == nil || req.GetSeq() > head.Seq {
		return tidegatev1.AuditMatch_AUDIT_MATCH_AHEAD
	}
	for r := range st.AuditFrom(req.GetSeq()) {
		switch {
		case r.Seq != req.GetSeq():
			return tidegatev1.AuditMatch_AUDIT_MATCH_TOO_OLD
		case hex.EncodeToString(r.Hash[:]) == req.GetHash():
			return tidegatev1.AuditMatch_AUDIT_MATCH_SAME
		}
		break
	}
	return tidegatev1.AuditMatch_AUDIT_MATCH_OTHER
}

// Begin begins the chain of a cluster that is older than it.
func (s *auditService) Begin(ctx context.Context, req *tidegatev1.BeginRequest) (*tidegatev1.BeginResponse, error) {
	return onLeaderFirst(ctx, s.Server, tidegatev1.AuditService_Begin_FullMethodName, req, func(ctx context.Context) (*tidegatev1.BeginResponse, error) {
		v := &violations{}
		cmd, err := command(ctx, v, req)
		if err != nil {
			return nil, err
		}
		if err := v.err(); err != nil {
			return nil, err
		}
		if _, begun := s.ctrl.State().AuditHead(); !begun {
			if err := s.allKnow(ctx, ReasonAuditTooEarly, func(n *tidegatev1.Node) bool { return n.GetAuditVersion() >= auditVersion }); err != nil {
				return nil, err
			}
		}
		cmd.Request = &policy.BeginAuditRequest{}
		out, err := s.ctrl.Write(ctx, cmd)
		if err != nil {
			return nil, err
		}
		if err := refusal(out.Decision); err != nil {
			return nil, err
		}
		return &tidegatev1.BeginResponse{Write: writeInfo(out)}, nil
	})
}

// allKnow refuses as long as a node may run a version that would stop at a record that it does not know.
func (s *Server) allKnow(ctx context.Context, reason string, knows func(*tidegatev1.Node) bool) error {
	var not []string
	for _, n := range s.askAll(ctx, false) {
		switch {
		case n.node == nil:
			not = append(not, n.member.ID+" (does not answer)")
		case !knows(n.node):
			not = append(not, n.member.ID+" (version "+n.node.GetVersion()+")")
		}
	}
	if len(not) == 0 {
		return nil
	}
	return withInfo(codes.FailedPrecondition, reason, fmt.Sprintf("an older version stops at a record that it does not know, "+
		"and not every node is known to run this one: %s; upgrade or start them first", strings.Join(not, ", "))).Err()
}

// elsewhere marks a call whose answer is another node's: that node counts what it refuses.
type elsewhereKey struct{}

func withElsewhere(ctx context.Context) (context.Context, *atomic.Bool) {
	b := new(atomic.Bool)
	return context.WithValue(ctx, elsewhereKey{}, b), b
}

func markElsewhere(ctx context.Context) {
	if b, ok := ctx.Value(elsewhereKey{}).(*atomic.Bool); ok {
		b.Store(true)
	}
}

// noteRefusal counts a call that was refused, by its code alone: nothing of what was asked for is kept.
func (s *Server) noteRefusal(c auth.Caller, st *status.Status) {
	if s.deps.Refused == nil {
		return
	}
	switch st.Code() {
	case codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument, codes.FailedPrecondition, codes.NotFound, codes.ResourceExhausted:
	default:
		return
	}
	code := ErrorReason(st.Err())
	if code == "" {
		code = st.Code().String()
	}
	s.refused(c, code)
}

func (s *Server) refused(c auth.Caller, code string) {
	if s.deps.Refused == nil {
		return
	}
	by := "unknown"
	if c.Role != "" {
		by = c.String()
	}
	s.deps.Refused(by, code)
}
