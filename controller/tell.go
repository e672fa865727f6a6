package controller

import "github.com/tidegate/tidegate/policy"

// tell logs what holds policies or detectors back from now on, or does no longer. What this node learns of the past, at its
// start, it does not tell.
func (r *reconciler) tell(now *policy.State) {
	before := r.told
	if before == nil {
		before = policy.NewState() // once: making one takes longer than all the rest of an entry
	}
	r.told = now
	was, frozen := before.Frozen()
	switch is, freezes := now.Frozen(); {
	case freezes && (!frozen || is != was):
		r.log.Warn("the cluster is FROZEN: policies start nothing", "by", is.By, "reason", is.Reason, "since", is.Since, "until", is.Until)
	case frozen && !freezes:
		r.log.Warn("the cluster is not frozen any more: policies decide again", "frozen_by", was.By, "since", was.Since)
	}
	if before.QuarantineCount() == 0 && now.QuarantineCount() == 0 {
		return
	}
	then := map[string]policy.Quarantine{}
	for q := range before.Quarantines() {
		then[q.Source] = q
	}
	for q := range now.Quarantines() {
		if then[q.Source] != q {
			r.log.Warn("a detector is in quarantine: its signals are observed only", "detector", q.Source, "by", q.By, "reason", q.Reason, "until", q.Until)
		}
		delete(then, q.Source)
	}
	for source := range then {
		r.log.Warn("a detector is out of quarantine", "detector", source)
	}
}
