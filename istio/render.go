package istio

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
)

// Labels of every object that is made here, by which they are found again, and
// which of them are of nothing any more.
const (
	// LabelPart is PartRoute on what is of a route, and PartBase on what every proxy of
	// a place has: without the first kind the second does nothing.
	LabelPart = "safestate.dev/part"
	PartRoute = "route"
	PartBase  = "base"

	LabelManagedBy = "app.kubernetes.io/managed-by"
	ManagedBy      = "safestate"
)

// filterPriority is that of our EnvoyFilters: behind those without any, so that they
// see the routes as others have left them.
const filterPriority = 100

// Objects are what a snapshot is in a mesh.
type Objects struct {
	// Filters are sorted by namespace and name.
	Filters []*istiov1alpha3.EnvoyFilter
	// Refused says of routes, by their names, why they cannot be carried. Their
	// answers are not inspected.
	Refused map[string]error
	// Routes are those that are in each of Filters, by its namespace/name. Of what is of
	// a place it has none.
	Routes map[string][]string
	// Stops are the Filters, by namespace/name, that stop what is killed.
	Stops map[string]bool
}

// Render gives the objects for a snapshot that WithClusters has made, releases and
// kills included. It is pure and deterministic. An error means that an option cannot
// be expressed; what a single route cannot be is in Refused.
func Render(s *compile.Snapshot, o Options) (*Objects, error) {
	o = o.WithDefaults()
	out := &Objects{Refused: map[string]error{}, Routes: map[string][]string{}, Stops: map[string]bool{}}
	places := map[place][]compile.Route{}
	byObject := map[string][]*compile.Route{}
	for i := range s.Routes {
		r := &s.Routes[i]
		byObject[r.Namespace+"/"+r.Object.Kind+"/"+r.Object.Name] = append(byObject[r.Namespace+"/"+r.Object.Kind+"/"+r.Object.Name], r)
	}
	for _, key := range slices.Sorted(maps.Keys(byObject)) {
		filters, at := routeFilters(s, byObject[key], out.Refused, o)
		out.Filters = append(out.Filters, filters...)
		out.notes(s, filters, byObject[key])
		for _, p := range at {
			for _, r := range byObject[key] {
				places[p] = append(places[p], *r)
			}
		}
	}
	if err := out.addBases(s, places, o); err != nil {
		return nil, err
	}
	if err := out.renderInbound(s, o); err != nil {
		return nil, err
	}
	slices.SortFunc(out.Filters, func(a, b *istiov1alpha3.EnvoyFilter) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for i := range out.Filters[min(1, len(out.Filters)):] {
		if a, b := out.Filters[i], out.Filters[i+1]; a.Namespace == b.Namespace && a.Name == b.Name {
			return nil, fmt.Errorf("two EnvoyFilters would be %s/%s", a.Namespace, a.Name)
		}
	}
	return out, nil
}

// addBases adds what the proxies of places have whatever their routes are. Of a policy
// that only others carry there is nothing in it.
func (out *Objects) addBases(s *compile.Snapshot, places map[place][]compile.Route, o Options) error {
	for _, a := range audiences(distinct(places, o)) {
		here := *s
		here.Routes = a.routes(places, o)
		base, err := baseFilter(&here, &a, o)
		if err != nil {
			return err
		}
		out.Filters = append(out.Filters, base)
	}
	return nil
}

// distinct leaves out the places that another one takes in: nothing may be added
// twice to one proxy.
func distinct(places map[place][]compile.Route, o Options) []place {
	var out []place
	for p := range places {
		everywhere := place{context: p.context, namespace: o.RootNamespace}
		if p == everywhere || places[everywhere] == nil {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, place.compare)
	return out
}

// routeFilters are the EnvoyFilters of the rules of one object, and the places that
// they are for.
func routeFilters(s *compile.Snapshot, rules []*compile.Route, refused map[string]error, o Options) ([]*istiov1alpha3.EnvoyFilter, []place) {
	var all, first []routePatch // what is merged, and what stands in front afterwards
	var places []place
	for _, r := range rules {
		route, err := envoy.MeshRoute(r, envoy.StopsOf(s, r), o.Envoy)
		if err == nil && route == nil {
			continue
		}
		var at []place
		if clash := o.Clashes[Key(r.Object.Kind, r.Name)]; err == nil && clash != "" {
			err = errors.New(clash)
		}
		if err == nil && RouteName(r) == "" {
			err = fmt.Errorf("route %s: http[%d] of VirtualService %s/%s has no name, by which it would be found; want one", r.Name, r.Object.Index, r.Namespace, r.Object.Name)
		}
		if err == nil {
			at, err = placesOf(r, o)
		}
		var patch, answer *networkingv1alpha3.EnvoyFilter_Patch
		if err == nil {
			patch, err = patchOf(networkingv1alpha3.EnvoyFilter_Patch_MERGE, route)
		}
		if ladder := envoy.MeshAnswerRoute(route, r); err == nil && ladder != nil {
			answer, err = patchOf(networkingv1alpha3.EnvoyFilter_Patch_INSERT_FIRST, ladder)
		}
		if err != nil {
			refused[r.Name] = err
			continue
		}
		places = at // of one object they are the same for all rules
		all = append(all, routePatch{r, RouteName(r), patch})
		if answer != nil {
			first = append(first, routePatch{r, r.Name, answer}) // by then it has this name
		}
	}
	all = append(all, first...)
	var out []*istiov1alpha3.EnvoyFilter
	for _, a := range audiences(places) {
		f := newFilter(&a, filterName(rules[0], &a), PartRoute)
		for _, p := range all {
			f.Spec.ConfigPatches = append(f.Spec.ConfigPatches, p.in(&a, o)...)
		}
		if err := fits(f); err != nil {
			for _, p := range all {
				refused[p.route.Name] = fmt.Errorf("route %s: %w", p.route.Name, err)
			}
			return nil, nil
		}
		out = append(out, f)
	}
	return out, places
}

// mostBytes is what an object may take in JSON. The API server's own bound is that of
// a request to etcd, 1.5 MiB.
const mostBytes = 1 << 20

// fits says of an object that is too large what would be right.
func fits(f *istiov1alpha3.EnvoyFilter) error {
	if proto.Size(&f.Spec) < mostBytes/4 { // in JSON it is not four times as much
		return nil
	}
	text, err := json.Marshal(f)
	if err == nil && len(text) > mostBytes {
		err = fmt.Errorf("with the other rules of %s its EnvoyFilter takes %d bytes; want at most %d: fewer rules or hosts in one object, shorter bodies and templates", f.Name, len(text), mostBytes)
	}
	return err
}

// routePatch is one patch of one route, which has a name by then.
type routePatch struct {
	route *compile.Route
	name  string
	patch *networkingv1alpha3.EnvoyFilter_Patch
}

// in is the patch for each virtual host that an audience has of the route, by a domain
// of its: a rule's name is its own only within these. Where the route has no hosts, or
// a name that nobody else has, it is looked for in all: istiod calls a virtual host by
// what a listener leaves of a route's hosts.
func (p *routePatch) in(a *audience, o Options) (out []*networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectPatch) {
	r := p.route
	names, hosts := []string{p.name}, domainsOf(r, a, o)
	for _, m := range r.Object.Matches {
		if p.name != r.Name {
			names = append(names, p.name+"."+m)
		}
	}
	if len(hosts) == 0 || r.Object.Rule == "" || o.alone(r, a) {
		hosts = []string{""}
	}
	for _, h := range hosts {
		for _, n := range names {
			out = append(out, &networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectPatch{
				ApplyTo: networkingv1alpha3.EnvoyFilter_HTTP_ROUTE, Patch: p.patch,
				Match: &networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectMatch{
					Context: a.context,
					ObjectTypes: &networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectMatch_RouteConfiguration{
						RouteConfiguration: &networkingv1alpha3.EnvoyFilter_RouteConfigurationMatch{
							Vhost: &networkingv1alpha3.EnvoyFilter_RouteConfigurationMatch_VirtualHostMatch{
								DomainName: h, Route: &networkingv1alpha3.EnvoyFilter_RouteConfigurationMatch_RouteMatch{Name: n},
							},
						},
					},
				},
			})
		}
	}
	return out
}

// alone reports whether a route is found by its name alone. At sidecars there are
// routes that no object of anybody's makes.
func (o *Options) alone(r *compile.Route, a *audience) bool {
	return a.context == networkingv1alpha3.EnvoyFilter_GATEWAY && r.Object.Rule != routeDefault && o.Alone[Key(r.Object.Kind, r.Name)]
}

// routeDefault is istiod's name of a route that no rule is of.
const routeDefault = "default"

// domainsOf are the domains by which an audience is asked for a route: its hosts, or
// at sidecars those of the Services that it is attached to.
func domainsOf(r *compile.Route, a *audience, o Options) []string {
	var out []string
	if a.context == networkingv1alpha3.EnvoyFilter_GATEWAY || r.Object.Kind == config.KindVirtualService {
		for _, h := range r.Object.Hosts {
			out = append(out, hostOf(h, r.Object.Kind, r.Namespace, o.ClusterDomain))
		}
		return out
	}
	for _, p := range r.Object.Parents {
		if p.Kind == "Service" {
			out = append(out, serviceHost(p.Name, p.Namespace, o.ClusterDomain))
		}
	}
	return out
}

func filterName(r *compile.Route, a *audience) string {
	if a.context == networkingv1alpha3.EnvoyFilter_SIDECAR_OUTBOUND {
		return named("safestate", strings.ToLower(r.Object.Kind), r.Namespace, r.Object.Name, "sidecars")
	}
	return named("safestate", strings.ToLower(r.Object.Kind), r.Namespace, r.Object.Name)
}

// newFilter is one without patches, for an audience.
func newFilter(a *audience, name, part string) *istiov1alpha3.EnvoyFilter {
	return &istiov1alpha3.EnvoyFilter{
		TypeMeta:   metav1.TypeMeta{APIVersion: "networking.istio.io/v1alpha3", Kind: "EnvoyFilter"},
		ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: name, Labels: map[string]string{LabelManagedBy: ManagedBy, LabelPart: part}},
		Spec:       networkingv1alpha3.EnvoyFilter{Priority: filterPriority, TargetRefs: a.targets()},
	}
}

// YAML prints the objects as files have them, one document each.
func (o *Objects) YAML() ([]byte, error) {
	var out []byte
	for _, f := range o.Filters {
		text, err := fileOf(f)
		if err != nil {
			return nil, err
		}
		out = append(append(out, "---\n"...), text...)
	}
	return out, nil
}

func fileOf(f *istiov1alpha3.EnvoyFilter) ([]byte, error) {
	text, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("EnvoyFilter %s/%s: %w", f.Namespace, f.Name, err)
	}
	var object map[string]any
	if err := json.Unmarshal(text, &object); err != nil {
		return nil, err
	}
	delete(object, "status")
	delete(object["metadata"].(map[string]any), "creationTimestamp")
	return yaml.Marshal(object)
}

// Err joins why routes are refused, in their order; nil: none is.
func (o *Objects) Err() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(o.Refused)) {
		errs = append(errs, o.Refused[name])
	}
	return errors.Join(errs...)
}
