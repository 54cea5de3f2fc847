package deploytest

import (
	"net"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/schema"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/internal/compile"
)

type service struct {
	Image       string
	PullPolicy  string `yaml:"pull_policy"`
	Build       *struct{ Context, Target string }
	User        string
	Command     []string
	NetworkMode string `yaml:"network_mode"`
	Networks    map[string]struct{ Aliases []string }
	Ports       []string
	Volumes     []string
	Healthcheck *struct {
		Test              []string
		Interval, Timeout string
		Retries           int
	}
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	CapDrop     []string                              `yaml:"cap_drop"`
	SecurityOpt []string                              `yaml:"security_opt"`
	Privileged  bool
}

const composeFile = "docker-compose.yaml"

func services(t *testing.T) map[string]service {
	t.Helper()
	var file struct{ Services map[string]service }
	readYAML(t, composeFile, &file)
	return file.Services
}

// TestComposeFollowsTheSpecification validates against the JSON schema of the
// Compose specification, as its own Go module carries it.
func TestComposeFollowsTheSpecification(t *testing.T) {
	load := func() map[string]any {
		var file map[string]any
		readYAML(t, composeFile, &file)
		return file
	}
	if err := schema.Validate(load()); err != nil {
		t.Errorf("%s: %v", composeFile, err)
	}
	for name, spoil := range map[string]func(file, safestate map[string]any){
		"a service without a type": func(f, _ map[string]any) { f["services"] = []any{} },
		"an unknown key":           func(_, s map[string]any) { s["healtcheck"] = map[string]any{} },
		"volumes that are no list": func(_, s map[string]any) { s["volumes"] = "x" },
		"a mode that does not exist": func(_, s map[string]any) {
			s["depends_on"].(map[string]any)["redis"] = map[string]any{"condition": "service_happy"}
		},
	} {
		file := load()
		spoil(file, file["services"].(map[string]any)["safestate"].(map[string]any))
		if schema.Validate(file) == nil {
			t.Errorf("the schema takes %s", name)
		}
	}
}

func TestComposeHasEveryPart(t *testing.T) {
	s := services(t)
	for _, name := range []string{"envoy", "safestate", "fraud-v1", "fraud-v2", "fraud-small", "redis", "prometheus"} {
		if _, ok := s[name]; !ok {
			t.Errorf("no service %s", name)
		}
	}
}

var pinned = regexp.MustCompile(`^[a-z0-9./-]+:v?[0-9]+\.[0-9]+\.[0-9]+(-[a-z0-9.]+)?$`)

func TestComposeServicesAreHealthCheckedPinnedAndConfined(t *testing.T) {
	for name, s := range services(t) {
		h := s.Healthcheck
		if h == nil || len(h.Test) < 2 || !slices.Contains([]string{"CMD", "CMD-SHELL"}, h.Test[0]) || h.Interval == "" || h.Timeout == "" || h.Retries == 0 {
			t.Errorf("%s: health check %+v, want a command, interval, timeout and retries", name, h)
		}
		if !pinned.MatchString(s.Image) {
			t.Errorf("%s: image %q is not pinned to a version", name, s.Image)
		}
		if (s.Build != nil) != (s.PullPolicy == "build") {
			t.Errorf("%s: an image that is built here must be built here", name)
		}
		if !slices.Contains(s.CapDrop, "ALL") || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") || s.Privileged {
			t.Errorf("%s keeps capabilities", name)
		}
		if s.User == "0" || strings.HasPrefix(s.User, "0:") || s.User == "root" {
			t.Errorf("%s runs as root", name)
		}
		for dep, d := range s.DependsOn {
			on, ok := services(t)[dep]
			if !ok {
				t.Errorf("%s depends on %s, which is no service", name, dep)
			}
			if d.Condition == "service_healthy" && on.Healthcheck == nil {
				t.Errorf("%s waits for the health of %s, which has no check", name, dep)
			}
		}
	}
}

