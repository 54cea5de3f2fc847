package etcd

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// A test that kills, stops or starves a process starts the test's own binary
// again, as one of these. They run until their standard input ends, so that
// none outlives the test.
var children = map[string]func(arguments []string) error{
	"cluster": clusterChild,
	"writer":  writerChild,
	"starved": starvedChild,
}

const childVariable = "SAFESTATE_STORE_CHILD"

func TestMain(m *testing.M) {
	if child := children[os.Getenv(childVariable)]; child != nil {
		go func() { // the parent is gone
			_, _ = os.Stdin.Read(make([]byte, 1))
			os.Exit(3)
		}()
		if err := child(os.Args[1:]); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child is a running one.
type child struct {
	process *os.Process
	lines   chan string // what it says; closed at its end
	ended   chan struct{}
}

func startChild(t *testing.T, name string, arguments ...string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0], arguments...)
	cmd.Env = append(os.Environ(), childVariable+"="+name)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{process: cmd.Process, lines: make(chan string, 1<<16), ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			c.lines <- scan.Text()
		}
		close(c.lines)
		_ = cmd.Wait() // it is killed in most tests
	}()
	t.Cleanup(func() { c.kill(); _ = in.Close() })
	return c
}

func (c *child) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := c.process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	for signal == syscall.SIGSTOP && !c.stands() { // on a busy machine it runs on for a moment
		runtime.Gosched()
	}
}

// stands reports whether no thread of the process runs.
func (c *child) stands() bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", c.process.Pid))
	return !slices.ContainsFunc(threads, func(name string) bool {
		text, err := os.ReadFile(name)
		return err == nil && !bytes.Contains(text, []byte(") T "))
	})
}

// kill ends it as a power cut would, and waits.
func (c *child) kill() {
	_ = c.process.Kill() // it may have ended
	<-c.ended
}

// say waits for a line that starts with word and returns the rest of it.
func (c *child) say(t *testing.T, word string) string {
	t.Helper()
	for {
		select {
		case line, ok := <-c.lines:
			if !ok {
				t.Fatalf("the child ended before it said %q", word)
			}
			if rest, found := strings.CutPrefix(line, word); found {
				return strings.TrimSpace(rest)
			}
			if strings.HasPrefix(line, "error") {
				t.Fatal(line)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("the child does not say %q", word)
		}
	}
}

// clusterChild is an etcd server as an operator would run it: TCP and, given
// files, TLS.
func clusterChild(arguments []string) error {
	dir, ca, cert, key := arguments[0], arguments[1], arguments[2], arguments[3]
	smallSegments()
	c := embed.NewConfig()
	c.Name, c.Dir = "elsewhere", dir
	scheme := "http"
	if cert != "" {
		scheme = "https"
		c.ClientTLSInfo.CertFile, c.ClientTLSInfo.KeyFile = cert, key
		c.ClientTLSInfo.TrustedCAFile, c.ClientTLSInfo.ClientCertAuth = ca, true
	}
	client, peer := url.URL{Scheme: scheme, Host: "127.0.0.1:0"}, url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	if len(arguments) > 4 { // started again
		client.Host = arguments[4]
	}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.TickMs, c.ElectionMs, c.BcryptCost = 50, 250, 4
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	e, err := embed.StartEtcd(c)
	if err != nil {
		return err
	}
	<-e.Server.ReadyNotify()
	fmt.Println("ready", scheme+"://"+e.Clients[0].Addr().String())
	<-context.Background().Done()
	return nil
}
