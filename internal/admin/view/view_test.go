package view

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/release"
)

var update = flag.Bool("update", false, "write the goldens anew")

var now = time.Date(2026, 10, 2, 3, 4, 5, 0, time.UTC)

func before(d time.Duration) time.Time { return now.Add(-d) }

func ptr[T any](v T) *T { return &v }

// golden compares a view with its file, and holds it against what every view
// must keep to.
func golden(t *testing.T, name, got string) {
	t.Helper()
	fits(t, got)
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what is written:\n%s", path, got)
	}
}

// fits checks that a view fits 80 columns and that a terminal only shows it.
func fits(t *testing.T, text string) {
	t.Helper()
	if !strings.HasSuffix(text, "\n") {
		t.Errorf("the last line has no end: %q", text)
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if n := width(line); n > 80 {
			t.Errorf("%d columns: %q", n, line)
		}
		for _, r := range line {
			if !unicode.IsPrint(r) {
				t.Errorf("%U in %q", r, line)
			}
		}
		if strings.TrimRight(line, " ") != line {
			t.Errorf("spaces at the end of %q", line)
		}
	}
}

// rollingOut is default/fraud with v2 at its second step of three.
func rollingOut() admin.Model {
	return admin.Model{
		Model: "default/fraud", Now: now, Generation: 17, Phase: release.PhaseRollout, Changed: before(80 * time.Second),
		Stable: "v1", Candidate: "v2",
		Versions: []admin.Version{
			{Name: "v1", Weight: 90, Role: "stable", Ready: ptr(true), Evidence: &release.Evidence{Verdict: release.Success, Requests: 120345, Bad: 12}},
			{Name: "v2", Weight: 10, Role: "candidate", Ready: ptr(true), Evidence: &release.Evidence{Verdict: release.Inconclusive, Requests: 212, Why: "no bad answer in 212; 300 are needed"}},
			{Name: "v0", Ready: ptr(false), Condemned: &release.Condemned{At: before(50 * time.Hour), By: release.By, Reason: "31 of 400 answers bad (nonFinite)"}},
		},
		Explanation: []string{"v2: step 2 of 3 at 10 %, started 3m0s ago by local:alice (claimed)", "waits for: 40s more at this weight", "waits for: 88 more judged answers"},
		Rollout: &release.Rollout{
			Version: "v2", Step: 1, Started: before(3 * time.Minute), Since: before(80 * time.Second), By: "local:alice (claimed)", Reason: "new features",
			Steps: []release.Step{{Weight: 1, Duration: release.Duration(time.Minute), MinRequests: 100}, {Weight: 10, Duration: release.Duration(2 * time.Minute), MinRequests: 300}, {Weight: 100, Gate: true}},
		},
		Checks: map[string]release.CheckResult{"latency": {Verdict: release.Success, Why: "0.043", At: before(5 * time.Second)}},
		Proof:  release.Proof{Generation: 17, Applied: true, Expected: 3, Acked: 3},
		Last: &release.Record{Sequence: 9, Generation: 17, At: before(80 * time.Second), Model: "default/fraud", Kind: release.KindStep, By: release.By, Version: "v2",
			Before: map[string]int{"v1": 99, "v2": 1}, After: map[string]int{"v1": 90, "v2": 10}, Reason: "step 1 passed"},
	}
}

// rolledBack is default/fraud just after v2 was rolled back, with one proxy that
// has not said so.
func rolledBack() admin.Model {
	m := rollingOut()
	m.Phase, m.Rollout, m.Checks, m.Candidate, m.Generation, m.Changed = release.PhaseSteady, nil, nil, "", 18, before(2*time.Second)
	m.Versions[0].Weight, m.Versions[1].Weight = 100, 0
	m.Versions[1].Role = ""
	m.Versions[1].Evidence = &release.Evidence{Verdict: release.Failure, Requests: 230, Bad: 18, LogE: 24.1, ControlRequests: 2100, ControlBad: 1,
		Detectors: map[string]uint64{"nonFinite": 17, "outputs.score": 1}, FirstBad: before(2300 * time.Millisecond), Why: "18 of 230 bad against 1 of 2100"}
	m.Versions[1].Condemned = &release.Condemned{At: before(2 * time.Second), By: release.By, Reason: "18 of 230 bad against 1 of 2100"}
	m.Withdrawal = &release.Withdrawal{
		Kind: release.KindRollback, From: []string{"v2"}, To: "v1", Generation: 18, By: release.By, Reason: "18 of 230 bad against 1 of 2100",
		FirstBad: before(2300 * time.Millisecond), Decided: before(2 * time.Second), Pushed: before(1998 * time.Millisecond), Rate: 0.0783,
	}
	m.Explanation = []string{"rollback of v2: not applied everywhere yet", "generation 18: 2 of 3 proxies", "missing: edge-3 (silent for 2m10s)"}
	m.Proof = release.Proof{Generation: 18, Expected: 3, Acked: 2, Missing: []string{"edge-3 (silent for 2m10s)"}, BadSeen: before(900 * time.Millisecond)}
	m.Last = &release.Record{Sequence: 10, Generation: 18, At: before(2 * time.Second), Model: "default/fraud", Kind: release.KindRollback, By: release.By, Version: "v2", Target: "v1",
		Reason: "18 of 230 bad against 1 of 2100", Before: map[string]int{"v1": 90, "v2": 10}, After: map[string]int{"v1": 100},
		Evidence: map[string]release.Evidence{"v1": *m.Versions[0].Evidence, "v2": *m.Versions[1].Evidence},
		Took:     release.Took{Decide: release.Duration(300 * time.Millisecond), Push: release.Duration(2 * time.Millisecond), Ack: release.Duration(40 * time.Millisecond)}}
	return m
}