func TestComposePublishesOnLoopbackOnly(t *testing.T) {
	published := 0
	for name, s := range services(t) {
		if s.NetworkMode == "host" {
			t.Errorf("%s is on the host's network", name)
		}
		if s.NetworkMode != "" && len(s.Ports) > 0 {
			t.Errorf("%s shares another's network and publishes ports, which Compose refuses", name)
		}
		for _, p := range s.Ports {
			published++
			if parts := strings.Split(p, ":"); len(parts) != 3 || parts[0] != "127.0.0.1" {
				t.Errorf("%s publishes %s, want 127.0.0.1:PORT:PORT", name, p)
			}
		}
	}
	if published == 0 {
		t.Error("nothing is published")
	}
}

// TestComposePortsAreListenedOn: each published port of the shared network is
// one that a process there opens on all addresses, for traffic that is
// forwarded does not arrive on loopback; and gRPC and the answers stay on
// loopback.
func TestComposePortsAreListenedOn(t *testing.T) {
	s := services(t)
	open := []string{
		argument(t, s["safestate"].Command, "traffic"), argument(t, s["safestate"].Command, "envoy-admin"),
		argument(t, s["safestate"].Command, "http"),
	}
	for _, m := range []string{"fraud-v1", "fraud-v2", "fraud-small"} {
		open = append(open, argument(t, s[m].Command, "control"))
	}
	for _, p := range s["envoy"].Ports {
		if port := p[strings.LastIndex(p, ":")+1:]; !slices.Contains(open, "0.0.0.0:"+port) {
			t.Errorf("nobody listens on 0.0.0.0:%s, only on %v", port, open)
		}
	}
	if len(s["envoy"].Ports) != len(open) {
		t.Errorf("%d ports published, %d listened on", len(s["envoy"].Ports), len(open))
	}
	if g := argument(t, s["safestate"].Command, "grpc"); g != envoy.DefaultProcessor {
		t.Errorf("gRPC on %s, want %s: an unsigned policy is taken from loopback only", g, envoy.DefaultProcessor)
	}
	if a := argument(t, s["safestate"].Command, "answers"); a != envoy.DefaultAnswers {
		t.Errorf("the ladder's answers on %s, want %s: where docs/compose/envoy.yaml asks, and nobody else", a, envoy.DefaultAnswers)
	}
	for name := range s {
		if n := s[name].NetworkMode; n != "" && n != "service:envoy" {
			t.Errorf("%s has network_mode %s", name, n)
		}
	}
}

// TestComposeMountsExist: what is mounted from the repository is there and
// cannot be written.
func TestComposeMountsExist(t *testing.T) {
	for name, s := range services(t) {
		for _, v := range s.Volumes {
			parts := strings.Split(v, ":")
			if !strings.HasPrefix(parts[0], "./") {
				continue
			}
			if !exists(parts[0]) || len(parts) != 3 || parts[2] != "ro" {
				t.Errorf("%s mounts %s: want an existing path, read-only", name, v)
			}
		}
	}
}

// TestComposeConfigurationFits: the sample configuration asks the models where
// Compose runs them, and health checks ask ports that are listened on.
func TestComposeConfigurationFits(t *testing.T) {
	s := services(t)
	config := argument(t, s["safestate"].Command, "config")
	from, ok := mountedFrom(s["safestate"], config)
	if !ok {
		t.Fatalf("%s is not mounted", config)
	}
	snapshot, problems := compile.Dir(path.Join(root, from))
	if problems.Failed() {
		t.Fatal(problems)
	}
	var models []string
	for _, m := range []string{"fraud-v1", "fraud-v2", "fraud-small"} {
		addr := argument(t, s[m].Command, "addr")
		models = append(models, addr)
		if test := strings.Join(s[m].Healthcheck.Test, " "); !strings.Contains(test, "http://"+addr+"/") {
			t.Errorf("%s listens on %s and is checked by %s", m, addr, test)
		}
	}
	asked := 0
	for _, c := range snapshot.Clusters {
		for _, e := range c.Endpoints {
			asked++
			if a := net.JoinHostPort(e.Address, itoa(e.Port)); !slices.Contains(models, a) {
				t.Errorf("%s is asked at %s, where no model of %v is", c.Name, a, models)
			}
		}
	}
	if asked == 0 {
		t.Error("the configuration asks no model")
	}
	_, port, _ := net.SplitHostPort(argument(t, s["safestate"].Command, "http"))
	if test := strings.Join(s["safestate"].Healthcheck.Test, " "); !strings.Contains(test, ":"+port+"/readyz") {
		t.Errorf("safestate has HTTP on %s and is checked by %s", port, test)
	}
	_, port, _ = net.SplitHostPort(argument(t, s["safestate"].Command, "envoy-admin"))
	if test := strings.Join(s["envoy"].Healthcheck.Test, " "); !strings.Contains(test, "/127.0.0.1/"+port+" ") {
		t.Errorf("Envoy's admin is on %s and checked by %s", port, test)
	}
	if u := argument(t, s["safestate"].Command, "redis"); u != "redis://redis:6379" {
		t.Errorf("Redis is asked at %s, and is the service redis on its own port", u)
	}
}

