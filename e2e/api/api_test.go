package api

import (
	"flag"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/porttest"
)

// examples is how many requests each operation is asked for at the most, besides
// those that follow from the document alone.
var examples = flag.Int("examples", 30, "requests of each operation that are made up")

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	dataplane.Cleanup()
	os.Exit(code)
}

// started runs safestate without an Envoy and returns its URL.
func started(t *testing.T) string {
	t.Helper()
	url := "http://" + porttest.Address(t)
	safestate := dataplane.Spawn(t, "safestate", dataplane.Program(t, "safestate"), "serve",
		"--config", filepath.Join(dataplane.Root(), "docs", "samples", "fraud"), "--data-dir", t.TempDir(),
		"--http", url[len("http://"):], "--grpc", porttest.Address(t), "--answers", porttest.Address(t), "--log-level", "error")
	dataplane.Eventually(t, time.Minute, "safestate is ready", func() bool {
		if safestate.Exited() {
			t.Fatalf("safestate ended: %v\n%s", safestate.WaitExit(0), safestate.Log())
		}
		resp, err := http.Get(url + "/readyz")
		if err != nil {
			return false
		}
		defer func() { _ = resp.Body.Close() }()
		return resp.StatusCode == http.StatusOK
	})
	return url
}

var generated = regexp.MustCompile(`(\d+) generated`)

func TestTheAPIIsWhatItsDocumentSays(t *testing.T) {
	url := started(t)
	begun := time.Now()
	here := filepath.Join(dataplane.Root(), "e2e", "api")
	cmd := exec.Command(filepath.Join(dataplane.Root(), ".cache", "api", "bin", "st"),
		"--config-file", filepath.Join(here, "schemathesis.toml"), "run", url+"/v1/openapi.json",
		"--max-examples", strconv.Itoa(*examples), "--no-color", "--continue-on-failure")
	cmd.Dir = t.TempDir() // it keeps what it has seen
	cmd.Env = append(os.Environ(), "SCHEMATHESIS_HOOKS="+filepath.Join(here, "hooks.py"), "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.CombinedOutput()
	cases := generated.FindSubmatch(out)
	if err != nil || cases == nil {
		t.Fatalf("schemathesis: %v\n%s\n(where it is not there, `make setup` and `make test-api` set it up)", err, out)
	}
	t.Logf("%s requests in %s", cases[1], time.Since(begun).Round(time.Second))
}