func steady() admin.Model {
	return admin.Model{
		Model: "default/fraud", Now: now, Generation: 16, Phase: release.PhaseSteady, Changed: before(49 * time.Hour), Stable: "v1",
		Versions: []admin.Version{{Name: "v1", Weight: 100, Role: "stable"}},
		Proof:    release.Proof{Generation: 16, Applied: true, Expected: 2, Acked: 2},
		Last: &release.Record{Sequence: 8, Generation: 16, At: before(49 * time.Hour), Model: "default/fraud", Kind: release.KindPromoted, By: release.By, Version: "v1",
			Reason: "all steps passed", After: map[string]int{"v1": 100}},
	}
}

func status(models ...admin.Model) admin.Status {
	s := admin.Status{
		Now: now, Replica: "control-1", Build: "v1.2.0", Leader: admin.Leader{Replica: "control-1", Self: true},
		Store:         admin.Store{Engine: "etcd, embedded, in /var/lib/safestate", Well: true},
		Configuration: admin.Configuration{Applied: before(26 * time.Hour)},
		Models:        models,
		Proxies: admin.Proxies{Expected: 2, Acked: 2, Proxies: []admin.Proxy{
			{Node: "edge-1", State: admin.ProxyAcked, Connected: true}, {Node: "edge-2", State: admin.ProxyAcked, Connected: true},
		}},
		Policies: []admin.Policy{{Policy: "default/fraud", Number: 7, Since: before(26 * time.Hour), Mode: "Enforce", EnforcePercent: 100, Observed: 0, Enforced: 31}},
	}
	return judged(s)
}

// judged finds the troubles anew, as the API does.
func judged(s admin.Status) admin.Status {
	s.Troubles = nil
	s.Troubles = admin.Troubles(s)
	return s
}

// unwell has something of everything that can be wrong.
func unwell() admin.Status {
	degraded := steady()
	degraded.Model, degraded.Phase, degraded.Degraded, degraded.Stable = "default/rank", release.PhaseDegraded, true, ""
	degraded.Versions[0].Weight = 0
	degraded.Changed = before(114 * time.Second)
	gate := rollingOut()
	gate.Model, gate.Phase = "payments/score", release.PhaseGate
	gate.Rollout.GateReached = before(20 * time.Minute)
	gate.Drift = []release.Drift{{Version: "v2", Files: 0, Release: 10}}
	s := status(rolledBack(), degraded, gate)
	s.Leader = admin.Leader{}
	s.Store = admin.Store{Engine: "etcd at 10.0.0.1:2379", Problem: "takes no writes (the file is full)", Since: before(time.Minute)}
	s.Configuration.Problems = []string{"fraud.yaml:25: spec.deadline: 300us is less than 1ms", "fraud.yaml:31: spec.mode: is none of Observe, Enforce"}
	s.Proxies = admin.Proxies{Expected: 4, Acked: 1, Refused: []string{"edge-2"}, Silent: []string{"edge-3"}, Proxies: []admin.Proxy{
		{Node: "edge-1", State: admin.ProxyAcked, Connected: true},
		{Node: "edge-2", State: admin.ProxyRefused, Connected: true, Message: "Proto constraint validation failed (ClusterValidationError.LbPolicy: value must be one of the defined enum values)"},
		{Node: "edge-3", State: admin.ProxySilent, LastSeen: before(130 * time.Second)},
		{Node: "edge-4", State: admin.ProxyBehind, Connected: true},
	}}
	s.Policies[0].Pinned, s.Policies[0].File, s.Policies[0].Reason, s.Policies[0].EnforcePercent = true, 8, "8 is too strict", 10
	return judged(s)
}

func TestStatus(t *testing.T) {
	golden(t, "status-well", Status(status(steady())))
	golden(t, "status-empty", Status(judged(admin.Status{Now: now, Replica: "control-1", Build: "dev", Store: admin.Store{Engine: "etcd, embedded", Well: true}, Leader: admin.Leader{Replica: "control-1", Self: true}})))
	golden(t, "status-rollout", Status(status(rollingOut(), steady())))
	golden(t, "status-unwell", Status(unwell()))
	gone := rolledBack()
	gone.Gone, gone.Explanation = true, nil
	s := status(steady(), gone)
	s.Policies[0].Gone, s.Policies[0].Pinned, s.Policies[0].Reason = true, true, "too wide"
	golden(t, "status-gone", Status(judged(s)))
}

