package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// stage is everything that runs. It is used by one goroutine.
type stage struct {
	o      *options
	parts  []*part
	ended  chan *part // each part once, when it ends
	config string     // the folder that safestate reads
	data   string     // the folder of safestate's store
	temp   string     // of both, to remove at the end; config apart where it was given
}

func newStage(o *options) *stage {
	return &stage{o: o, ended: make(chan *part, 16), config: o.config}
}

// port is one that the stage needs, with the flag that moves it.
type port struct {
	number int
	what   string
	flag   string
}

func (s *stage) ports() []port {
	o := s.o
	ports := []port{
		{o.traffic, "Envoy's traffic", "-traffic-port"}, {o.admin, "Envoy's admin interface", "-admin-port"},
		{o.http, "safestate's HTTP", "-http-port"}, {o.grpc, "safestate's gRPC", "-grpc-port"}, {o.answers, "safestate's answers", "-answers-port"},
		{o.v1, "the model's v1", "-v1-port"}, {o.v2, "the model's v2", "-v2-port"}, {o.small, "the fallback model", "-small-port"},
		{o.chat, "the chat model", "-chat-port"}, {o.chatSmall, "the small chat model", "-chat-small-port"},
	}
	for i := range controls {
		ports = append(ports, port{o.control + i, "the models' control", "-control-port"})
	}
	return ports
}

