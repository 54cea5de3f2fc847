package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/audit"
	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/store/etcd"
)

// control is what the commands talk to: one model, whose answers a test sets.
type control struct {
	admin.KillControl // none is asked about
	mu                sync.Mutex
	commands          []release.Command
	policies          []admin.PolicyCommand
	gone              []string
	models            []admin.Model // what each question for the model finds; the last stays
	backup            func(io.Writer) error
	queries           []admin.HistoryQuery
}

// asked is what commands have asked for until now. They run in processes of their
// own: that one has ended does not order what the server did for it.
func (c *control) asked() []release.Command {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.commands)
}

func (c *control) next() admin.Model {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.models[0]
	if len(c.models) > 1 {
		c.models = c.models[1:]
	}
	return m
}

func (c *control) Status(context.Context) (admin.Status, error) {
	return admin.Status{
		Now: time.Now(), Replica: "control-1", Store: admin.Store{Well: true}, Leader: admin.Leader{Replica: "control-1", Self: true},
		Models: []admin.Model{c.next()},
	}, nil
}

func (c *control) Model(_ context.Context, model string) (admin.Model, error) {
	if model != "default/fraud" {
		return admin.Model{}, admin.NotFound("there is no model %s", model)
	}
	return c.next(), nil
}

func (c *control) History(_ context.Context, q admin.HistoryQuery) (admin.History, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queries = append(c.queries, q)
	return admin.History{Records: []release.Record{{Sequence: 1, Model: "default/fraud", Kind: release.KindRollback, Version: "v2", Target: "v1", At: time.Now(), By: "local:\x1b[2J"}}}, nil
}

func (c *control) Command(_ context.Context, _ string, command release.Command) (admin.Model, error) {
	c.mu.Lock()
	c.commands = append(c.commands, command)
	c.mu.Unlock()
	return c.next(), nil
}

func (c *control) Policy(_ context.Context, policy string, command admin.PolicyCommand) (admin.Policy, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.policies = append(c.policies, command)
	return admin.Policy{Policy: policy, Number: 3, Pinned: command.Do == admin.PolicyRollback, File: 4}, nil
}

func (c *control) Deregister(_ context.Context, node string, d admin.Deregistration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = append(c.gone, node+": "+d.Reason)
	return nil
}

func (c *control) Backup(_ context.Context, _ audit.Actor, w io.Writer) error { return c.backup(w) }

// remoteServer serves a control and returns --server for it.
func remoteServer(t *testing.T, c *control) string {
	t.Helper()
	s := httptest.NewServer(admin.New(admin.Options{Control: c}))
	t.Cleanup(s.Close)
	return "--server=" + s.URL
}

// withdrawn is a model whose generation 18 took v2 out of traffic.
func withdrawn(acked int, missing []string, done bool) admin.Model {
	m := admin.Model{
		Model: "default/fraud", Now: time.Now(), Generation: 18, Phase: release.PhaseSteady, Stable: "v1",
		Versions:   []admin.Version{{Name: "v1", Weight: 100, Role: "stable"}},
		Withdrawal: &release.Withdrawal{Kind: release.KindRollback, From: []string{"v2"}, To: "v1", Generation: 18, Decided: time.Now()},
		Proof:      release.Proof{Generation: 18, Expected: 3, Acked: acked, Missing: missing, Applied: len(missing) == 0},
	}
	if done {
		m.Withdrawal.Done = time.Now()
	}
	return m
}

func rolling(step int) admin.Model {
	return admin.Model{
		Model: "default/fraud", Now: time.Now(), Generation: 10 + uint64(step), Phase: release.PhaseRollout, Stable: "v1", Candidate: "v2",
		Versions: []admin.Version{{Name: "v1", Weight: 90}, {Name: "v2", Weight: 10}},
		Rollout:  &release.Rollout{Version: "v2", Step: step, Steps: []release.Step{{Weight: 10}, {Weight: 100}}},
	}
}