func TestModel(t *testing.T) {
	golden(t, "model-steady", Model(steady()))
	golden(t, "model-rollout", Model(rollingOut()))
	golden(t, "model-rolled-back", Model(rolledBack()))
	proven := rolledBack()
	proven.Explanation = nil
	proven.Proof = release.Proof{Generation: 18, Applied: true, Expected: 3, Acked: 3}
	proven.Withdrawal.Acked, proven.Withdrawal.Done = before(1900*time.Millisecond), before(900*time.Millisecond)
	proven.Withdrawal.Helped, proven.Withdrawal.After = ptr(false), 0.0801
	golden(t, "model-proven", Model(proven))
	paused := rollingOut()
	paused.Phase = release.PhasePaused
	paused.Rollout.Paused = &release.Paused{At: before(time.Minute), By: release.By, Reason: "refused by edge-2: no such cluster"}
	paused.Bound = &release.Bound{Since: before(time.Minute), Version: "v2", Rail: release.RailPerHour}
	golden(t, "model-paused", Model(paused))
}

func TestHistory(t *testing.T) {
	m, s := rolledBack(), steady()
	other := *s.Last
	other.Model = "payments/score"
	h := admin.History{Records: []release.Record{*m.Last, *rollingOut().Last, *s.Last}}
	golden(t, "history", History(h, now, false))
	golden(t, "history-verbose", History(h, now, true))
	h.Records = append(h.Records, other)
	h.Policies = []admin.PolicyRecord{{Policy: "default/fraud", Number: 7, Before: 8, At: before(time.Hour), Kind: "rollback", By: "local:alice (claimed)", Reason: "8 is too strict", Mode: "Enforce", EnforcePercent: 10}}
	h.Proxies = []admin.ProxyRecord{{Node: "edge-3", At: before(time.Minute), Kind: "deregistered", By: "local:alice (claimed)", Reason: "the machine is gone"}}
	golden(t, "history-all", History(h, now, false))
	golden(t, "history-policy", History(admin.History{Policies: h.Policies}, now, false))
	golden(t, "history-none", History(admin.History{}, now, false))
}

// A step of the same weight as the one before it has no weights in its record, and
// the holdback that ended is the stable version's.
func TestRecordsThatMislead(t *testing.T) {
	for want, r := range map[string]release.Record{
		"next step of v2":            {Kind: release.KindStep, Version: "v2"},
		"v2 to 0 %":                  {Kind: release.KindStep, Version: "v2", After: map[string]int{"v1": 100}},
		"holdback on v1 ended":       {Kind: release.KindHoldback, Version: "v1", Target: "v2"},
		"weights of the files: none": {Kind: release.KindFiles},
	} {
		if got := deed(r); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// Every kind of record has a sentence of its own.
func TestEveryKindHasASentence(t *testing.T) {
	seen := map[string]release.Kind{}
	for _, k := range []release.Kind{
		release.KindRegistered, release.KindFiles, release.KindStarted, release.KindStep, release.KindGate, release.KindGatePassed, release.KindPaused,
		release.KindResumed, release.KindPromoted, release.KindGood, release.KindAborted, release.KindRollback, release.KindDegraded, release.KindRecovered,
		release.KindHoldback, release.KindHoldbackAgain, release.KindApplied, release.KindRollbackDone, release.KindHelped, release.KindNotHelped, release.KindCommonCause,
		release.KindCauseOver, release.KindBound, release.KindRefusedConfig, release.KindCheckError,
	} {
		text := deed(release.Record{Kind: k, Version: "v2", Target: "v1", After: map[string]int{"v2": 10}})
		if text == string(k)+" v2" || seen[text] != "" {
			t.Errorf("%s: %q, as %s", k, text, seen[text])
		}
		seen[text] = k
	}
}

func TestChanges(t *testing.T) {
	golden(t, "changed", Changed(rollingOut()))
	unpublished := rollingOut()
	unpublished.Unpublished = "the cluster default/fraud/v2 has no endpoint"
	golden(t, "changed-unpublished", Changed(unpublished))
	missing := rolledBack()
	golden(t, "proof-missing", Progress(missing)+Proof(missing, 18, 30*time.Second))
	asked := rolledBack()
	asked.Proof = release.Proof{Generation: 18, Applied: true, Expected: 3, Acked: 3, BadSeen: before(900 * time.Millisecond)}
	golden(t, "proof-asked", Proof(asked, 18, 30*time.Second))
	asked.Proof.BadSeen = time.Time{}
	golden(t, "proof-unsure", Proof(asked, 18, 30*time.Second))
	asked.Withdrawal.Done = now
	golden(t, "proof-proven", Proof(asked, 18, 30*time.Second))
	asked.Proof.Expected, asked.Proof.Acked = 0, 0
	golden(t, "proof-of-nobody", Proof(asked, 18, 30*time.Second))
	golden(t, "proof-replaced", Proof(rollingOut(), 16, 30*time.Second))
	golden(t, "policy", Policy(admin.Policy{Policy: "default/fraud", Number: 7, Pinned: true, File: 8}))
}