// checkPorts names the first port that somebody else has.
func (s *stage) checkPorts() error {
	for _, p := range s.ports() {
		l, err := net.Listen("tcp", local(p.number))
		if err != nil {
			return fmt.Errorf("port %d (%s) is in use: stop what listens there, or choose another with %s", p.number, p.what, p.flag)
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// play starts the parts in order and stays until the context or a part ends.
func (s *stage) play(ctx context.Context) error {
	if err := os.MkdirAll(s.o.logs, 0o755); err != nil {
		return err
	}
	if err := s.prepareConfig(); err != nil {
		return err
	}
	models := s.sampleModels
	if s.o.models == "mlserver" {
		models = s.mlserver
	}
	for _, step := range []func(context.Context) error{models, s.safestate, s.envoy} {
		err := step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil // stopped while starting
		case err != nil:
			return err
		}
	}
	if s.o.demo {
		return s.demo(ctx)
	}
	fmt.Print(s.tour())
	select {
	case <-ctx.Done():
		fmt.Println("\nstopping")
		return nil
	case p := <-s.ended:
		return p.obituary()
	}
}

// prepareConfig copies the samples into one folder, with the ports that the
// models have here: an edit is seen at once, and the samples stay as they are.
func (s *stage) prepareConfig() error {
	temp, err := os.MkdirTemp("", "safestate-sandbox-")
	if err != nil {
		return err
	}
	s.temp, s.data = temp, filepath.Join(temp, "data")
	if s.config != "" {
		return nil
	}
	s.config = filepath.Join(temp, "config")
	if err := os.Mkdir(s.config, 0o700); err != nil {
		return err
	}
	samples := []string{"fraud", "chat"}
	if s.o.models == "mlserver" {
		samples = []string{"mlserver"}
	}
	for _, sample := range samples {
		files, err := filepath.Glob(filepath.Join(s.o.samples, sample, "*.yaml"))
		if err != nil {
			return err
		}
		if len(files) == 0 {
			return fmt.Errorf("no sample in %s: run it from the repository's root, or name the folder of samples by -config-root", filepath.Join(s.o.samples, sample))
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			to := filepath.Join(s.config, sample+"-"+filepath.Base(name))
			if err := os.WriteFile(to, []byte(s.moves().Replace(string(text))), 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// moves puts the models' ports in the place of the samples' own.
func (s *stage) moves() *strings.Replacer {
	o := s.o
	var pairs []string
	for from, to := range map[int]int{9101: o.v1, 9102: o.v2, 9103: o.small, 9115: o.chat, 9116: o.chatSmall} {
		pairs = append(pairs, fmt.Sprintf("port: %d}", from), fmt.Sprintf("port: %d}", to))
	}
	return strings.NewReplacer(pairs...)
}

func (s *stage) sampleModels(ctx context.Context) error {
	for i, m := range []struct {
		name, version string
		port          int
	}{
		{"model-v1", "v1", s.o.v1}, {"model-v2", "v2", s.o.v2}, {"model-small", "small", s.o.small},
		{"chat", "v1", s.o.chat}, {"chat-small", "small", s.o.chatSmall},
	} {
		// A fallback does not take a fault from a header: a caller's headers
		// reach it too.
		err := s.start(m.name, filepath.Join(s.o.bin, "samplemodel"), nil, "-addr", local(m.port), "-version", m.version,
			"-control", local(s.o.control+i), fmt.Sprintf("-fault-header=%v", m.version != "small"))
		if err != nil {
			return err
		}
		if err := s.ready(ctx, m.name, "http://"+local(m.port)+"/v2/health/ready"); err != nil {
			return err
		}
	}
	return nil
}

// mlserver starts two of them: a fallback in its primary's process would be in
// its failure domain.
func (s *stage) mlserver(ctx context.Context) error {
	fmt.Println("starting MLServer: some seconds")
	binary := filepath.Join(s.o.mlserver, "bin", "mlserver")
	for i, m := range []struct {
		name, folder string
		port         int
	}{{"mlserver", "primary", s.o.v1}, {"mlserver-fallback", "fallback", s.o.small}} {
		env := []string{
			"MLSERVER_HOST=127.0.0.1", fmt.Sprint("MLSERVER_HTTP_PORT=", m.port), fmt.Sprint("MLSERVER_GRPC_PORT=", s.o.control+2*i),
			fmt.Sprint("MLSERVER_METRICS_PORT=", s.o.control+2*i+1), "MLSERVER_PARALLEL_WORKERS=0", "MLSERVER_DEBUG=false",
		}
		if err := s.start(m.name, binary, env, "start", filepath.Join(s.o.trained, m.folder)); err != nil {
			return err
		}
	}
	for _, port := range []int{s.o.v1, s.o.small} {
		if err := s.ready(ctx, "mlserver", "http://"+local(port)+"/v2/health/ready"); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) safestate(ctx context.Context) error {
	err := s.start("safestate", filepath.Join(s.o.bin, "safestate"), nil, "serve", "--config", s.config, "--data-dir", s.data,
		"--http", local(s.o.http), "--grpc", local(s.o.grpc), "--answers", local(s.o.answers), "--traffic", local(s.o.traffic), "--envoy-admin", local(s.o.admin))
	if err != nil {
		return err
	}
	return s.ready(ctx, "safestate", "http://"+local(s.o.http)+"/readyz")
}

func (s *stage) envoy(ctx context.Context) error {
	bootstrap, err := output(filepath.Join(s.o.bin, "safestate"), "render", "bootstrap",
		"--traffic", local(s.o.traffic), "--envoy-admin", local(s.o.admin), "--processor", local(s.o.grpc), "--answers-upstream", local(s.o.answers))
	if err != nil {
		return err
	}
	path := filepath.Join(s.o.logs, "envoy.yaml")
	if err := os.WriteFile(path, bootstrap, 0o600); err != nil {
		return err
	}
	err = s.start("envoy", s.o.envoy, nil, "-c", path, "--disable-hot-restart", "--concurrency", "2", "--log-level", "warning")
	if err != nil {
		return err
	}
	if err := s.ready(ctx, "envoy", "http://"+local(s.o.admin)+"/ready"); err != nil {
		return err
	}
	// Live is not yet listening: the listener comes over ADS.
	return s.wait(ctx, "envoy's listener", func() bool {
		conn, err := net.DialTimeout("tcp", local(s.o.traffic), time.Second)
		return err == nil && conn.Close() == nil
	})
}

// ready waits until a URL answers 200.
func (s *stage) ready(ctx context.Context, name, url string) error {
	client := &http.Client{Timeout: time.Second}
	return s.wait(ctx, name, func() bool {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return false
		}
		resp, err := client.Do(r)
		if err != nil {
			return false
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
}

// startWithin is generous: a first start reads hundreds of Python files.
const startWithin = 2 * time.Minute

// wait returns when holds does, or why it never will.
func (s *stage) wait(ctx context.Context, name string, holds func() bool) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	end := time.After(startWithin)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case p := <-s.ended:
			return p.obituary()
		case <-end:
			return errors.New(name + " is not ready after " + startWithin.String())
		case <-tick.C:
			if holds() {
				return nil
			}
		}
	}
}
