package integrations

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/release"
)

// host is where the files say that safestate is.
const host = "safestate-control.safestate-system:8686"

// secret is the token of Argo Rollouts.
var secret = access.NewToken()

// stood is how a model stands, which a test sets.
type stood struct {
	admin.Control
	version admin.Version // the candidate
	kills   []kill.State
	store   string // what is wrong with it; empty: nothing
}

func (s *stood) Model(_ context.Context, name string) (admin.Model, error) {
	if name != model {
		return admin.Model{}, admin.NotFound("there is no model %s", name).Hinted("want %s", model)
	}
	s.version.Name = candidate
	return admin.Model{Model: model, Now: time.Now(), Versions: []admin.Version{s.version, {Name: "primary"}, {Name: "stable"}}}, nil
}

func (s *stood) Status(context.Context) (admin.Status, error) {
	return admin.Status{Store: admin.Store{Well: s.store == "", Problem: s.store}, Leader: admin.Leader{Replica: "a"}}, nil
}

func (s *stood) Kills() []kill.State { return s.kills }

func seen(v release.Verdict, why string) *stood {
	return &stood{version: admin.Version{Weight: 5, Evidence: &release.Evidence{Verdict: v, Requests: 500, Bad: 40, Why: why}}}
}

func killed(t kill.Target) *stood {
	s := seen(release.Success, "no worse than normal")
	s.kills = []kill.State{kill.Kill(kill.New(t), kill.Order{ID: "1", At: time.Now(), By: "ann", Reason: "wrong", Mode: kill.Degrade})}
	return s
}

// found are what safestate has found of a version, and what it is then called.
var found = map[string]struct {
	control   *stood
	judgement admin.Judgement
}{
	"fails":                         {seen(release.Failure, "40 of 500 bad"), admin.Bad},
	"is no worse":                   {seen(release.Success, "no worse than normal"), admin.Good},
	"was seen too little":           {seen(release.Inconclusive, "not enough was seen"), admin.Unknown},
	"was not seen at all":           {&stood{}, admin.Unknown},
	"fails as all do":               {seen(release.CommonCause, "it fails alike"), admin.Unknown},
	"is killed":                     {killed(kill.ForVersion(model, candidate)), admin.Bad},
	"is of a model that is killed":  {killed(kill.ForModel(model)), admin.Unknown},
	"was well, as far as was known": {&stood{version: seen(release.Success, "").version, store: "does not answer"}, admin.Unknown},
}

// grants are docs/flagger-argo.md's: who may read is all that they say.
const grants = `
tokens:
- {name: argo-rollouts, sha256: "%DIGEST%"}
grants:
- to: [anonymous, "token:argo-rollouts"]
  roles: [viewer]
  models: [%MODELS%]
`

// asked is safestate's API as another machine sees it, and what it was sent.
type asked struct {
	url *url.URL

	mu     sync.Mutex
	bodies []string
	status []int
}

// serving serves the real API with an access file.
func serving(t *testing.T, control admin.Control, file string) *asked {
	t.Helper()
	path := filepath.Join(t.TempDir(), "access.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	gate, err := access.Open(path, access.Options{})
	if err != nil {
		t.Fatal(err)
	}
	api := admin.New(admin.Options{Control: control, Access: gate, Hosts: []string{"safestate-control.safestate-system"}, Attempted: func(a admin.Attempt) {
		t.Errorf("a question is taken for an attempt: %+v", a)
	}})
	a := &asked{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.RemoteAddr, r.Host = "10.0.0.7:40000", host // another machine, by the name in the files
		rec := httptest.NewRecorder()
		api.ServeHTTP(rec, r)
		a.mu.Lock()
		a.bodies, a.status = append(a.bodies, string(body)), append(a.status, rec.Code)
		a.mu.Unlock()
		for name, values := range rec.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes())
	}))
	t.Cleanup(s.Close)
	a.url, _ = url.Parse(s.URL)
	return a
}

// there is a URL of a file at the server of a test instead.
func (a *asked) there(t *testing.T, text string) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host != host {
		t.Fatalf("%q is not at https://%s", text, host)
	}
	u.Scheme, u.Host = a.url.Scheme, a.url.Host
	return u.String()
}

// last is the last request's body, and the status that it was answered with.
func (a *asked) last() (string, int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.status) == 0 {
		return "", 0
	}
	return a.bodies[len(a.bodies)-1], a.status[len(a.status)-1]
}
