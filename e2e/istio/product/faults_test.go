package product

import (
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kube "sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/e2e/istio/cluster"
	"github.com/safestate/safestate/internal/api/v1alpha1"
)

// What is broken in these tests stays so for away. Each first shows that it is broken,
// and most have callers all the while.
var away = flag.Duration("away", 10*time.Second, "how long a fault lasts")

// guarded starts safestate with the policy in force at the gateway.
func (s *stand) guarded(extra ...string) {
	s.t.Helper()
	s.serve(extra...)
	s.apply(policy)
	s.until("the policy is at the gateway", func(a answer) bool { return a.source == "primary" && a.version == "v1" })
}

// rollout starts one of v2, and waits until it has traffic.
func (s *stand) rollout(steps ...string) {
	s.t.Helper()
	args := []string{"rollout", "start", "models/fraud", "v2", "--reason", "a new version"}
	for _, step := range steps {
		args = append(args, "--step", step)
	}
	s.command(args...)
}

// command runs a command of safestate's that has to succeed.
func (s *stand) command(args ...string) string {
	s.t.Helper()
	out, err := s.run(args...)
	if err != nil {
		s.t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// status is what safestate says of itself.
type status struct {
	Well     bool
	Troubles []struct{ About, What string }
	Leader   struct{ Replica string }
	Store    struct {
		Well    bool
		Problem string
	}
	Configuration struct{ Problems []string }
	Kills         []struct {
		Target     string
		Killed     bool
		Generation uint64
	}
}

func (s *stand) status() (out status) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.command("status", "-o", "json")), &out); err != nil {
		s.t.Fatal(err)
	}
	return out
}

// troubled waits until the status names a trouble that begins with a text.
func (s *stand) troubled(what string) {
	s.t.Helper()
	dataplane.Eventually(s.t, patience, "the status says: "+what, func() bool {
		return slices.ContainsFunc(s.status().Troubles, func(t struct{ About, What string }) bool { return strings.HasPrefix(t.What, what) })
	})
}

// killed is the generation of a target that is killed; 0: it is not.
func (s *stand) killed(target string) uint64 {
	s.t.Helper()
	for _, k := range s.status().Kills {
		if k.Target == target && k.Killed {
			return k.Generation
		}
	}
	return 0
}

// stored is a record of safestate's in the API server, by the end of its key; nil:
// there is none.
func (s *stand) stored(key string) (value map[string]any) {
	s.t.Helper()
	var l v1alpha1.StateRecordList
	u := &unstructured.UnstructuredList{}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("StateRecordList"))
	if err := s.api.Admin.Client.List(s.t.Context(), u, kube.InNamespace(own)); err != nil {
		return nil // the kind may be gone
	}
	text, err := u.MarshalJSON()
	if err == nil {
		err = json.Unmarshal(text, &l)
	}
	for i := range l.Items {
		if err == nil && strings.HasSuffix(l.Items[i].Spec.Key, key) {
			err = json.Unmarshal(l.Items[i].Spec.Value, &value)
		}
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return value
}

// kill kills a target by the command, which has to be in force when it ends.
func (s *stand) kill(target string) {
	s.t.Helper()
	began := time.Now()
	out, _ := s.run("kill", target, "--reason", "scores are wrong", "--wait", "1s")
	s.t.Logf("after %s: %s", time.Since(began), out)
	if !strings.Contains(out, "KILLED") {
		s.t.Fatalf("%s is not killed: %s", target, out)
	}
}

// revive is the way back.
func (s *stand) revive(target string) {
	s.t.Helper()
	out, _ := s.run("revive", target, "--reason", "the feed is back", "--wait", "1s", "--generation", fmt.Sprint(s.killed(target)))
	if s.killed(target) != 0 {
		s.t.Fatalf("%s is not revived: %s", target, out)
	}
}

