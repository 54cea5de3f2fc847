package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/porttest"
)

// sandbox starts what `make run` starts, on free ports.
func sandbox(t *testing.T, extra ...string) (p *dataplane.Process, ports map[string]int) {
	t.Helper()
	envoy, err := dataplane.Envoy()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Dir(dataplane.Program(t, "sandbox"))
	dataplane.Program(t, "safestate")
	dataplane.Program(t, "samplemodel")
	t.Setenv("TMPDIR", t.TempDir()) // one that is killed leaves its configuration behind
	ports = map[string]int{}
	args := []string{"-bin", bin, "-envoy", envoy, "-logs", t.TempDir(), "-config-root", filepath.Join(dataplane.Root(), "docs", "samples")}
	for _, name := range []string{"traffic", "admin", "http", "grpc", "answers", "v1", "v2", "small", "chat", "chat-small"} {
		ports[name] = porttest.Free(t)
		args = append(args, "-"+name+"-port", strconv.Itoa(ports[name]))
	}
	ports["control"] = portsInARow(t, 5)
	args = append(args, "-control-port", strconv.Itoa(ports["control"]))
	return dataplane.Spawn(t, "sandbox", filepath.Join(bin, "sandbox"), append(args, extra...)...), ports
}

// portsInARow returns the first of n free ports in a row.
func portsInARow(t *testing.T, n int) int {
	t.Helper()
search:
	for range 100 {
		first := porttest.Free(t)
		for i := range n {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", first+i))
			if err != nil {
				continue search
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
		return first
	}
	t.Fatalf("no %d free ports in a row", n)
	return 0
}

func up(t *testing.T, p *dataplane.Process) {
	t.Helper()
	dataplane.Eventually(t, 2*time.Minute, "the sandbox is up", func() bool {
		if p.Exited() {
			t.Fatalf("it ended: %v\n%s", p.WaitExit(0), p.Log())
		}
		return strings.Contains(p.Log(), "What was counted:")
	})
}

// sandboxLines are the lines that the sandbox prints, in order: where the answer
// comes from, and what is in it and what is not. The model's sixty tokens are
// w0 to w59, the small model's s0 to s59.
var sandboxLines = []struct {
	source      string // empty: no answer of a model's
	has, hasNot []string
}{
	{source: "primary", has: []string{`"model_name":"fraud"`}},
	{source: "fallback", has: []string{`"model_name":"fraud-small"`}, hasNot: []string{"NaN"}},
	{source: "fallback", has: []string{`"model_name":"fraud-small"`}},
	{source: "fallback", has: []string{`"model_name":"fraud-small"`}},
	{source: "primary", has: []string{`"object":"chat.completion"`, `w0 w1 `, ` w59"`}},
	{source: "primary", has: []string{`"content":"w0"`, `"content":" w59"`, "data: [DONE]"}},
	{source: "fallback", has: []string{`"content":"s0"`, `"content":" s59"`, "data: [DONE]"}, hasNot: []string{`"w0"`, `"error"`}},
	{source: "primary", has: []string{`"content":" w19"`, `"code":"safestate_broken_truncated"`}, hasNot: []string{`"content":" w20"`, `"s0"`, "[DONE]"}},
	{has: []string{`safestate_prediction_served_total{`, `source="cut"} 1`}},
}

// TestSandboxLines runs every line that the sandbox prints, and holds the
// answers against what the line says of itself.
func TestSandboxLines(t *testing.T) {
	p, _ := sandbox(t)
	up(t, p)
	n := 0
	for line := range strings.Lines(p.Log()) {
		if !strings.HasPrefix(line, "curl ") {
			continue
		}
		n++
		if n > len(sandboxLines) {
			t.Fatalf("more lines to try than %d:\n%s", len(sandboxLines), p.Log())
		}
		want := sandboxLines[n-1]
		a := runLine(t, strings.TrimSpace(line))
		// A busy machine has no time for the model, for the processor or for the fallback.
		late := func() bool {
			return strings.HasPrefix(a.Reason(), "late") || a.Reason() == "processor_away" || a.Source() == "safe_default" || a.Status == http.StatusServiceUnavailable
		}
		for again := 0; a.Source() != want.source && late() && again < 4; again++ {
			a = runLine(t, strings.TrimSpace(line))
		}
		if want.source == "" { // what is counted is there behind the answer
			dataplane.Eventually(t, 30*time.Second, "what was counted", func() bool {
				a = runLine(t, strings.TrimSpace(line))
				return !slices.ContainsFunc(want.has, func(text string) bool { return !strings.Contains(string(a.Body), text) })
			})
		}
		if a.Err != nil || a.Status != http.StatusOK || a.Source() != want.source {
			t.Errorf("line %d: status %d, source %q, reason %q, error %v, want source %s", n, a.Status, a.Source(), a.Reason(), a.Err, want.source)
		}
		for _, text := range want.has {
			if !strings.Contains(string(a.Body), text) {
				t.Errorf("line %d: no %s in %s", n, text, a.Body)
			}
		}
		for _, text := range want.hasNot {
			if strings.Contains(string(a.Body), text) {
				t.Errorf("line %d: %s in %s", n, text, a.Body)
			}
		}
	}
	if n != len(sandboxLines) {
		t.Errorf("%d lines to try, want %d:\n%s", n, len(sandboxLines), p.Log())
	}
	pids := children(t, p.PID())
	if len(pids) < 7 {
		t.Errorf("%d parts run, want 7", len(pids))
	}
	if err := syscall.Kill(p.PID(), syscall.SIGINT); err != nil { // the sandbox alone, as a terminal's group would be its own
		t.Fatal(err)
	}
	if err := p.WaitExit(time.Minute); err != nil {
		t.Errorf("Ctrl-C: %v\n%s", err, p.Log())
	}
	gone(t, pids)
}

// runLine does what a shell would with a printed line: commands apart by ;
// and whatever follows a pipe left out. It returns the last answer.
func runLine(t *testing.T, line string) dataplane.Answer {
	t.Helper()
	var last dataplane.Answer
	for _, command := range split(line, ';') {
		words := split(strings.TrimSpace(split(command, '|')[0]), ' ')
		q := dataplane.Request{Method: http.MethodGet, Header: http.Header{}}
		host := ""
		for i := 1; i < len(words); i++ {
			switch w := words[i]; {
			case w == "-H":
				i++
				name, value, _ := strings.Cut(unquote(words[i]), ": ")
				q.Header.Add(name, value)
			case w == "-d":
				i++
				q.Method, q.Body = http.MethodPost, []byte(unquote(words[i]))
			case !strings.HasPrefix(w, "-"):
				host, q.Path, _ = strings.Cut(w, "/")
				q.Path = "/" + q.Path
			}
		}
		c := dataplane.NewClient(host)
		last = c.Do(q)
		c.Close()
	}
	return last
}

// split cuts at a separator outside of single quotes.
func split(s string, sep byte) []string {
	var out []string
	quoted, from := false, 0
	for i := range len(s) {
		switch {
		case s[i] == '\'':
			quoted = !quoted
		case s[i] == sep && !quoted:
			if i > from {
				out = append(out, s[from:i])
			}
			from = i + 1
		}
	}
	return append(out, s[from:])
}

func unquote(s string) string { return strings.Trim(s, "'") }

// TestSandboxPartDies: when one part ends, one line says which, everything
// stops, and no process is left.
func TestSandboxPartDies(t *testing.T) {
	p, _ := sandbox(t)
	up(t, p)
	pids := children(t, p.PID())
	victim := 0
	for _, pid := range pids {
		if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && strings.TrimSpace(string(name)) == "safestate" {
			victim = pid
		}
	}
	if victim == 0 {
		t.Fatalf("no safestate among the parts %v", pids)
	}
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := p.WaitExit(time.Minute); err == nil {
		t.Error("the sandbox ended without an error")
	}
	if log := p.Log(); !strings.Contains(log, "safestate ended (signal: killed)") {
		t.Errorf("no line names the part that ended:\n%s", log)
	}
	gone(t, pids)
}

// TestSandboxKilled: the parts do not outlive a sandbox that is killed.
func TestSandboxKilled(t *testing.T) {
	p, _ := sandbox(t)
	up(t, p)
	pids := children(t, p.PID())
	if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(t, pids)
}

// TestSandboxPortInUse: one clear line.
func TestSandboxPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(dataplane.Program(t, "sandbox"), "-envoy", "envoy", "-http-port", port).CombinedOutput()
	if err == nil || strings.Count(string(out), "\n") != 1 || !strings.Contains(string(out), "port "+port) || !strings.Contains(string(out), "-http-port") {
		t.Errorf("%v: %s", err, out)
	}
}

// children are the direct children of a process.
func children(t *testing.T, pid int) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		if err != nil {
			continue // gone meanwhile
		}
		fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			out = append(out, child)
		}
	}
	return out
}

// gone waits until none of the processes exists, zombies apart: those are the
// business of whoever inherited them.
func gone(t *testing.T, pids []int) {
	t.Helper()
	dataplane.Eventually(t, time.Minute, fmt.Sprintf("processes %v are gone", pids), func() bool {
		for _, pid := range pids {
			raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil {
				continue
			}
			fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
			if len(fields) > 0 && fields[0] != "Z" {
				return false
			}
		}
		return true
	})
}
