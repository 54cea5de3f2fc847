package install

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"path/filepath"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"
)

// besideGateway is what istio/install/gateway-socket.yaml merges into a gateway's
// Deployment.
func besideGateway(t *testing.T) object {
	t.Helper()
	var patch object
	if err := yaml.UnmarshalStrict([]byte(objects(t, "gateway-socket.yaml", read(t, "istio/install/gateway-socket.yaml"))[0].at("data", "deployment").(string)), &patch); err != nil {
		t.Fatal(err)
	}
	return patch
}

func beside(t *testing.T) []any {
	t.Helper()
	return asList(besideGateway(t).at("spec", "template", "spec", "initContainers", 0, "args"))
}

// TestBesideAGateway: the processor of a gateway's own pod judges, over its socket.
func TestBesideAGateway(t *testing.T) {
	m := newGateway(t)
	m.control(0, "--processor", "unix:"+filepath.Join(m.sockets, "grpc.sock"), "--answers-upstream", "unix:"+filepath.Join(m.sockets, "answers.sock"))
	p := m.container("gateway-0", beside(t))
	m.apply(fraudPolicy)
	m.guarded()
	m.model.nan.Store(true)
	m.until("a NaN is answered from the ladder", "safe_default")
	m.stop(p)
	m.until("the gateway answers by itself", "safe_default (processor_away)")
}

// gatewayOfIstio is a Deployment as istiod's template kube-gateway makes one, as far as
// the patch touches it.
const gatewayOfIstio = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: public-istio, namespace: safestate-system}
spec:
  selector: {matchLabels: {gateway.networking.k8s.io/gateway-name: public}}
  template:
    metadata: {labels: {gateway.networking.k8s.io/gateway-name: public}}
    spec:
      securityContext: {sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: "0"}]}
      serviceAccountName: public-istio
      containers:
      - name: istio-proxy
        image: auto
        args: [proxy, router]
        securityContext: {runAsNonRoot: true, runAsUser: 1337, runAsGroup: 1337, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}
        volumeMounts: [{name: workload-socket, mountPath: /var/run/secrets/workload-spiffe-uds}]
      volumes: [{name: workload-socket, emptyDir: {}}]
`

// TestIstioMergesTheProcessor as istiod does, by a strategic merge: the API server takes
// what comes of it, and a pod of it under the restricted profile.
func TestIstioMergesTheProcessor(t *testing.T) {
	api := startAPI(t)
	base, err := yaml.YAMLToJSON([]byte(gatewayOfIstio))
	if err != nil {
		t.Fatal(err)
	}
	patch, err := json.Marshal(besideGateway(t))
	if err != nil {
		t.Fatal(err)
	}
	merged, err := strategicpatch.StrategicMergePatch(base, patch, appsv1.Deployment{})
	if err != nil {
		t.Fatal(err)
	}
	all := objects(t, "merged", string(merged))
	if out, err := dryRun(t, api, string(merged)); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := dryRun(t, api, textOf(t, []object{podOf(all[0])})); err != nil {
		t.Errorf("a pod: %v: %s", err, out)
	}
	if mounts := asList(all[0].at("spec", "template", "spec", "containers", 0, "volumeMounts")); len(mounts) != 2 {
		t.Errorf("istio-proxy mounts %v", mounts)
	}
}

// TestWhoMayDial: processors are dialled by proxies of the mesh and by safestate's own,
// control planes by safestate's own alone, and neither without a certificate.
func TestWhoMayDial(t *testing.T) {
	c := newCell(t)
	control, processor := c.control(0), c.run("Deployment", "safestate-processor", "safestate-processor-0")
	pair := func(a *authority, spiffe string, names ...string) []tls.Certificate {
		cert, key := a.issue(spiffe, names...)
		p, err := tls.X509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return []tls.Certificate{p}
	}
	inMesh := pair(c.mesh, "spiffe://cluster.local/ns/models/sa/default")
	ofOwn := pair(c.own, "", "safestate-processor")
	stranger := pair(newAuthority(t, "stranger"), "", "safestate-processor")
	for _, q := range []struct {
		who     string
		what    []tls.Certificate
		address string
		may     bool
	}{
		{"a proxy of the mesh, a processor", inMesh, processor.grpc, true},
		{"a proxy of the mesh, a processor's ladder", inMesh, processor.answers, true},
		{"a proxy of the mesh, a control plane", inMesh, control.grpc, false},
		{"a processor, a control plane", ofOwn, control.grpc, true},
		{"a stranger, a processor", stranger, processor.grpc, false},
		{"a stranger, a control plane", stranger, control.grpc, false},
		{"nobody, a processor", nil, processor.grpc, false},
		{"nobody, a processor's ladder", nil, processor.answers, false},
		{"nobody, a control plane", nil, control.grpc, false},
	} {
		if may := accepted(t, c.own, q.address, q.what); may != q.may {
			t.Errorf("%s: accepted %t", q.who, may)
		}
	}
}

// accepted reports whether a server goes on talking to one with these certificates.
func accepted(t *testing.T, of *authority, address string, certificates []tls.Certificate) bool {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(of.Cert)
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: &tls.Config{RootCAs: pool, Certificates: certificates, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(t.Context(), "tcp", address)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }() // it has said what it has to
	if _, err := conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
		return false
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	_, err = conn.Read(make([]byte, 9)) // its settings, or that it refuses the certificate
	return err == nil
}
