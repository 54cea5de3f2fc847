package streams

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

const (
	prompt        = 220 << 10
	together      = 20
	promptAnswers = 300 // of either kind
	promptStreams = 400 // open at once
)

// TestLongPrompts asks with prompts of 220 KB, 20 at a time. Every answer is
// inspected; and of the streams that are open none holds its prompt.
func TestLongPrompts(t *testing.T) {
	quick := Model(t, fm.Options{Version: "v1", Pace: -1, FaultHeader: true, FirstToken: 3 * time.Second})
	slow := Model(t, fm.Options{Version: "v1", Pace: 300 * time.Millisecond})
	fallback := Model(t, fm.Options{Version: "small", Tokens: FallbackTokens})
	plane := dataplane.Start(t, dataplane.Options{
		Config: Folder(t, patientRoute("quick", quick, fallback), patientRoute("slow", slow, fallback)),
		Serve:  []string{"--log-level", "warn"},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	caller := NewCaller(plane.Traffic, fm.StreamTokens, true)
	defer caller.Close()

	idle := memoryOf(t, plane)
	for _, stream := range []bool{false, true} {
		inspected(ctx, t, plane, caller, stream)
	}
	after := memoryOf(t, plane)
	fmt.Printf("figure prompts bytes=%d together=%d rss_mb safestate idle=%.1f after=%.1f envoy idle=%.1f after=%.1f\n",
		prompt, together, mb(idle.safestate), mb(after.safestate), mb(idle.envoy), mb(after.envoy))

	held := caller.askTogether(ctx, together, Question{Route: "quick", Stream: true, Prompt: prompt, Fault: heldFault})
	dataplane.Eventually(t, 10*time.Second, "safestate holds every prompt", func() bool {
		return plane.Metric("safestate_bodies_bytes") >= together*prompt
	})
	for _, c := range held {
		if o, ok := c.Outcome(time.Now().Add(20 * time.Second)); !ok || o.Manner != Complete {
			t.Fatal(o.Detail())
		}
	}
	dropped(ctx, t, plane, caller)
}

// inspected asks for answers, and counts that every one of them was inspected.
func inspected(ctx context.Context, t *testing.T, plane *dataplane.Plane, caller *Caller, stream bool) {
	t.Helper()
	primary := func() float64 { return plane.Metric("safestate_prediction_served_total", `source="primary"`) }
	served, unseen := primary(), plane.Metric("safestate_uninspected_total")
	begun := time.Now()
	var next, wrong atomic.Int64
	var wg sync.WaitGroup
	for range together {
		wg.Go(func() {
			for next.Add(1) <= promptAnswers {
				if o := caller.Ask(ctx, Question{Route: "quick", Stream: stream, Prompt: prompt}); o.Manner != Complete || o.Wrong != "" {
					wrong.Add(1)
					t.Error(o.Detail())
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(begun)
	dataplane.Eventually(t, 10*time.Second, "every answer is counted as the primary's", func() bool { return primary()-served >= promptAnswers })
	if n := plane.Metric("safestate_uninspected_total") - unseen; n != 0 {
		t.Errorf("%.0f answers were not inspected", n)
	}
	fmt.Printf("figure prompts bytes=%d together=%d stream=%t answers=%d inspected=%.0f wrong=%d a_second=%.0f\n",
		prompt, together, stream, promptAnswers, primary()-served, wrong.Load(), promptAnswers/took.Seconds())
}

// dropped opens streams with long prompts, and then as many with short ones: what
// is open holds nothing of its prompt. The long ones come first, so that they do
// not find memory that was taken for the others.
func dropped(ctx context.Context, t *testing.T, plane *dataplane.Plane, caller *Caller) {
	t.Helper()
	grew := map[int]memory{}
	for _, size := range []int{prompt, 0} {
		before := memoryOf(t, plane)
		calls := caller.All(ctx, promptStreams, together, Question{Route: "slow", Stream: true, Prompt: size})
		for i, c := range calls {
			if c.Ended() || c.Said() == 0 {
				t.Fatalf("stream %d: %s", i, c.out.Detail())
			}
		}
		dataplane.Eventually(t, 5*time.Second, "safestate holds no body of open streams", func() bool { return plane.Metric("safestate_bodies_bytes") == 0 })
		now := memoryOf(t, plane)
		grew[size] = memory{now.safestate - before.safestate, now.envoy - before.envoy}
		for _, c := range calls {
			c.Cancel()
		}
		dataplane.Eventually(t, 10*time.Second, "the streams are closed", func() bool { return plane.Metric("safestate_extproc_streams") == 0 })
	}
	total := int64(promptStreams * prompt)
	fmt.Printf("figure prompts open_streams=%d prompts_mb=%.1f bodies_bytes_held=0 rss_growth_mb safestate short=%.1f long=%.1f envoy short=%.1f long=%.1f\n",
		promptStreams, mb(total), mb(grew[0].safestate), mb(grew[prompt].safestate), mb(grew[0].envoy), mb(grew[prompt].envoy))
	if extra := grew[prompt].safestate - grew[0].safestate; extra > total/2 {
		t.Errorf("safestate grew by %.1f MB more with long prompts, of %.1f MB of them", mb(extra), mb(total))
	}
}