func TestRollbackWaitsForTheProof(t *testing.T) {
	missing := []string{"edge-3 (silent for 2m10s)"}
	for name, c := range map[string]struct {
		models []admin.Model
		args   []string
		exit   int
		want   []string
	}{
		"proven": {
			[]admin.Model{withdrawn(1, missing, false), withdrawn(2, missing, false), withdrawn(3, nil, false), withdrawn(3, nil, true)}, nil, 0,
			[]string{"1 of 3 expected proxies ACKed", "2 of 3 expected proxies ACKed", "Proven: all 3 expected proxies ACKed generation 18"},
		},
		"a silent proxy is named": {
			[]admin.Model{withdrawn(2, missing, false)}, []string{"--wait", "300ms"}, 3,
			[]string{"NOT PROVEN after ", "edge-3 (silent for 2m10s)"},
		},
		"the version is asked still": {
			[]admin.Model{withdrawn(3, nil, false)}, []string{"--wait", "300ms"}, 3,
			[]string{"NOT PROVEN", "that nothing asks v2 is not sure yet"},
		},
		"another change took its place": {
			[]admin.Model{withdrawn(2, missing, false), rolling(0)}, nil, 3, []string{"NOT PROVEN: another change took the place of generation 18"},
		},
		"no wait": {
			[]admin.Model{withdrawn(0, missing, false)}, []string{"--wait", "0"}, 0, []string{"generation 18"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			control := &control{models: c.models}
			got := run(t, append([]string{"rollback", "fraud", "--reason", "bad", remoteServer(t, control)}, c.args...)...)
			if got.exit != c.exit || got.stderr != "" {
				t.Errorf("%+v, want exit %d", got, c.exit)
			}
			for _, want := range c.want {
				if !strings.Contains(got.stdout, want) {
					t.Errorf("no %q in:\n%s", want, got.stdout)
				}
			}
			if asked := control.asked(); len(asked) != 1 || asked[0].Do != release.Rollback || asked[0].Reason != "bad" {
				t.Errorf("asked %+v", asked)
			}
		})
	}
}

