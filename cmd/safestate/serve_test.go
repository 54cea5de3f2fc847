package main

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// serving is a safestate that runs.
type serving struct {
	t          *testing.T
	cmd        *exec.Cmd
	log        *bufio.Scanner
	http, grpc string
}

// startServe starts the binary on free ports. It is killed after three minutes, or at
// the test's end if it still runs then.
func startServe(t *testing.T, args ...string) *serving {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	all := append([]string{"serve", "--config", folder(t, "fraud.yaml", good), "--data-dir", t.TempDir(), "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--answers", "127.0.0.1:0", "--processor", "127.0.0.1:18000"}, args...)
	s := &serving{t: t, cmd: exec.CommandContext(ctx, binary, all...)}
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = s.cmd.Wait()
	})
	s.log = bufio.NewScanner(stderr)
	line := s.until("serving")
	s.http, s.grpc = field(line, "http"), field(line, "grpc")
	return s
}

// until reads the log up to a message.
func (s *serving) until(message string) string {
	s.t.Helper()
	var seen []string
	for s.log.Scan() {
		if field(s.log.Text(), "message") == message {
			return s.log.Text()
		}
		seen = append(seen, s.log.Text())
	}
	s.t.Fatalf("the log ended without %q:\n%s", message, strings.Join(seen, "\n"))
	return ""
}

func (s *serving) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// end waits for the process and returns how it ended.
func (s *serving) end() syscall.WaitStatus {
	for s.log.Scan() { // the pipe must be empty before Wait
	}
	_ = s.cmd.Wait()
	return s.cmd.ProcessState.Sys().(syscall.WaitStatus)
}

func TestServeEndsOnASignal(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		s := startServe(t)
		resp, err := http.Get("http://" + s.http + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("/readyz: %d", resp.StatusCode)
		}
		s.signal(sig)
		if w := s.end(); !w.Exited() || w.ExitStatus() != 0 {
			t.Errorf("after %s: exit %d, signal %s", sig, w.ExitStatus(), w.Signal())
		}
	}
}

func TestASecondSignalEndsTheDrain(t *testing.T) {
	s := startServe(t, "--drain", "10m")
	conn, err := grpc.NewClient("passthrough:///"+s.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	// A request in flight: its headers have been answered, and no more comes.
	stream, err := extprocv3.NewExternalProcessorClient(conn).Process(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = stream.Send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestTrailers{RequestTrailers: &extprocv3.HttpTrailers{}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	s.signal(syscall.SIGTERM)
	s.until("draining")
	s.signal(syscall.SIGTERM)
	if w := s.end(); !w.Signaled() || w.Signal() != syscall.SIGTERM {
		t.Errorf("exit %d, signal %s; want the second signal to end it", w.ExitStatus(), w.Signal())
	}
}

func TestServeThatCannotStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	dir := folder(t, "fraud.yaml", good)
	got := run(t, "serve", "--config", dir, "--data-dir", t.TempDir(), "--http", "127.0.0.1:0", "--grpc", taken.Addr().String(), "--answers", "127.0.0.1:0", "--log-level", "error")
	if want := "safestate: " + taken.Addr().String() + " is in use: stop what listens there, or choose another address with --grpc\n"; got.exit != 1 || got.stderr != want {
		t.Errorf("%+v, want %q", got, want)
	}
	bad := folder(t, "a.yaml", strings.Replace(good, "deadline: 300ms", "deadline: 300us", 1), "b.yaml", "kind: Nothing\n")
	got = run(t, "serve", "--config", bad, "--data-dir", t.TempDir(), "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--answers", "127.0.0.1:0")
	for _, want := range []string{"a.yaml:25: spec.deadline: ", "b.yaml:1: "} {
		if got.exit != 1 || !strings.Contains(got.stderr, want) {
			t.Errorf("no %q in %+v", want, got)
		}
	}
}
