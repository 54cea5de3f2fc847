package install

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
)

// workloads are the pods that are installed, by their names.
func workloads(t *testing.T, v values) map[string]object {
	t.Helper()
	out := map[string]object{}
	for _, o := range render(t, v) {
		if o.kind() == "StatefulSet" || o.kind() == "Deployment" {
			out[o.name()] = o
		}
	}
	return out
}

// TestPodsEndInTime: the longest stream, and the time in which proxies learn of it, are
// in the time that Kubernetes gives a pod.
func TestPodsEndInTime(t *testing.T) {
	for _, longest := range []int{1, 600, 86400} {
		pod := workloads(t, values{"processor": values{"longestStreamSeconds": longest, "leaveSeconds": 40}})["safestate-processor"]
		spec := object(pod.at("spec", "template", "spec").(map[string]any))
		grace, _ := spec.at("terminationGracePeriodSeconds").(float64)
		leave, _ := spec.at("containers", 0, "lifecycle", "preStop", "sleep", "seconds").(float64)
		drain := argument(t, spec, "drain")
		if drain != strconv.Itoa(longest)+"s" || leave != 40 || int(grace) < longest+40+10 {
			t.Errorf("streams of %d s: --drain %s after %v s, of %v s in all", longest, drain, leave, grace)
		}
	}
}

func argument(t *testing.T, spec object, name string) string {
	t.Helper()
	for _, a := range asList(spec.at("containers", 0, "args")) {
		if value, ok := strings.CutPrefix(fmt.Sprint(a), "--"+name+"="); ok {
			return value
		}
	}
	t.Fatalf("no --%s", name)
	return ""
}

// TestArgumentsAreKnown: every flag is one of the program's.
func TestArgumentsAreKnown(t *testing.T) {
	help, err := exec.CommandContext(t.Context(), dataplane.Program(t, "safestate"), "serve", "--help").CombinedOutput() //nolint:gosec // our own
	if err != nil {
		t.Fatal(err)
	}
	known := regexp.MustCompile(`--[a-z][a-z-]*`).FindAllString(string(help), -1)
	for name, v := range variants {
		for _, o := range workloads(t, v) {
			args := asList(o.at("spec", "template", "spec", "containers", 0, "args"))
			for _, a := range append(args[1:], beside(t)[1:]...) {
				if flag, _, _ := strings.Cut(fmt.Sprint(a), "="); !slices.Contains(known, flag) {
					t.Errorf("%s: %s has no flag %s", name, o, flag)
				}
			}
		}
	}
}

// TestEveryMountHasItsVolume: what a container mounts is there, and what is there is
// mounted.
func TestEveryMountHasItsVolume(t *testing.T) {
	for name, v := range variants {
		for _, o := range workloads(t, v) {
			mounted, there := map[string]bool{}, map[string]bool{}
			for _, m := range asList(o.at("spec", "template", "spec", "containers", 0, "volumeMounts")) {
				mounted[object(m.(map[string]any)).field("name")] = true
			}
			for _, l := range append(asList(o.at("spec", "template", "spec", "volumes")), asList(o.at("spec", "volumeClaimTemplates"))...) {
				v := object(l.(map[string]any))
				if there[v.field("name")] {
					t.Errorf("%s: %s has a volume twice", name, o)
				}
				there[v.field("name")] = true
			}
			if fmt.Sprint(mounted) != fmt.Sprint(there) {
				t.Errorf("%s: %s mounts %v of %v", name, o, mounted, there)
			}
			for _, a := range asList(o.at("spec", "template", "spec", "containers", 0, "args")) {
				if strings.HasPrefix(fmt.Sprint(a), "--files-below=") {
					continue // what is in it is each installation's own, or nothing
				}
				if path := regexp.MustCompile(`=(/(?:etc/safestate/)?[a-z]+)/`).FindStringSubmatch(fmt.Sprint(a)); path != nil && !mountsPath(o, path[1]) {
					t.Errorf("%s: %s: nothing is mounted for %s", name, o, a)
				}
			}
		}
	}
}

// TestProcessorsKeepNamespacesApart: wherever a processor runs in a mesh, policies name
// files of their own namespace alone.
func TestProcessorsKeepNamespacesApart(t *testing.T) {
	const want = "--files-below=/etc/safestate/files"
	for name, v := range variants {
		pod, there := workloads(t, v)["safestate-processor"]
		if there && !slices.Contains(asList(pod.at("spec", "template", "spec", "containers", 0, "args")), any(want)) {
			t.Errorf("%s: no %s", name, want)
		}
	}
	if !slices.Contains(beside(t), any(want)) {
		t.Errorf("beside a gateway: no %s", want)
	}
}

// field is a text of an object, or of its metadata.
func (o object) field(name string) string {
	if v := o.at("metadata", name); v != nil {
		return fmt.Sprint(v)
	}
	return fmt.Sprint(o.at(name))
}

func mountsPath(o object, path string) bool {
	return slices.ContainsFunc(asList(o.at("spec", "template", "spec", "containers", 0, "volumeMounts")), func(m any) bool {
		return object(m.(map[string]any)).field("mountPath") == path
	})
}

// TestCertManagerNamesWhomTheArgumentsDial: and a renewed certificate is as good.
func TestCertManagerNamesWhomTheArgumentsDial(t *testing.T) {
	all := render(t, variants["with everything"])
	for _, part := range []string{"control", "processor"} {
		names := asList(find(t, all, "Certificate", "safestate-"+part).at("spec", "dnsNames"))
		for _, host := range dialled(t, part) {
			_, parent, _ := strings.Cut(host, ".")
			if !slices.Contains(names, any(host)) && !slices.Contains(names, any("*."+parent)) {
				t.Errorf("the certificate of %s is not for %s: %v", part, host, names)
			}
		}
	}
}

func parsed(t *testing.T, text []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("no PEM: %.40q", text)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