// Who ends the wait is told how long it was, and not how long it might have been.
func TestAWaitThatIsEnded(t *testing.T) {
	server := remoteServer(t, &control{models: []admin.Model{withdrawn(2, []string{"edge-3"}, false)}})
	cmd := exec.CommandContext(t.Context(), binary, "rollback", "fraud", "--reason", "bad", "--wait", "1h", server)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	asked := false // a second interrupt would end it at once
	for lines := bufio.NewScanner(out); lines.Scan(); {
		text.WriteString(lines.Text() + "\n")
		if !asked && strings.Contains(lines.Text(), "2 of 3 expected proxies ACKed") {
			asked = true
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // its status is looked at
	if got := cmd.ProcessState.ExitCode(); got != 3 || !strings.Contains(text.String(), "NOT PROVEN after ") || strings.Contains(text.String(), "after 1h") {
		t.Errorf("exit %d:\n%s", got, text.String())
	}
}

func TestStatusIsACheckWhereItIsAsked(t *testing.T) {
	bad := rolling(0)
	bad.Degraded = true
	for _, c := range []struct {
		model admin.Model
		args  []string
		exit  int
		want  string
	}{
		{rolling(0), nil, 0, "All is well"},
		{rolling(0), []string{"--check"}, 0, "All is well"},
		{bad, nil, 0, "NOT WELL"},
		{bad, []string{"--check"}, 2, "NOT WELL"},
		{bad, []string{"--check", "-o", "json"}, 2, `"well": false`},
	} {
		got := run(t, append([]string{"status", remoteServer(t, &control{models: []admin.Model{c.model}})}, c.args...)...)
		if got.exit != c.exit || got.stderr != "" || !strings.Contains(got.stdout, c.want) {
			t.Errorf("%q: %+v, want exit %d and %q", c.args, got, c.exit, c.want)
		}
	}
}

func TestRollbackAsJSONIsTheLastAnswer(t *testing.T) {
	got := run(t, "rollback", "fraud", "--reason", "bad", "-o", "json", remoteServer(t, &control{models: []admin.Model{withdrawn(1, []string{"edge-3"}, false), withdrawn(3, nil, true)}}))
	var m admin.Model
	if err := json.Unmarshal([]byte(got.stdout), &m); err != nil || got.exit != 0 || !m.Proven(18) {
		t.Errorf("%v in %+v", err, got)
	}
}

func TestRolloutCommands(t *testing.T) {
	c := &control{models: []admin.Model{rolling(0)}}
	server := remoteServer(t, c)
	for _, args := range [][]string{
		{"start", "fraud", "v2", "--reason", "new", "--step", "5%,1m,100", "--step", "50, 10m ,gate", "--step", "100", "--expect-generation", "9"},
		{"pause", "default/fraud"}, {"resume", "fraud"}, {"promote", "fraud", "--full", "--reason", "sure", "--force"},
	} {
		if got := run(t, append(append([]string{"rollout"}, args...), server)...); got.exit != 0 || !strings.Contains(got.stdout, "rollout of v2: step 1 of 2") {
			t.Errorf("%v: %+v", args, got)
		}
	}
	c.mu.Lock()
	c.models = []admin.Model{withdrawn(3, nil, true)}
	c.mu.Unlock()
	if got := run(t, "rollout", "abort", "fraud", "--reason", "no", server); got.exit != 0 || !strings.Contains(got.stdout, "Proven") {
		t.Errorf("abort: %+v", got)
	}
	asked := c.asked()
	var verbs []string
	for _, command := range asked {
		verbs = append(verbs, string(command.Do))
		if !strings.HasPrefix(command.By, "local") {
			t.Errorf("by %q", command.By)
		}
	}
	if want := []string{"start", "pause", "resume", "promote", "abort"}; !slices.Equal(verbs, want) {
		t.Fatalf("asked %q, want %q", verbs, want)
	}
	want := []release.Step{{Weight: 5, Duration: release.Duration(time.Minute), MinRequests: 100}, {Weight: 50, Duration: release.Duration(10 * time.Minute), Gate: true}, {Weight: 100}}
	if start := asked[0]; !slices.Equal(start.Steps, want) || start.Version != "v2" || start.Generation != 9 {
		t.Errorf("start: %+v", start)
	}
	if promote := asked[3]; !promote.Full || !promote.Force || promote.Reason != "sure" {
		t.Errorf("promote: %+v", promote)
	}
}

// What is watched without a terminal is one line a change, and ends with the
// rollout.
func TestWatchARollout(t *testing.T) {
	promoted := rolling(1)
	promoted.Rollout, promoted.Phase = nil, release.PhasePromoted
	c := &control{models: []admin.Model{rolling(0), rolling(0), rolling(1), promoted}}
	got := run(t, "rollout", "status", "fraud", "--watch", remoteServer(t, c))
	if lines := strings.Split(strings.TrimSpace(got.stdout), "\n"); got.exit != 0 || len(lines) != 3 || strings.Contains(got.stdout, "\x1b") ||
		!strings.Contains(lines[0], "step 1 of 2") || !strings.Contains(lines[1], "step 2 of 2") || !strings.Contains(lines[2], "promoted") {
		t.Errorf("%+v", got)
	}
	c = &control{models: []admin.Model{rolling(0), withdrawn(3, nil, true)}}
	got = run(t, "rollout", "status", "fraud", "-w", "-o", "json", remoteServer(t, c))
	if got.exit != 1 || !strings.Contains(got.stderr, "the rollout of v2 has ended without it") || strings.Count(got.stdout, `"generation": 1`) < 2 {
		t.Errorf("%+v", got)
	}
}

func TestStatusAndHistory(t *testing.T) {
	c := &control{models: []admin.Model{rolling(0)}}
	server := remoteServer(t, c)
	if got := run(t, "status", server); got.exit != 0 || !strings.HasPrefix(got.stdout, "All is well: 1 model") {
		t.Errorf("%+v", got)
	}
	got := run(t, "rollout", "status", "fraud", "--output", "json", server)
	resp, err := http.Get(strings.TrimPrefix(server, "--server=") + "/v1/models/default/fraud")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	want, err := io.ReadAll(resp.Body)
	if err != nil || got.stdout != string(want) {
		t.Errorf("--output json is not what the API answers: %v\n%s\n%s", err, got.stdout, want)
	}
	for _, args := range [][]string{{"history"}, {"history", "fraud", "-v"}, {"history", "--policy", "strict", "--limit", "3"}} {
		if got := run(t, append(args, server)...); got.exit != 0 || !strings.Contains(got.stdout, "ROLLBACK of v2, back to v1") || strings.Contains(got.stdout, "\x1b") {
			t.Errorf("%v: %+v", args, got)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if want := []admin.HistoryQuery{{Limit: 50}, {Model: "default/fraud", Limit: 50}, {Policy: "default/strict", Limit: 3}}; !slices.Equal(c.queries, want) {
		t.Errorf("asked %+v", c.queries)
	}
}

func TestPoliciesAndProxies(t *testing.T) {
	c := &control{}
	server := remoteServer(t, c)
	for _, args := range [][]string{
		{"rollback", "policy", "strict", "--reason", "bad"}, {"rollback", "policy", "team/strict", "--to", "3", "--expect-number", "7", "--reason", "bad"},
		{"rollback", "policy", "strict", "--unpin", "--reason", "mended"}, {"proxy", "deregister", "edge/3", "--reason", "gone"},
	} {
		if got := run(t, append(args, server)...); got.exit != 0 || got.stderr != "" || got.stdout == "" {
			t.Errorf("%v: %+v", args, got)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.policies) != 3 || c.policies[1].To != 3 || c.policies[1].Expect != 7 || c.policies[2].Do != admin.PolicyUnpin || !slices.Equal(c.gone, []string{"edge/3: gone"}) {
		t.Errorf("%+v %q", c.policies, c.gone)
	}
}

func TestMistakesOfRemoteCommands(t *testing.T) {
	server := remoteServer(t, &control{models: []admin.Model{rolling(0)}})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"nobody there":          {[]string{"status", "--server", "http://" + closed.Addr().String()}, "cannot be reached"},
		"nobody there, watch":   {[]string{"status", "-w", "--server", "http://" + closed.Addr().String()}, "cannot be reached"},
		"a server that is none": {[]string{"status", "--server", "localhost"}, `--server: "localhost" is no server: want http://HOST:PORT`},
		"an output":             {[]string{"status", "-o", "yaml", server}, `--output "yaml" is none: want text or json`},
		"a timeout":             {[]string{"status", "--timeout", "0", server}, "--timeout is 0s: want more than 0"},
		"an unknown model":      {[]string{"rollout", "status", "other", server}, "there is no model default/other"},
		"a name that is none":   {[]string{"rollout", "status", "a/b/c", server}, "want NAME or NAMESPACE/NAME"},
		"half a name":           {[]string{"rollout", "status", "a/", server}, "want NAME or NAMESPACE/NAME"},
		"no reason":             {[]string{"rollback", "fraud", server}, `required flag(s) "reason" not set`},
		"an empty reason":       {[]string{"rollback", "fraud", "--reason", "", server}, "reason: is missing"},
		"no version":            {[]string{"rollout", "start", "fraud", "--reason", "x", server}, "accepts 2 arg(s)"},
		"a word":                {[]string{"rollout", "stop", "fraud"}, `unknown command "stop" for "safestate rollout"`},
		"a step's weight":       {[]string{"rollout", "start", "fraud", "v2", "--reason", "x", "--step", "110", server}, `"110" is no percentage`},
		"no last step":          {[]string{"rollout", "start", "fraud", "v2", "--reason", "x", "--step", "10,2m", server}, "end with --step 100"},
		"a step's part":         {[]string{"rollout", "start", "fraud", "v2", "--reason", "x", "--step", "10,soon", server}, `"soon" is no time such as 2m`},
		"a step's part twice":   {[]string{"rollout", "start", "fraud", "v2", "--reason", "x", "--step", "10,2m,3m", server}, `"3m" is a second time`},
		"a wait":                {[]string{"rollback", "fraud", "--reason", "x", "--wait", "-1s", server}, "--wait is -1s"},
		"a limit":               {[]string{"history", "--limit", "0", server}, "--limit is 0: want 1 to 1000"},
		"both":                  {[]string{"history", "fraud", "--policy", "x", server}, "--policy does not go with a model"},
		"unpin to":              {[]string{"rollback", "policy", "x", "--unpin", "--to", "3", "--reason", "x", server}, "--unpin does not go with --to"},
		"watch and check":       {[]string{"status", "-w", "--check", server}, "--check does not go with --watch"},
		"no folder":             {[]string{"store", "restore", "x"}, `required flag(s) "data-dir" not set`},
		"no backup":             {[]string{"store", "restore", "/nonexistent", "--data-dir", t.TempDir()}, "/nonexistent"},
	} {
		t.Run(name, func(t *testing.T) {
			got := run(t, c.args...)
			if got.exit != 1 || got.stdout != "" || !strings.HasPrefix(got.stderr, "safestate: ") || !strings.Contains(got.stderr, c.want) || strings.Count(got.stderr, "\n") != 1 {
				t.Errorf("%+v, want exit 1 and %q", got, c.want)
			}
		})
	}
}

func TestBackupIsWholeOrNotThere(t *testing.T) {
	c := &control{backup: func(w io.Writer) error { _, err := w.Write(bytes.Repeat([]byte("x"), 1<<20)); return err }}
	server := remoteServer(t, c)
	dir := t.TempDir()
	path := filepath.Join(dir, "backup.db")
	if got := run(t, "store", "backup", path, server); got.exit != 0 || !strings.Contains(got.stdout, "1048576 bytes") {
		t.Errorf("%+v", got)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() != 1<<20 || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	server = remoteServer(t, &control{backup: func(w io.Writer) error { _, _ = w.Write(make([]byte, 1<<19)); return errors.New("the disk broke") }})
	if got := run(t, "store", "backup", path, server); got.exit != 1 || !strings.Contains(got.stderr, "broke off") {
		t.Errorf("%+v", got)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 1<<20 {
		t.Errorf("the earlier backup is gone: %v %v", info, err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v %v", files, err)
	}
}

func TestBackupAndRestoreOfAStore(t *testing.T) {
	ctx := t.Context()
	from, err := etcd.Open(ctx, etcd.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	if _, err := from.Put(ctx, "/safestate/v1/x", []byte("kept"), 0); err != nil {
		t.Fatal(err)
	}
	file, dir := filepath.Join(t.TempDir(), "backup.db"), t.TempDir()
	c := &control{backup: func(w io.Writer) error { return from.Backup(ctx, w) }}
	for _, args := range [][]string{{"store", "backup", file, remoteServer(t, c)}, {"store", "restore", file, "--data-dir", dir}} {
		if got := run(t, args...); got.exit != 0 {
			t.Fatalf("%v: %+v", args, got)
		}
	}
	back, err := etcd.Open(ctx, etcd.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = back.Close() }()
	if e, err := back.Get(ctx, "/safestate/v1/x"); err != nil || string(e.Value) != "kept" {
		t.Errorf("%v %q", err, e.Value)
	}
	if got := run(t, "store", "restore", file, "--data-dir", dir); got.exit != 1 || strings.Count(got.stderr, "\n") != 1 {
		t.Errorf("into a store that is there: %+v", got)
	}
}
