package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/feed"
)

// apart is a processor that is told by a control plane.
func apart(t *testing.T, control string, change ...func(*Options)) *running {
	t.Helper()
	return start(t, "", append([]func(*Options){func(o *Options) {
		o.Role, o.Control, o.DataDir, o.Replica = RoleExtProc, []string{control}, "", "host"
	}}, change...)...)
}

func (r *running) kill(target string) {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+r.http+"/v1/kill", strings.NewReader(fmt.Sprintf(`{"target": %q, "reason": "wrong answers"}`, target)))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		r.t.Fatalf("the kill: status %d", resp.StatusCode)
	}
}

// proves waits until a node's row in the proof of the kill is as it should be.
func (r *running) proves(node string, state admin.KillStep, inFlight int) {
	r.t.Helper()
	last := ""
	defer func() {
		if r.t.Failed() {
			r.t.Log(last)
		}
	}()
	until(r.t, node+" is "+string(state), func() bool {
		_, last = r.get("/v1/kills/proof?target=model/default/fraud")
		var proof admin.KillProof
		return json.Unmarshal([]byte(last), &proof) == nil && slices.ContainsFunc(proof.Rows, func(row admin.KillRow) bool {
			return row.Node == node && row.Kind == "processor" && row.State == state && row.InFlight == inFlight
		})
	})
}

// answers asks the processor for what it makes of a clean answer.
func (r *running) answers(dir string) string {
	r.t.Helper()
	c := newCall(r.t, r.dial(), dir)
	if c.err != nil {
		r.t.Fatal(c.err)
	}
	reply, err := c.send(firstMessage(c.policy))
	if err != nil {
		r.t.Fatal(err)
	}
	if err := c.stream.CloseSend(); err != nil {
		r.t.Fatal(err)
	}
	if i := reply.GetImmediateResponse(); i != nil {
		return string(i.Body)
	}
	return "it asks the model"
}

// TestKillsInTheProcess: the processor of a control plane's own process enforces what
// is killed there, and reports that it does.
func TestKillsInTheProcess(t *testing.T) {
	dir := folder(t)
	r := start(t, dir, func(o *Options) { o.Replica = "one" })
	if got := r.answers(dir); got != "it asks the model" {
		t.Fatal(got)
	}
	r.kill("model/default/fraud")
	if got := r.answers(dir); got != defaultBody {
		t.Errorf("callers get %s", got)
	}
	if _, s := r.ready(); s.Kills == nil || !s.Kills.Known || s.Kills.Killed != 1 || s.Kills.Generation != 1 || s.Kills.Problem != "" {
		t.Errorf("/readyz says %+v", s.Kills)
	}
	r.proves("one", admin.StepProven, 0)
	if v := r.metric("safestate_kills_in_force"); v != "1" {
		t.Errorf("the metric says %s", v)
	}
}

// TestKillsApart: a processor that runs apart is told, keeps it over a restart while
// the control plane is away, and says what it knows.
func TestKillsApart(t *testing.T) {
	dir, data := folder(t), filepath.Join(t.TempDir(), "host")
	c := start(t, dir, func(o *Options) { o.Role = RoleControl })
	keeps := func(o *Options) { o.DataDir = data }
	h := apart(t, c.grpc, keeps)
	if status, s := h.ready(); status != http.StatusOK && s.Kills.Known {
		t.Errorf("it was told, and is not ready: %+v", s)
	}
	until(t, "the control plane is heard", func() bool {
		status, s := h.ready()
		return status == http.StatusOK && s.Kills.Known && s.Kills.Lost.IsZero()
	})
	if got := h.answers(dir); got != "it asks the model" {
		t.Fatal(got)
	}
	if v := c.metric("safestate_xds_processors"); v != "1" || c.metric("safestate_xds_proxies") != "0" {
		t.Errorf("the control plane counts %s processors and %s proxies", v, c.metric("safestate_xds_proxies"))
	}
	_, s := h.ready()
	if !slices.Equal(s.Policies.Keys, keysAt(c)) || len(s.Policies.Keys) == 0 {
		t.Errorf("it trusts %v, and %v sign", s.Policies.Keys, keysAt(c))
	}
	open := newCall(t, h.dial(), dir)
	if err := open.ask(); err != nil {
		t.Fatal(err)
	}
	c.kill("model/default/fraud")
	until(t, "it is enforced", func() bool { return h.answers(dir) == defaultBody })
	c.proves("safestate-extproc/host", admin.StepAcked, 1)
	if err := open.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	c.proves("safestate-extproc/host", admin.StepProven, 0)
	if err := c.end(); err != nil {
		t.Fatal(err)
	}
	until(t, "it is said", func() bool { _, s := h.ready(); return s.Kills.Problem != "" })
	if got := h.answers(dir); got != defaultBody {
		t.Errorf("with the control plane away callers get %s", got)
	}
	if v := h.metric("safestate_kills_unheard_seconds"); v == "0" || v == "none" {
		t.Errorf("unheard for %s", v)
	}
	if err := h.end(); err != nil {
		t.Fatal(err)
	}
	h = apart(t, c.grpc, keeps)
	if status, s := h.ready(); status != http.StatusOK || !s.Kills.Known || s.Kills.Killed != 1 || len(s.Policies.Keys) == 0 {
		t.Errorf("after a restart /readyz says %d, %+v", status, s.Kills)
	}
	if got := h.answers(dir); got != defaultBody {
		t.Errorf("after a restart callers get %s", got)
	}
}