// TestComposeEnvoyBootstrap makes the file that Compose gives Envoy.
func TestComposeEnvoyBootstrap(t *testing.T) {
	s := services(t)
	admin := argument(t, s["safestate"].Command, "envoy-admin")
	b, err := envoy.Bootstrap(envoy.Options{
		Admin: admin, Processor: argument(t, s["safestate"].Command, "grpc"), Answers: argument(t, s["safestate"].Command, "answers"),
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := envoy.YAML(b)
	if err != nil {
		t.Fatal(err)
	}
	header := "# safestate render bootstrap --envoy-admin " + admin + "\n# Made from code: go test ./internal/deploytest -update\n"
	made(t, "docs/compose/envoy.yaml", append([]byte(header), text...))
	if from, ok := mountedFrom(s["envoy"], "/etc/envoy/envoy.yaml"); !ok || path.Clean(from) != "docs/compose/envoy.yaml" {
		t.Errorf("Envoy mounts %q", from)
	}
	if !strings.Contains(strings.Join(s["envoy"].Command, " "), "-c /etc/envoy/envoy.yaml") {
		t.Errorf("Envoy is started by %v", s["envoy"].Command)
	}
}

// TestPrometheusScrapesWhatRuns resolves every target to a service that is
// there under that name and listens on that port.
func TestPrometheusScrapesWhatRuns(t *testing.T) {
	var config struct {
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			JobName       string                       `yaml:"job_name"`
			MetricsPath   string                       `yaml:"metrics_path"`
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	readYAML(t, "docs/alerts/prometheus.yaml", &config)
	s := services(t)
	want := map[string][2]string{ // by job: target and path
		"safestate": {"safestate:" + portOf(argument(t, s["safestate"].Command, "http")), ""},
		"envoy":     {"envoy:" + portOf(argument(t, s["safestate"].Command, "envoy-admin")), "/stats/prometheus"},
	}
	for _, c := range config.ScrapeConfigs {
		w, ok := want[c.JobName]
		if !ok {
			t.Errorf("job %s is not expected", c.JobName)
			continue
		}
		delete(want, c.JobName)
		if got := [2]string{c.StaticConfigs[0].Targets[0], c.MetricsPath}; got != w {
			t.Errorf("job %s scrapes %v, want %v", c.JobName, got, w)
		}
	}
	for job := range want {
		t.Errorf("no job %s", job)
	}
	// safestate has no network of its own: its name must be Envoy's alias.
	if !slices.Contains(s["envoy"].Networks["default"].Aliases, "safestate") {
		t.Error("the name safestate does not resolve: it shares Envoy's network")
	}
	for _, f := range config.RuleFiles {
		at := path.Join("/etc/prometheus", f)
		if from, ok := mountedFrom(s["prometheus"], at); !ok || path.Clean(from) != path.Join("docs/alerts", f) {
			t.Errorf("the rule file %s is not mounted at %s", f, at)
		}
	}
}

// mountedFrom returns the path in the repository that is mounted at a path of
// the container.
func mountedFrom(s service, at string) (string, bool) {
	for _, v := range s.Volumes {
		if parts := strings.Split(v, ":"); len(parts) > 1 && parts[1] == at {
			return parts[0], true
		}
	}
	return "", false
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}
