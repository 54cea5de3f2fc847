package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/kill"
)

// killing takes kills of what is known.
type killing struct {
	unknown []kill.Target // what a kill is refused of
	missing error         // what is said with a kill that is in force

	mu     sync.Mutex
	states map[kill.Target]kill.State
	// meanwhile is what somebody else does before the proof is asked for.
	meanwhile func(kill.State) kill.State
}

func (k *killing) Kill(_ context.Context, t kill.Target, o kill.Order) (admin.Killed, error) {
	for _, u := range k.unknown {
		if t == u {
			return admin.Killed{}, admin.NotFound("there is no such target")
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.states == nil {
		k.states = map[kill.Target]kill.State{}
	}
	k.states[t] = kill.Kill(kill.New(t), o)
	return admin.Killed{State: admin.KillStateOf(k.states[t], time.Now()), Durability: "local copy"}, k.missing
}

func (k *killing) Revive(_ context.Context, t kill.Target, r kill.Request) (kill.State, error) {
	s, err := kill.Revive(kill.Kill(kill.New(t), kill.Order{ID: "1", By: "ann", Reason: "wrong"}), r)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.states = map[kill.Target]kill.State{t: s}
	return s, err
}

func (*killing) Approve(context.Context, kill.Target, kill.Request) (kill.State, error) {
	return kill.State{}, errors.New("nobody asks")
}

func (k *killing) Kills() (out []kill.State) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.states {
		out = append(out, s)
	}
	return out
}

func (k *killing) KillProof(t kill.Target) admin.KillProof {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.meanwhile != nil {
		k.states[t] = k.meanwhile(k.states[t])
		k.meanwhile = nil
	}
	return admin.KillProof{State: admin.KillStateOf(k.states[t], time.Now()), At: time.Now(), Complete: true, Rows: []admin.KillRow{}}
}

// keys are what is killed.
func (k *killing) keys() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []string
	for t := range k.states {
		out = append(out, t.Key())
	}
	return strings.Join(out, " ")
}

// killServer serves models and kills.
func killServer(t *testing.T, k *killing, models ...admin.Model) string {
	t.Helper()
	if len(models) == 0 {
		models = []admin.Model{{Model: "default/other"}}
	}
	return remoteServer(t, &control{KillControl: k, models: models})
}

// What somebody else undoes while its proof is awaited is no success.
func TestAKillThatIsUndoneMeanwhile(t *testing.T) {
	revived := func(s kill.State) kill.State {
		s, err := kill.Revive(s, kill.Request{At: time.Now(), By: "lead", Reason: "a mistake", Generation: s.Generation})
		if err != nil {
			t.Error(err)
		}
		return s
	}
	server := killServer(t, &killing{meanwhile: revived})
	if got := run(t, "kill", "fraud", "--reason=wrong", server); got.exit != 1 || !strings.Contains(got.stderr, "model/default/fraud was revived meanwhile, generation 2, by lead: a mistake") {
		t.Errorf("%+v", got)
	}
	again := func(s kill.State) kill.State {
		return kill.Kill(s, kill.Order{ID: "9", At: time.Now(), By: "anna", Reason: "still wrong"})
	}
	server = killServer(t, &killing{meanwhile: again})
	if got := run(t, "revive", "fraud", "--generation=1", "--reason=mended", server); got.exit != 1 || !strings.Contains(got.stderr, "was killed meanwhile, generation 3, by anna: still wrong") {
		t.Errorf("%+v", got)
	}
	server = killServer(t, &killing{meanwhile: again})
	if got := run(t, "kill", "fraud", "--reason=wrong", server); got.exit != 0 {
		t.Errorf("killed twice: %+v", got)
	}
}

// The proof in JSON is alone on standard output; where the kill is, and what is
// missing, is said all the same.
func TestAKillInJSONSaysWhatIsMissing(t *testing.T) {
	server := killServer(t, &killing{missing: errors.New("the audit trail does not take it")})
	got := run(t, "kill", "fraud", "--reason=wrong", "-o=json", server)
	if got.exit != 0 || !strings.HasPrefix(got.stdout, "{") || !strings.Contains(got.stdout, `"complete"`) {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(got.stderr, "durable in: local copy") || !strings.Contains(got.stderr, "the audit trail does not take it") {
		t.Errorf("standard error has %q", got.stderr)
	}
	if got := run(t, "kill", "fraud", "--reason=wrong", "-o=json", "--wait=0", server); !strings.Contains(got.stdout, "audit trail") || got.stderr != "" {
		t.Errorf("without a wait: %+v", got)
	}
}

// "a/b" may be a model or a version of one. Where nobody can say, the server takes what
// it knows, and where it does not answer the command says what to type.
func TestWhatAKillIsOf(t *testing.T) {
	fraud := admin.Model{Model: "default/fraud", Versions: []admin.Version{{Name: "v1"}}}
	both := []kill.Target{kill.ForVersion("default/fraud", "v2"), kill.ForModel("fraud/v2")}
	for name, x := range map[string]struct {
		models  []admin.Model
		unknown []kill.Target
		arg     string
		want    string // what is killed
		stderr  string
	}{
		"a version":                       {[]admin.Model{fraud}, nil, "fraud/v1", "version/default/fraud/v1", ""},
		"a model":                         {[]admin.Model{{Model: "fraud/v1"}}, nil, "fraud/v1", "model/fraud/v1", ""},
		"a version that left the files":   {[]admin.Model{fraud}, both[1:], "fraud/v2", "version/default/fraud/v2", "nothing was known"},
		"a model that left the files":     {[]admin.Model{fraud}, both[:1], "fraud/v2", "model/fraud/v2", "nothing was known"},
		"nothing that anybody knows":      {[]admin.Model{fraud}, both, "fraud/v2", "", `nothing is known of "fraud/v2": want version/default/fraud/v2 or model/fraud/v2`},
		"a model that nobody knows":       {[]admin.Model{fraud}, []kill.Target{kill.ForModel("default/x")}, "x", "", "there is no such target"},
		"a key, and nobody has to say it": {[]admin.Model{fraud}, nil, "model/fraud/v2", "model/fraud/v2", ""},
	} {
		k := &killing{unknown: x.unknown}
		got := run(t, "kill", x.arg, "--reason=wrong", killServer(t, k, x.models...))
		if k.keys() != x.want || (got.exit == 0) != (x.want != "") || !strings.Contains(got.stderr, x.stderr) {
			t.Errorf("%s: killed %q, %+v", name, k.keys(), got)
		}
	}
	k := &killing{}
	h := admin.New(admin.Options{Control: &control{KillControl: k, models: []admin.Model{fraud}}})
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/status" {
			http.Error(w, "status is broken", http.StatusInternalServerError)
			return
		}
		h.ServeHTTP(w, r)
	}))
	defer broken.Close()
	got := run(t, "kill", "fraud/v1", "--reason=wrong", "--server="+broken.URL)
	if got.exit != 1 || !strings.Contains(got.stderr, "version/default/fraud/v1 or model/fraud/v1") {
		t.Errorf("status fails: %+v", got)
	}
	if got := run(t, "kill", "version/default/fraud/v1", "--reason=wrong", "--server="+broken.URL); got.exit != 0 || k.keys() != "version/default/fraud/v1" {
		t.Errorf("status fails, and is not needed: %+v", got)
	}
}
