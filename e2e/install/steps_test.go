package install

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/e2e/istio/cluster"
)

// steps are the command lines of a section of docs/istio.md, in order.
func steps(t *testing.T, section string) (out []string) {
	t.Helper()
	_, text, found := strings.Cut(read(t, "docs/istio.md"), "\n## "+section+"\n")
	if !found {
		t.Fatalf("docs/istio.md has no section %s", section)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	for _, block := range regexp.MustCompile("(?ms)^```\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(block[1]) {
			if line = strings.TrimSpace(line); line != "" {
				out = append(out, line)
			}
		}
	}
	return out
}

// kubectl runs a line of kubectl's in the repository's root.
func (c *cell) kubectl(line string, more ...string) {
	c.t.Helper()
	args := strings.Fields(line)[1:]
	for i, a := range args {
		if strings.HasPrefix(a, "istio/") {
			args[i] = filepath.Join(dataplane.Root(), a)
		}
	}
	out, err := cluster.Kubectl(c.t, c.api.Admin, "", append(args, more...)...)
	c.t.Logf("%s\n%s", line, out)
	if err != nil {
		c.t.Fatalf("%s: %v", line, err)
	}
}

// kubelet brings the pods to what the workloads say, and tells the API server of it:
// a rolling update of the Deployment, one after the other of the StatefulSet.
func (m *meshed) kubelet() {
	m.t.Helper()
	ctx := m.t.Context()
	control, err := m.api.Admin.Get(ctx, "apps/v1 StatefulSet", own, "safestate-control")
	if replicas := object(control.Object).at("spec", "replicas"); err != nil || fmt.Sprint(replicas) == "0" {
		for _, p := range m.pods {
			if strings.HasPrefix(p.name, "safestate-control") && !p.Exited() {
				m.stop(p)
			}
		}
	} else if image := imageOf(control.Object); image != m.images["control"] {
		for _, p := range m.pods {
			if m.images["control"] != "" && strings.HasPrefix(p.name, "safestate-control") {
				m.stop(p)
				m.start(p)
			}
		}
		m.images["control"] = image
	}
	processor, err := m.api.Admin.Get(ctx, "apps/v1 Deployment", own, "safestate-processor")
	if image := imageOf(processor.Object); err != nil {
		for _, p := range m.pods {
			if !p.Exited() {
				m.stop(p)
			}
		}
	} else if image != m.images["processor"] {
		for _, old := range m.processors() {
			if m.images["processor"] != "" {
				m.addProcessor()
				m.endProcessor(old)
			}
		}
		m.images["processor"] = image
	}
}

func imageOf(o map[string]any) string {
	return fmt.Sprint(object(o).at("spec", "template", "spec", "containers", 0, "image"))
}

// TestUpgrade runs the steps of the documentation under load, with an image of another
// version, and every pod is replaced as Kubernetes does: every answer is judged, and
// none fails.
func TestUpgrade(t *testing.T) {
	m := newMeshed(t)
	m.kubelet()
	m.until("the model answers", "none")
	m.apply(fraudPolicy)
	m.guarded()
	load := startLoad(t, m.port)
	load.goesOn(t)
	load.only(t, "before", "primary")
	ran := 0
	for _, line := range steps(t, "Upgrade") {
		switch program, _, _ := strings.Cut(line, " "); {
		case strings.Contains(line, "rollout status"):
			m.kubelet()
		case program == "kubectl":
			m.kubectl(line)
		case strings.HasPrefix(line, "helm upgrade safestate istio/install/chart -n "+own):
			m.api.Admin.Apply(t, "helm", textOf(t, render(t, values{"image": values{"tag": "9.9.9"}, "processor": values{"leaveSeconds": 12}})))
		default:
			t.Fatalf("nobody runs %s", line)
		}
		load.goesOn(t)
		load.only(t, line, "primary")
		ran++
	}
	if ran != 4 || m.images["control"] != "safestate:9.9.9" || m.images["processor"] != "safestate:9.9.9" {
		t.Errorf("%d steps led to %v", ran, m.images)
	}
	load.stop()
	load.only(t, "after", "primary")
	m.model.nan.Store(true)
	m.until("a NaN is answered from the ladder", "safe_default")
}

// TestUninstall runs the steps of the documentation under load: no answer fails, none
// is from a last rung, and in the end the gateway has what it had before.
func TestUninstall(t *testing.T) {
	m := newMeshed(t)
	m.kubelet()
	m.until("the model answers", "none")
	before := m.configuration()
	m.apply(fraudPolicy)
	m.guarded()
	if m.configuration() == before {
		t.Fatal("a policy changes nothing at the gateway")
	}
	load := startLoad(t, m.port)
	load.goesOn(t)
	load.only(t, "before", "primary")
	want := []string{"primary"}
	for _, line := range steps(t, "Uninstall") {
		switch {
		case strings.HasPrefix(line, "helm uninstall safestate -n "+own):
			m.api.Admin.Delete(t, textOf(t, m.objects))
		case line == "kubectl delete namespace "+own:
			m.kubectl(line, "--wait=false") // nothing here would finish it
		default:
			m.kubectl(line)
		}
		m.kubelet()
		switch {
		case strings.Contains(line, "safestate.dev/part=route"):
			m.until("the route is as it was", "none")
			load.goesOn(t) // every worker of the gateway has the route
			load.over(t)
			load.only(t, line, "primary", "none")
			want = []string{"none"}
		default:
			load.goesOn(t)
			load.only(t, line, want...)
		}
	}
	load.stop()
	load.only(t, "after", "none")
	after := ""
	defer func() {
		if after != before {
			t.Logf("the gateway has another configuration than before: %s", firstDifference(after, before))
		}
	}()
	dataplane.Eventually(t, patience, "the gateway has the configuration of before", func() bool {
		after = m.configuration()
		return after == before
	})
	for _, p := range m.pods {
		if !p.Exited() {
			t.Errorf("%s still runs", p.name)
		}
	}
	if left := m.filters(); left != "" {
		t.Errorf("there is left: %s", left)
	}
}