// route is all that the gateway has of the HTTPRoute's first rule.
func (s *stand) route() string {
	s.t.Helper()
	for _, name := range []string{"models.fraud.0", "models/fraud/rule-0"} { // with the policy it has the second
		if r, ok := s.gateway.Route(s.t, name); ok {
			return string(r.Raw)
		}
	}
	s.t.Fatal("the gateway has no such route")
	return ""
}

// share is how much of the route's traffic the gateway sends to a version's Service, in
// percent.
func (s *stand) share(service string) (percent int) {
	s.t.Helper()
	var route cluster.Route
	if err := json.Unmarshal([]byte(s.route()), &route); err != nil {
		s.t.Fatal(err)
	}
	text, _ := json.Marshal(route.Route)
	var to struct {
		Cluster  string
		Weighted struct {
			Clusters []struct {
				Name   string
				Weight int
			}
		} `json:"weighted_clusters"`
	}
	if err := json.Unmarshal(text, &to); err != nil {
		s.t.Fatal(err)
	}
	if strings.Contains(to.Cluster, service+".models.") {
		return 100
	}
	sum := 0
	for _, c := range to.Weighted.Clusters {
		sum += c.Weight
		if strings.Contains(c.Name, service+".models.") {
			percent = c.Weight
		}
	}
	return percent * 100 / max(sum, 1)
}

// routed waits until the gateway gives a version's Service a share.
func (s *stand) routed(service string, percent int) {
	s.t.Helper()
	began := time.Now()
	dataplane.Eventually(s.t, 3*patience, fmt.Sprintf("the gateway gives %s %d %%", service, percent), func() bool { return s.share(service) == percent })
	s.t.Logf("the gateway gives %s %d %% after %s", service, percent, time.Since(began))
}

// stopped fails where v1 is asked within a while, or an answer is not the last rung's.
// The processor has to have said why at least once: on a machine that is busy the proxy
// may answer in its place.
func (s *stand) stopped(d time.Duration, also func() bool) {
	s.t.Helper()
	asked := s.v1.asked.Load()
	var last answer
	why := map[string]int{}
	defer func() { s.t.Logf("%v, the last %s", why, last) }()
	s.lasting(d, "v1 is stopped", func() bool {
		last = s.infer()
		why[last.reason]++
		return last.source == "safe_default" && also()
	})
	if now := s.v1.asked.Load(); now > asked+5 { // some were on their way
		s.t.Errorf("what is killed was asked %d times", now-asked)
	}
	if why["killed version models/fraud/v1"] == 0 {
		s.t.Error("nothing was answered because of the kill")
	}
}

func always() bool { return true }

// lasting waits for a while, in which something has to hold all the time.
func (s *stand) lasting(d time.Duration, what string, holds func() bool) {
	s.t.Helper()
	end := time.Now().Add(d)
	dataplane.Eventually(s.t, d+patience, what, func() bool {
		if !holds() {
			s.t.Fatalf("not any more: %s", what)
		}
		return time.Now().After(end)
	})
}

// unharmed ends a load of which nobody may have noticed anything.
func (s *stand) unharmed(l *load) {
	s.t.Helper()
	c := l.stop()
	s.t.Log(c)
	if c.failed > 0 || c.nan > 0 || c.all == 0 {
		s.t.Errorf("callers saw %d failures and %d NaN of %d: %s", c.failed, c.nan, c.all, c.last)
	}
}

func (s *stand) condition(kind, name, typ string) string {
	s.t.Helper()
	return s.conditionIn("models", kind, name, typ)
}

// conditionIn is one of an object's conditions, also of a policy's first ancestor:
// "status reason message"; empty: it has none of that type.
func (s *stand) conditionIn(namespace, kind, name, typ string) string {
	s.t.Helper()
	o, err := s.api.Admin.Get(s.t.Context(), "safestate.dev/v1alpha1 "+kind, namespace, name)
	if err != nil {
		return ""
	}
	text, _ := json.Marshal(o.Object["status"])
	var status struct {
		Conditions []metav1.Condition
		Ancestors  []struct{ Conditions []metav1.Condition }
	}
	if err := json.Unmarshal(text, &status); err != nil {
		s.t.Fatal(err)
	}
	for _, a := range status.Ancestors {
		status.Conditions = append(status.Conditions, a.Conditions...)
	}
	for _, c := range status.Conditions {
		if c.Type == typ {
			return fmt.Sprintf("%s %s %s", c.Status, c.Reason, c.Message)
		}
	}
	return ""
}

