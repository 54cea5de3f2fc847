package cluster

import (
	"context"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const administrator = "admin"

// User is somebody whom the API server knows. It is safe for concurrent use.
type User struct {
	// Name is the user's as RBAC has it.
	Name string
	// Kubeconfig is the path of a file that names the server and the user.
	Kubeconfig string
	// Config is the same for client-go; copy it before a change.
	Config *rest.Config
	// Client reads and writes without a cache, and learns of new kinds itself.
	Client client.Client
}

// tokens are the users of the token file with their groups.
func (a *API) tokens() map[string][]string {
	all := maps.Clone(a.opts.Users)
	if all == nil {
		all = map[string][]string{}
	}
	all[administrator] = []string{"system:masters"}
	return all
}

func tokenOf(name string) string { return "token-of-" + name }

// As returns the administrator, or a user that the options named.
func (a *API) As(name string) *User {
	a.t.Helper()
	u := a.users[name]
	if u == nil {
		a.t.Fatalf("nobody is called %s: name them in Options.Users", name)
	}
	return u
}

// ServiceAccount makes a service account, unless there is one, and returns it
// with a token for an hour: the rights it has are those that bindings give it.
func (a *API) ServiceAccount(t testing.TB, namespace, name string) *User {
	t.Helper()
	a.Admin.Apply(t, "test", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: "+name+", namespace: "+namespace+"}\n")
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	request := &authenticationv1.TokenRequest{}
	if err := a.Admin.Client.SubResource("token").Create(t.Context(), account, request); err != nil {
		t.Fatalf("a token for %s/%s: %v", namespace, name, err)
	}
	return a.newUser("system:serviceaccount:"+namespace+":"+name, request.Status.Token)
}

func (a *API) newUser(name, token string) *User {
	a.t.Helper()
	config := &rest.Config{
		Host:            a.URL,
		BearerToken:     token,
		TLSClientConfig: rest.TLSClientConfig{CAData: a.authority()},
		QPS:             -1, // a test asks as often as it likes
	}
	c, err := client.New(config, client.Options{Log: logr.New(log.NullLogSink{})})
	if err != nil {
		a.t.Fatalf("a client of %s: %v", a.URL, err)
	}
	path := filepath.Join(a.folder, strings.ReplaceAll(name, ":", "-")+".kubeconfig")
	file := clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"test": {Server: a.URL, CertificateAuthorityData: a.authority()}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: {Token: token}},
		Contexts:       map[string]*clientcmdapi.Context{"test": {Cluster: "test", AuthInfo: name}},
		CurrentContext: "test",
	}
	if err := clientcmd.WriteToFile(file, path); err != nil {
		a.t.Fatal(err)
	}
	return &User{Name: name, Kubeconfig: path, Config: config, Client: c}
}

// ready asks /readyz as the administrator.
func (a *API) ready() bool {
	authority := a.authority()
	if authority == nil {
		return false
	}
	config := &rest.Config{Host: a.URL, BearerToken: tokenOf(administrator), TLSClientConfig: rest.TLSClientConfig{CAData: authority}, Timeout: 10 * time.Second}
	c, err := rest.HTTPClientFor(config)
	if err != nil {
		return false // the certificate is half written
	}
	defer c.CloseIdleConnections()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, a.URL+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := c.Do(r)
	if err != nil {
		return false
	}
	_ = resp.Body.Close() // only the status counts
	return resp.StatusCode == http.StatusOK
}
