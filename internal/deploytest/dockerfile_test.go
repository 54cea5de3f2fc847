package deploytest

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// image is what a Dockerfile says, as far as it is checked.
type image struct {
	bases  []string        // of FROM, without stages
	stages map[string]bool // by name
	last   string          // the last stage
	users  map[string]string
	from   map[string]string // a stage's base
	checks map[string]string // a stage's HEALTHCHECK
	cmd    []string
	text   string
}

func dockerfile(t *testing.T) image {
	t.Helper()
	text := strings.ReplaceAll(string(read(t, "Dockerfile")), "\\\n", " ")
	d := image{stages: map[string]bool{}, users: map[string]string{}, from: map[string]string{}, checks: map[string]string{}, text: text}
	for _, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "FROM":
			if !d.stages[f[1]] {
				d.bases = append(d.bases, f[1])
			}
			d.last = f[len(f)-1]
			d.stages[d.last] = true
			d.from[d.last] = f[1]
		case "USER":
			d.users[d.last] = f[1]
		case "HEALTHCHECK":
			d.checks[d.last] = line
		case "CMD":
			if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "CMD ")), &d.cmd); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
	}
	return d
}

// userOf is the user that a stage ends with, its bases' included.
func (d image) userOf(stage string) string {
	for ; d.stages[stage]; stage = d.from[stage] {
		if u := d.users[stage]; u != "" {
			return u
		}
	}
	return ""
}

func TestDockerfileIsPinnedStaticAndWithoutRoot(t *testing.T) {
	d := dockerfile(t)
	if d.last != "safestate" {
		t.Errorf("the last stage is %s, want safestate", d.last)
	}
	for _, b := range d.bases {
		if b != "scratch" && !regexp.MustCompile(`:[0-9]+\.[0-9]+\.[0-9]+`).MatchString(b) {
			t.Errorf("%s is not pinned to a version", b)
		}
	}
	if !strings.Contains(d.text, "CGO_ENABLED=0") {
		t.Error("the binaries are not static")
	}
	for name, s := range services(t) {
		if s.Build == nil {
			continue
		}
		stage := s.Build.Target
		if !d.stages[stage] {
			t.Errorf("%s builds the stage %q, which is not there", name, stage)
		}
		if u := d.userOf(stage); u == "" || u == "root" || strings.HasPrefix(u, "0") {
			t.Errorf("stage %s runs as %q", stage, u)
		}
		if d.checks[stage] == "" {
			t.Errorf("stage %s has no health check", stage)
		}
	}
}

// TestDockerfileBuildsWhatIsThere: the Go of go.mod, packages that exist, and
// health checks by the probe.
func TestDockerfileBuildsWhatIsThere(t *testing.T) {
	d := dockerfile(t)
	language := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(read(t, "go.mod")))[1]
	if !strings.Contains(d.text, "FROM golang:"+language+".") {
		t.Errorf("go.mod wants Go %s, the image has %v", language, d.bases)
	}
	packages := regexp.MustCompile(`\./(cmd|internal)/[a-z/]+`).FindAllString(d.text, -1)
	if len(packages) == 0 {
		t.Error("no package is built")
	}
	for _, p := range packages {
		if !exists(p) {
			t.Errorf("%s is built and not there", p)
		}
		if out := "/out/" + p[strings.LastIndex(p, "/")+1:]; !strings.Contains(d.text, "--from=build "+out+" ") {
			t.Errorf("%s is built and not copied from %s", p, out)
		}
	}
	for stage, check := range d.checks {
		if !strings.Contains(check, `["/probe", "http://127.0.0.1:`) {
			t.Errorf("stage %s: %s: these images have nothing but the probe", stage, check)
		}
	}
	for name, s := range services(t) {
		if s.Build != nil && s.Healthcheck.Test[1] != "/probe" {
			t.Errorf("%s is checked by %v, and its image has nothing but /probe", name, s.Healthcheck.Test)
		}
	}
}

// TestDockerignoreLeavesTheSource: what is left out of the build is nothing
// that it needs.
func TestDockerignoreLeavesTheSource(t *testing.T) {
	for _, line := range strings.Split(string(read(t, ".dockerignore")), "\n") {
		switch strings.Trim(line, "/") {
		case "cmd", "internal", "envoy", "extproc", "e2e", "go.mod", "go.sum", "*":
			t.Errorf("%s is left out and needed", line)
		}
	}
}
