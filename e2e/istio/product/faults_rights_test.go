package product

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/e2e/istio/cluster"
)

const account = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: safestate-control, namespace: safestate-system}
`

const binding = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: safestate-control}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: safestate-control, namespace: safestate-system}]
`

// TestRightsRevoked: safestate's rights are taken away, or its account with the token.
// What holds stays, a kill holds at once, and both are written when the rights are
// there again, without a restart.
func TestRightsRevoked(t *testing.T) {
	s := newStand(t)
	s.apply(account + "---" + binding)
	user := s.account()
	s.guarded()
	for _, fault := range []struct {
		name            string
		revoke, restore func()
		refused         func(error) bool
	}{
		{"rights", func() { s.api.Admin.Delete(t, binding) }, func() { s.apply(binding) }, apierrors.IsForbidden},
		{"account", func() { s.api.Admin.Delete(t, account) }, func() { s.apply(account); s.account() }, apierrors.IsUnauthorized},
	} {
		s.part(fault.name, func(s *stand) {
			load, before := s.load(100), s.filters()
			fault.revoke()
			dataplane.Eventually(t, patience, "safestate is refused", func() bool {
				_, err := user.Get(t.Context(), kindHTTPRoute, "models", "fraud")
				return fault.refused(err)
			})
			s.v1.nan.Store(true)
			s.until("answers are inspected", func(a answer) bool { return a.source == "safe_default" })
			s.v1.nan.Store(false)
			s.kill(v1)
			s.stopped(*away, always)
			var is status
			dataplane.Eventually(t, patience, "it says so", func() bool { is = s.status(); return !is.Well && !is.Store.Well })
			t.Logf("%+v", is.Store)
			t.Logf("%+v", is.Troubles)
			_, ready := get("http://" + s.http + "/readyz")
			t.Log(ready)
			if s.stored("kills/" + v1)["killed"] == true {
				t.Error("the kill is in the store: nothing was revoked")
			}
			if now := names(s.filters()); strings.Join(now, " ") != strings.Join(names(before), " ") {
				t.Errorf("EnvoyFilters are %v, were %v", now, names(before))
			}
			fault.restore()
			s.written(before)
			s.unharmed(load)
			s.revive(v1)
			s.until("v1 is back", func(a answer) bool { return a.source == "primary" })
		})
	}
	if s.safestate.Exited() {
		t.Error("safestate has ended")
	}
}

// account has safestate run as its service account, whose token is in a file, as in a
// pod: it is replaced there while safestate runs.
func (s *stand) account() *cluster.User {
	s.t.Helper()
	user := s.api.ServiceAccount(s.t, own, "safestate-control")
	config, err := clientcmd.LoadFromFile(user.Kubeconfig)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.kubeconfig == "" {
		s.kubeconfig = filepath.Join(s.t.TempDir(), "kubeconfig")
	}
	token := s.kubeconfig + ".token"
	for _, info := range config.AuthInfos {
		if err := os.WriteFile(token, []byte(info.Token), 0o600); err != nil {
			s.t.Fatal(err)
		}
		info.Token, info.TokenFile = "", token
	}
	if err := clientcmd.WriteToFile(*config, s.kubeconfig); err != nil {
		s.t.Fatal(err)
	}
	return user
}
