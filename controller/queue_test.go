package controller

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/tidegate/tidegate/policy"
)

func TestLanesAreFair(t *testing.T) {
	var l lanes[string]
	for i := range 100 {
		l.push("detector/flood", "flood"+itoa(i), 1, 1000)
	}
	l.push("detector/quiet", "quiet", 1, 1000)
	for i := range 101 {
		w, ok := l.pop()
		if !ok {
			t.Fatal("empty too soon")
		}
		if w == "quiet" {
			if i > 1 {
				t.Errorf("the quiet source waited for %d pieces of the flood", i)
			}
			return
		}
	}
	t.Error("the quiet source never had its turn")
}

func TestOverloadShedsBySource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, func(c *Config) { c.QueueLength = 512 }).start()
		defer cl.stop()
		l := cl.leader()
		l.write(apply("a"))
		var sigs []policy.Signal
		for i := range 5000 {
			sigs = append(sigs, signal("flood", itoa(i), 1, "198.51.100.1/32"))
		}
		type answer struct {
			vs  []policy.Verdict
			err error
		}
		ask := func(ctx context.Context, s []policy.Signal) <-chan answer {
			ch := make(chan answer, 1)
			go func() {
				vs, err := l.c.Report(ctx, policy.Principal("detector/"+s[0].Source), s)
				ch <- answer{vs, err}
			}()
			return ch
		}
		a := <-ask(t.Context(), sigs)
		if a.err != nil {
			t.Fatal(a.err)
		}
		shed := 0
		for i, v := range a.vs {
			if v.Kind == policy.Retry {
				shed++
				if v.RetryAfter <= 0 || v.Reason.Code != policy.CodeOverload {
					t.Fatalf("signal %d: %+v", i, v)
				}
			} else if shed > 0 {
				t.Fatalf("signal %d was judged after an earlier one was shed", i)
			}
		}
		if shed == 0 || shed == len(sigs) {
			t.Errorf("%d of %d signals were shed", shed, len(sigs))
		}
		flood := ask(t.Context(), sigs)
		other := <-ask(t.Context(), []policy.Signal{signal("quiet", "x", 1, "203.0.113.9/32")})
		if other.err != nil || other.vs[0].Kind != policy.Mitigated {
			t.Errorf("the other source got %+v", other)
		}
		<-flood
		if w, s := l.c.queue.length(); w+s != 0 {
			t.Errorf("%d writes and %d signals are left in the queue", w, s)
		}
	})
}
