package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// part is one running program, in a process group of its own: a Ctrl-C reaches
// the sandbox alone, which then stops its parts in order.
type part struct {
	name string
	log  string // file
	cmd  *exec.Cmd
	done chan struct{}
	err  error // valid once done is closed
}

// start runs a program with its output in a file. env is added to our own.
func (s *stage) start(name, path string, env []string, args ...string) error {
	p := &part{name: name, log: filepath.Join(s.o.logs, name+".log"), done: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return err
	}
	p.cmd = exec.Command(path, args...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		_ = out.Close()
		return fmt.Errorf("%s: %w", name, err)
	}
	s.parts = append(s.parts, p)
	go func() {
		p.err = p.cmd.Wait()
		_ = out.Close()
		close(p.done)
		s.ended <- p
	}()
	return nil
}

// obituary says in one line which part ended, and what it said last.
func (p *part) obituary() error {
	how := "by itself"
	if p.err != nil {
		how = p.err.Error()
	}
	return fmt.Errorf("%s ended (%s), so everything stops; its log is %s%s", p.name, how, p.log, lastLines(p.log, 5))
}

func lastLines(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	if len(lines) == 1 && lines[0] == "" {
		return ""
	}
	return "\n  " + strings.Join(lines, "\n  ")
}

// patience is how long a part may take to stop when asked.
const patience = 5 * time.Second

// stop asks every part to stop, the last one started first, and kills those
// that do not. It returns when all are gone, groups included.
func (s *stage) stop() {
	for i := len(s.parts) - 1; i >= 0; i-- {
		p := s.parts[i]
		p.signal(syscall.SIGCONT) // a part that was stopped by hand cannot stop
		p.signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(patience):
		}
		p.signal(syscall.SIGKILL)
		<-p.done
	}
	if s.temp != "" {
		_ = os.RemoveAll(s.temp) // a leftover in the temporary folder at worst
	}
}

// signal reaches the part and whatever it started; a group that is gone is
// what was wanted.
func (p *part) signal(sig syscall.Signal) { _ = syscall.Kill(-p.cmd.Process.Pid, sig) }

// output runs a program to its end.
func output(path string, args ...string) ([]byte, error) {
	out, err := exec.Command(path, args...).Output()
	if err != nil {
		var text string
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			text = ": " + strings.TrimSpace(string(exit.Stderr))
		}
		return nil, fmt.Errorf("%s %s: %w%s", filepath.Base(path), strings.Join(args, " "), err, text)
	}
	return out, nil
}
