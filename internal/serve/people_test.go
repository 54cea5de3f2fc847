package serve

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/access"
)

func TestWhatContradictsWhoMayAsk(t *testing.T) {
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"no API":                  {Options{Role: RoleExtProc, AccessFile: "a"}, "has no API"},
		"nothing to tell":         {Options{NoReleases: true, ConfigDir: "c", NotifyFile: "n"}, "has nothing to tell"},
		"TLS without certificate": {Options{ConfigDir: "c", HTTPTLS: true}, "--http-tls needs --tls-cert"},
		"tokens in the clear":     {Options{ConfigDir: "c", AccessFile: "a", HTTP: "0.0.0.0:8686"}, "tokens would travel readably"},
		"everybody's":             {Options{ConfigDir: "c", HTTP: "0.0.0.0:8686"}, "without --access-file"},
		"everybody's, over TLS":   {Options{ConfigDir: "c", HTTP: ":8686", HTTPTLS: true, TLS: TLSFiles{Cert: "a", Key: "b", ClientCA: "c"}}, "without --access-file"},
		"no such file":            {Options{ConfigDir: folder(t), DataDir: t.TempDir(), AccessFile: "/none/access.yaml"}, "--access-file: /none/access.yaml: no such file"},
		"no such notify file":     {Options{ConfigDir: folder(t), DataDir: t.TempDir(), NotifyFile: "/none/notify.yaml"}, "--notify-file: /none/notify.yaml: no such file"},
	} {
		if c.o.HTTP == "" {
			c.o.HTTP = "127.0.0.1:0"
		}
		c.o.GRPC, c.o.Answers, c.o.LogTo = "127.0.0.1:0", "127.0.0.1:0", io.Discard
		if err := Run(t.Context(), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, fine := range map[string]Options{
		"asked for":              {Role: RoleAll, AccessFile: "a", HTTP: "0.0.0.0:8686", HTTPUnprotected: true},
		"asked for, nobody's":    {Role: RoleAll, HTTP: "0.0.0.0:8686", HTTPUnprotected: true},
		"without an API":         {Role: RoleExtProc, HTTP: "0.0.0.0:8686"},
		"without releases":       {Role: RoleAll, NoReleases: true, HTTP: "0.0.0.0:8686"},
		"of this machine":        {Role: RoleAll, HTTP: "127.0.0.1:8686"},
		"an access file and TLS": {Role: RoleAll, AccessFile: "a", HTTP: "0.0.0.0:8686", HTTPTLS: true, TLS: TLSFiles{Cert: "a", Key: "b", ClientCA: "c"}},
	} {
		if err := fine.checkPeople(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWhoMayAsk runs all of it: an access file, --http over TLS, a token, a client
// certificate, a change of the file, and a webhook that hears of a rollback.
func TestWhoMayAsk(t *testing.T) {
	dir := t.TempDir()
	ca, people := newAuthority(t, dir, "ca"), newAuthority(t, dir, "people")
	cert, key := ca.issue(dir, "server")
	ann, annKey := people.issue(dir, "ann")
	token := access.NewToken()
	digest, err := access.Digest(token)
	if err != nil {
		t.Fatal(err)
	}
	accessFile := filepath.Join(dir, "access.yaml")
	text := fmt.Sprintf("tokens:\n- {name: bot, sha256: %q}\nclientCA: people.pem\ncertificates:\n- {name: ann, commonName: ann}\n"+
		"grants:\n- {to: [token:bot], roles: [viewer], models: [\"*\"]}\n- {to: [cert:ann], roles: [operator], models: [\"default/fraud\"]}\n", digest)
	write(t, accessFile, text)
	heard := make(chan string, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		heard <- string(body)
	}))
	defer hook.Close()
	notifyFile := filepath.Join(dir, "notify.yaml")
	write(t, notifyFile, "receivers:\n- {name: hook, form: webhook, url: \""+hook.URL+"\"}\n")

	config := folder(t)
	two := strings.ReplaceAll(configuration("fraud", "0.5"), "    endpoints: [{address: 127.0.0.1, port: 9101}]\n",
		"    endpoints: [{address: 127.0.0.1, port: 9101}]\n  - name: v2\n    backendRef: {name: fraud-v2, port: 80}\n    endpoints: [{address: 127.0.0.1, port: 9102}]\n")
	write(t, filepath.Join(config, "fraud.yaml"), strings.ReplaceAll(two, "backendRefs: [{name: fraud-v1, port: 80, weight: 100}]",
		"backendRefs: [{name: fraud-v1, port: 80, weight: 100}, {name: fraud-v2, port: 80, weight: 0}]"))
	r := start(t, config, func(o *Options) {
		o.TLS, o.HTTPTLS = TLSFiles{Cert: cert, Key: key, ClientCA: ca.file}, true
		o.AccessFile, o.NotifyFile = accessFile, notifyFile
	})
	roots := x509.NewCertPool()
	roots.AddCert(ca.Cert)
	pair, err := tls.LoadX509KeyPair(ann, annKey)
	if err != nil {
		t.Fatal(err)
	}
	plain := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	asAnn := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}, DisableKeepAlives: true}}
	ask := func(c *http.Client, method, path, body, bearer string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "https://"+r.http+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if bearer != "" {
			req.Header.Set("Authorization", "Bearer "+bearer)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == http.StatusUnauthorized && resp.Header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s %s: no WWW-Authenticate", method, path)
		}
		return resp.StatusCode, string(answer)
	}
	const rollout = "/v1/models/default/fraud/rollout"
	until(t, "the model", func() bool { code, _ := ask(plain, "GET", "/v1/models/default/fraud", "", token); return code == 200 })
	for _, c := range []struct {
		name         string
		client       *http.Client
		method, path string
		body, bearer string
		code         int
		says         string
	}{
		{"this machine is nobody", plain, "GET", "/v1/status", "", "", 401, "nobody knows who asks"},
		{"health is everybody's", plain, "GET", "/healthz", "", "", 200, "ok"},
		{"a token reads", plain, "GET", "/v1/status", "", token, 200, "default/fraud"},
		{"a token changes nothing", plain, "POST", rollout, `{"action":"start","version":"v2","reason":"x"}`, token, 403, "token:bot has no role operator"},
		{"a wrong token", asAnn, "GET", "/v1/status", "", "wrong", 401, "not known"},
		{"a backup is everything", asAnn, "GET", "/v1/store/backup", "", "", 403, "but not for everything"},
		{"a certificate changes its model", asAnn, "POST", rollout, `{"action":"start","version":"v2","reason":"try it"}`, "", 200, "cert:ann"},
	} {
		if code, body := ask(c.client, c.method, c.path, c.body, c.bearer); code != c.code || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %s", c.name, code, body)
		}
	}

	var told struct {
		Events []struct{ Kind, By, Model string }
	}
	select {
	case body := <-heard:
		if err := json.Unmarshal([]byte(body), &told); err != nil || len(told.Events) != 1 || told.Events[0].By != "cert:ann" || told.Events[0].Model != "default/fraud" {
			t.Errorf("the webhook heard %s", body)
		}
	case <-time.After(time.Minute):
		t.Error("the webhook heard nothing")
	}

	write(t, accessFile, text+"nonsense: 1\n")
	until(t, "the mistake", func() bool {
		_, body := ask(plain, "GET", "/v1/status", "", token)
		return strings.Contains(body, "nonsense: is no field")
	})
	write(t, accessFile, strings.Replace(text, "{name: bot, sha256: \""+digest[:8], "{name: bot, sha256: \"00000000", 1))
	until(t, "the token's end", func() bool { code, _ := ask(plain, "GET", "/v1/status", "", token); return code == 401 })
	plain.CloseIdleConnections()
	asAnn.CloseIdleConnections()
}