// configuration is the gateway's listeners, routes and clusters, less when and in which
// version they came.
func (m *meshed) configuration() string {
	m.t.Helper()
	var out strings.Builder
	for _, what := range []string{"dynamic_listeners", "dynamic_route_configs", "dynamic_active_clusters"} {
		var dump struct{ Configs []any }
		dataplane.Eventually(m.t, patience, "the gateway tells "+what, func() bool {
			return json.Unmarshal([]byte(dataplane.Get("http://"+m.gateway+"/config_dump?resource="+what)), &dump) == nil
		})
		var all []string
		for _, c := range dump.Configs {
			text, err := json.MarshalIndent(without(c, "version_info", "last_updated"), "", " ")
			if err != nil {
				m.t.Fatal(err)
			}
			if !strings.Contains(string(text), own) { // a cluster of one of our own Services
				all = append(all, string(text))
			}
		}
		slices.Sort(all)
		out.WriteString(strings.Join(all, "\n"))
	}
	return out.String()
}

// firstDifference is where two texts part, with some lines around.
func firstDifference(a, b string) string {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range as {
		if i >= len(bs) || as[i] != bs[i] {
			from, to := max(0, i-30), i+10
			return strings.Join(as[from:min(len(as), to)], "\n") + "\nbefore:\n" + strings.Join(bs[min(len(bs), i):min(len(bs), to)], "\n")
		}
	}
	return fmt.Sprintf("%d lines, and %d before", len(as), len(bs))
}

func without(v any, keys ...string) any {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range keys {
			delete(v, k)
		}
		for _, one := range v {
			without(one, keys...)
		}
	case []any:
		for _, one := range v {
			without(one, keys...)
		}
	}
	return v
}

// TestInstallSteps runs those of the documentation that need no Helm, openssl's among
// them: the API server takes all, and the certificates name whom the arguments dial.
func TestInstallSteps(t *testing.T) {
	api := cluster.StartAPI(t, cluster.Options{CRDs: []cluster.CRDs{cluster.GatewayAPI, cluster.Istio}})
	bin := t.TempDir()
	kubectl := fmt.Sprintf("#!/bin/sh\nexec %q --kubeconfig %q \"$@\"\n", filepath.Join(dataplane.Root(), ".cache", "kubectl", "bin", "kubectl"), api.Admin.Kubeconfig)
	if err := os.WriteFile(filepath.Join(bin, "kubectl"), []byte(kubectl), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	var script []string
	for _, line := range steps(t, "Install") {
		if line, _, _ = strings.Cut(line, "     #"); strings.HasPrefix(line, "helm ") || strings.Contains(line, "rollout status") || strings.Contains(line, " exec ") {
			continue // the others say the same, and nobody runs pods here
		}
		script = append(script, strings.ReplaceAll(line, " istio/", " "+dataplane.Root()+"/istio/"))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	dir := t.TempDir()
	for _, when := range []string{"the first time", "again"} {
		cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", strings.Join(script, "\n")) //nolint:gosec // the documentation's
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", when, err, out)
		}
	}
	for part, hosts := range map[string][]string{"control": dialled(t, "control"), "processor": dialled(t, "processor")} {
		secret, err := api.Admin.Get(t.Context(), "v1 Secret", own, "safestate-"+part+"-tls")
		if err != nil {
			t.Fatal(err)
		}
		verify(t, part, object(secret.Object), hosts)
	}
}

// dialled are the hosts by which the chart's arguments name a half of safestate.
func dialled(t *testing.T, part string) (out []string) {
	t.Helper()
	text := strings.ReplaceAll(textOf(t, render(t, nil)), "$(POD_NAME)", "safestate-control-0")
	for _, m := range regexp.MustCompile(`=((?:[a-z0-9-]+\.)?safestate-`+part+`\.[a-z.-]+):\d+`).FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	if len(out) == 0 {
		t.Fatalf("nobody dials %s", part)
	}
	if part == "control" {
		out = append(out, "localhost") // by the commands in its container
	}
	return out
}

// verify holds the certificate of a Secret against the authority in it, and names.
func verify(t *testing.T, part string, secret object, hosts []string) {
	t.Helper()
	data := func(key string) []byte {
		text, err := base64.StdEncoding.DecodeString(fmt.Sprint(secret.at("data", key)))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(data("ca.crt"))
	cert := parsed(t, data("tls.crt"))
	for _, host := range hosts {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: pool, DNSName: host, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%s: %v", part, err)
		}
	}
}
