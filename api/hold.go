package api

import (
	"cmp"
	"context"
	"slices"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/controller"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// hold carries out a write that holds something back, or lets it go.
func (s *clusterService) hold(ctx context.Context, v *violations, w write, req policy.Request) (controller.Outcome, error) {
	cmd, err := command(ctx, v, w)
	if err != nil {
		return controller.Outcome{}, err
	}
	if err := v.err(); err != nil {
		return controller.Outcome{}, err
	}
	cmd.Request = req
	out, err := s.ctrl.Write(ctx, cmd)
	if err != nil {
		return controller.Outcome{}, err
	}
	return out, refusal(out.Decision)
}

// Freeze stops policies.
func (s *clusterService) Freeze(ctx context.Context, req *tidegatev1.FreezeRequest) (*tidegatev1.FreezeResponse, error) {
	return onLeader(ctx, s.Server, tidegatev1.ClusterService_Freeze_FullMethodName, req, func(ctx context.Context) (*tidegatev1.FreezeResponse, error) {
		v := &violations{}
		out, err := s.hold(ctx, v, req, &policy.FreezeRequest{Duration: v.within("duration", req.GetDuration())})
		if err != nil {
			return nil, err
		}
		return &tidegatev1.FreezeResponse{Freeze: freezeProto(s.ctrl.State()), Write: writeInfo(out), Text: out.Decision.Verdict.Reason.Text}, nil
	})
}

// Unfreeze lets policies decide again.
func (s *clusterService) Unfreeze(ctx context.Context, req *tidegatev1.UnfreezeRequest) (*tidegatev1.UnfreezeResponse, error) {
	return onLeader(ctx, s.Server, tidegatev1.ClusterService_Unfreeze_FullMethodName, req, func(ctx context.Context) (*tidegatev1.UnfreezeResponse, error) {
		out, err := s.hold(ctx, &violations{}, req, &policy.UnfreezeRequest{})
		if err != nil {
			return nil, err
		}
		return &tidegatev1.UnfreezeResponse{Write: writeInfo(out), Text: out.Decision.Verdict.Reason.Text}, nil
	})
}

// QuarantineDetector has a detector's signals observed only.
func (s *clusterService) QuarantineDetector(ctx context.Context, req *tidegatev1.QuarantineDetectorRequest) (*tidegatev1.QuarantineDetectorResponse, error) {
	const method = tidegatev1.ClusterService_QuarantineDetector_FullMethodName
	return onLeader(ctx, s.Server, method, req, func(ctx context.Context) (*tidegatev1.QuarantineDetectorResponse, error) {
		v := &violations{}
		v.detector(req.GetDetector())
		out, err := s.hold(ctx, v, req, &policy.QuarantineRequest{Source: req.GetDetector(), Duration: v.within("duration", req.GetDuration())})
		if err != nil {
			return nil, err
		}
		return &tidegatev1.QuarantineDetectorResponse{Write: writeInfo(out), Text: out.Decision.Verdict.Reason.Text}, nil
	})
}

// ReleaseDetector ends the quarantine of a detector.
func (s *clusterService) ReleaseDetector(ctx context.Context, req *tidegatev1.ReleaseDetectorRequest) (*tidegatev1.ReleaseDetectorResponse, error) {
	const method = tidegatev1.ClusterService_ReleaseDetector_FullMethodName
	return onLeader(ctx, s.Server, method, req, func(ctx context.Context) (*tidegatev1.ReleaseDetectorResponse, error) {
		v := &violations{}
		v.detector(req.GetDetector())
		out, err := s.hold(ctx, v, req, &policy.ReleaseRequest{Source: req.GetDetector()})
		if err != nil {
			return nil, err
		}
		return &tidegatev1.ReleaseDetectorResponse{Write: writeInfo(out), Text: out.Decision.Verdict.Reason.Text}, nil
	})
}

// detector checks the name of a detector.
func (v *violations) detector(name string) {
	if err := auth.CheckName(name); err != nil {
		v.add("detector", err.Error(), "name a detector as in its certificate")
	}
}

// ListDetectors shows the detectors that started what is active, and those in quarantine.
func (s *clusterService) ListDetectors(context.Context, *tidegatev1.ListDetectorsRequest) (*tidegatev1.ListDetectorsResponse, error) {
	st := s.ctrl.State()
	out := &tidegatev1.ListDetectorsResponse{Read: s.readInfo(st)}
	most, _ := st.Safeguards().MostOfSource()
	quarantined := map[string]*tidegatev1.Quarantine{}
	for q := range st.Quarantines() {
		quarantined[q.Source] = quarantineProto(&q)
	}
	for name := range st.Sources() {
		mitigations, rules := st.StartedBy(name)
		out.Detectors = append(out.Detectors, &tidegatev1.DetectorStatus{
			Name: name, Mitigations: uint32(mitigations), Rules: uint32(rules), Most: uint32(most), Quarantine: quarantined[name],
		})
	}
	slices.SortFunc(out.Detectors, func(a, b *tidegatev1.DetectorStatus) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return out, nil
}
