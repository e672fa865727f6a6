// Code generated from bgp/profile/evidence by go test -run TestEvidence -update; DO NOT EDIT.

package profile

func recordedRuns() []Evidence {
	return nil
}