// keysAt are the keys of a control plane.
func keysAt(r *running) []string {
	r.t.Helper()
	_, body := r.get("/v1/keys")
	var out []string
	for _, part := range strings.Split(body, `"id":`)[1:] {
		out = append(out, strings.Trim(strings.SplitN(part, ",", 2)[0], ` "`))
	}
	return out
}

// TestNeverTold: a processor that has found no control plane serves all the same,
// after a moment, and says that it does not know what is killed.
func TestNeverTold(t *testing.T) {
	dir := folder(t)
	h := apart(t, "127.0.0.1:1")
	if status, s := h.ready(); status != http.StatusServiceUnavailable || s.Kills.Known {
		t.Errorf("at its start: %d, %+v", status, s.Kills)
	}
	until(t, "it is ready", func() bool { status, _ := h.ready(); return status == http.StatusOK })
	if _, s := h.ready(); s.Kills.Known || s.Kills.Problem == "" || s.Kills.Lost.IsZero() {
		t.Errorf("/readyz says %+v", s.Kills)
	}
	if got := h.answers(dir); got != "it asks the model" {
		t.Error(got)
	}
}

// TestNobodyCanKill: without releases, and without a control plane, there is nothing
// to say of kills.
func TestNobodyCanKill(t *testing.T) {
	for name, r := range map[string]*running{
		"no releases": start(t, folder(t), func(o *Options) { o.NoReleases = true }),
		"nobody":      start(t, "", func(o *Options) { o.Role, o.DataDir = RoleExtProc, "" }),
	} {
		if status, s := r.ready(); status != http.StatusOK || s.Kills != nil {
			t.Errorf("%s: %d, %+v", name, status, s.Kills)
		}
	}
}

// TestUnreadableKills: what a processor cannot read of what was killed keeps it from
// starting.
func TestUnreadableKills(t *testing.T) {
	data := t.TempDir()
	write(t, filepath.Join(data, feed.EnforcedFile), "[{")
	err := Run(t.Context(), Options{
		Role: RoleExtProc, Control: []string{"127.0.0.1:1"}, DataDir: data, HTTP: "127.0.0.1:0", GRPC: "127.0.0.1:0", Answers: "127.0.0.1:0", LogTo: os.Stderr,
	})
	if err == nil || !strings.Contains(err.Error(), feed.EnforcedFile) {
		t.Errorf("it starts: %v", err)
	}
}

// TestKillsByCertificate: where the halves have certificates, a processor that others
// can dial is told by its certificate whose policies to take, and has a name below the
// one in its own; one whose certificate is of other authorities is told nothing.
func TestKillsByCertificate(t *testing.T) {
	dir, certs := folder(t), t.TempDir()
	ca, foreign := newAuthority(t, certs, "ca"), newAuthority(t, certs, "foreign")
	with := func(a *authority, name string) func(*Options) {
		return func(o *Options) {
			cert, key := a.issue(certs, name)
			o.TLS = TLSFiles{Cert: cert, Key: key, ClientCA: a.file}
		}
	}
	c := start(t, dir, with(ca, "control"), func(o *Options) { o.Role = RoleControl })
	h := apart(t, c.grpc, with(ca, "hosts"), func(o *Options) { o.GRPC = "0.0.0.0:0" })
	stranger := apart(t, c.grpc, with(foreign, "strangers"))
	until(t, "it is told", func() bool { _, s := h.ready(); return s.Kills.Known })
	if _, s := h.ready(); !s.Policies.Signed || len(s.Policies.Keys) == 0 || !slices.Equal(s.Policies.Keys, keysAt(c)) {
		t.Errorf("it trusts %+v, and %v sign", s.Policies, keysAt(c))
	}
	c.kill("model/default/fraud")
	c.proves("hosts/safestate-extproc/host", admin.StepProven, 0)
	if _, s := stranger.ready(); s.Kills.Known || len(s.Policies.Keys) > 0 || s.Kills.Problem == "" {
		t.Errorf("a stranger knows %+v and trusts %v", s.Kills, s.Policies.Keys)
	}
}