// says waits until a condition begins with a text, and returns it.
func (s *stand) says(kind, name, typ, text string) (last string) {
	s.t.Helper()
	defer func() { s.t.Logf("%s %s: %s: %s", kind, name, typ, last) }()
	dataplane.Eventually(s.t, patience, fmt.Sprintf("%s of %s %s is %s", typ, kind, name, text), func() bool {
		last = s.condition(kind, name, typ)
		return strings.HasPrefix(last, text)
	})
	return last
}

// events are the notes of those with a reason.
func (s *stand) events(reason string) (notes []string) {
	s.t.Helper()
	l := &unstructured.UnstructuredList{}
	l.SetGroupVersionKind(schema.GroupVersionKind{Group: "events.k8s.io", Version: "v1", Kind: "EventList"})
	if err := s.api.Admin.Client.List(s.t.Context(), l); err != nil {
		s.t.Fatal(err)
	}
	for i := range l.Items {
		if l.Items[i].Object["reason"] == reason {
			notes = append(notes, fmt.Sprint(l.Items[i].Object["note"]))
		}
	}
	return notes
}

// told waits for an Event of a reason whose note has a text; there may be no other.
func (s *stand) told(reason, text string) {
	s.t.Helper()
	var notes []string
	dataplane.Eventually(s.t, patience, "an Event "+reason, func() bool { notes = s.events(reason); return len(notes) > 0 })
	s.t.Logf("%s: %q", reason, notes)
	if len(notes) != 1 || !strings.Contains(notes[0], text) {
		s.t.Errorf("%s: %q, want one Event that has %s", reason, notes, text)
	}
}

// filters are safestate's EnvoyFilters, by namespace/name.
func (s *stand) filters() map[string]*unstructured.Unstructured {
	s.t.Helper()
	l := &unstructured.UnstructuredList{}
	l.SetGroupVersionKind(schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1alpha3", Kind: "EnvoyFilterList"})
	if err := s.api.Admin.Client.List(s.t.Context(), l, kube.MatchingLabels{"app.kubernetes.io/managed-by": "safestate"}); err != nil && !apierrors.IsNotFound(err) {
		s.t.Fatal(err)
	}
	out := map[string]*unstructured.Unstructured{}
	for i := range l.Items {
		out[l.Items[i].GetNamespace()+"/"+l.Items[i].GetName()] = &l.Items[i]
	}
	return out
}

// object reads one, with its kind in full.
func (s *stand) object(kind, name string) *unstructured.Unstructured {
	s.t.Helper()
	o, err := s.api.Admin.Get(s.t.Context(), kind, "models", name)
	if err != nil {
		s.t.Fatal(err)
	}
	return o
}

// v1 is the key of a version, and routeFilter the EnvoyFilter of the route to it.
const (
	v1          = "version/models/fraud/v1"
	routeFilter = "models/safestate-httproute-models-fraud-e0347a4e1961958b81e0"
)

const (
	kindHTTPRoute      = "gateway.networking.k8s.io/v1 HTTPRoute"
	kindVirtualService = "networking.istio.io/v1 VirtualService"
	kindEnvoyFilter    = "networking.istio.io/v1alpha3 EnvoyFilter"
	kindDefinition     = "apiextensions.k8s.io/v1 CustomResourceDefinition"
)

// together runs subtests on one stand.
func (s *stand) part(name string, do func(s *stand)) {
	s.t.Run(name, func(t *testing.T) {
		of := *s
		of.t = t
		do(&of)
	})
}
