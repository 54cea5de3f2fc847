package istio

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
)

// Folder compiles a folder whose routes a mesh serves: HTTPRoutes, GRPCRoutes and
// VirtualServices are read for what is alike in them, safestate's own kinds as ever,
// and all other kinds are left alone: a folder of a Git repository has the rest of an
// installation too. The snapshot has istiod's names of clusters. Where the problems
// hold an error it is nil.
func Folder(dir string, o Options) (*compile.Snapshot, config.Problems) {
	files, err := filesIn(dir)
	if err != nil {
		return nil, config.Problems{{File: dir, Message: err.Error()}}
	}
	var own []config.File
	var routes []document
	var problems config.Problems
	for _, f := range files {
		text, foreign, err := apart(f)
		if err != nil {
			problems = append(problems, config.Problem{File: f.Name, Message: err.Error()})
			continue
		}
		if strings.TrimSpace(strings.ReplaceAll(text, "---", "")) != "" {
			own = append(own, config.File{Name: f.Name, Data: []byte(text)})
		}
		routes = append(routes, foreign...)
	}
	rules, mistakes := rulesIn(routes, modelsIn(own), o)
	grants, wrong := grantsIn(routes)
	mistakes = append(mistakes, wrong...)
	if problems = append(problems, mistakes...); problems.Failed() {
		return nil, problems
	}
	world, found := config.ParseMesh(rules, grants, own...)
	s, found := compile.World(world, found, func(*config.World) config.Problems { return nil })
	problems = append(problems, slices.DeleteFunc(found, func(p config.Problem) bool { return p.Warning && strings.HasSuffix(p.Field, ".endpoints") })...)
	if problems.Failed() {
		return nil, problems
	}
	if o.Services, mistakes = servicesIn(routes); mistakes.Failed() {
		return nil, append(problems, mistakes...)
	}
	s, mistakes = WithClusters(s, o)
	if problems = append(problems, mistakes...); mistakes.Failed() {
		return nil, problems
	}
	return s, problems
}

func filesIn(dir string) ([]config.File, error) {
	var out []config.File
	for _, pattern := range []string{"*.yaml", "*.yml", "*.json"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			out = append(out, config.File{Name: name, Data: data})
		}
	}
	if len(out) == 0 {
		return nil, errors.New("has no *.yaml, *.yml or *.json file; a configuration needs at least one")
	}
	return out, nil
}

// document is one object of a mesh's, and where it is.
type document struct {
	file string
	kind string
	json []byte
}

var separator = regexp.MustCompile(`(?m)^---([ \t].*)?$`)

// apart takes a file apart: what is of our own kinds, with every line where it was,
// and the routes and the ReferenceGrants of a mesh's.
func apart(f config.File) (own string, routes []document, err error) {
	var out strings.Builder
	text, rest := string(f.Data), 0
	for rest <= len(text) {
		end, next := len(text), len(text)+1
		if at := separator.FindStringIndex(text[rest:]); at != nil {
			end, next = rest+at[0], rest+at[1]
		}
		part := text[rest:end]
		keep := part
		var object struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
		}
		// What cannot be read is ours to refuse: it keeps its place.
		if body, err := yaml.YAMLToJSON([]byte(part)); err == nil && json.Unmarshal(body, &object) == nil && object.Kind != "" {
			group, _, _ := strings.Cut(object.APIVersion, "/")
			if object.APIVersion == "v1" && object.Kind == "List" {
				return "", nil, fmt.Errorf("%s: has a List, of which nothing would be read; want its items as documents of their own, with --- between them", f.Name)
			}
			if group != v1alpha1.Group || object.Kind == kindKillSwitch {
				keep = strings.Repeat("\n", strings.Count(part, "\n"))
			}
			if group == gatewayv1.GroupName || group == config.GroupIstio || object.APIVersion == "v1" && object.Kind == kindService {
				routes = append(routes, document{f.Name, object.Kind, body})
			}
		}
		out.WriteString(keep)
		if next <= len(text) {
			out.WriteString("---")
		}
		rest = next
	}
	return out.String(), routes, nil
}

// modelsIn are the models of files, as far as they can be read: their mistakes are
// told by who reads them strictly.
func modelsIn(files []config.File) []*v1alpha1.Model {
	world, _ := config.Parse(files...)
	var out []*v1alpha1.Model
	for _, m := range world.Models {
		m.Value.Namespace = m.Namespace
		out = append(out, m.Value)
	}
	return out
}

// rulesIn are the rules of all routes.
func rulesIn(routes []document, models []*v1alpha1.Model, o Options) (out []config.Rule, problems config.Problems) {
	for _, d := range routes {
		var err error
		switch d.kind {
		case config.KindHTTPRoute:
			r := &gatewayv1.HTTPRoute{}
			if err = json.Unmarshal(d.json, r); err == nil {
				r.Namespace = namespaceOf(r.Namespace)
				out = append(out, HTTPRouteRules(r)...)
			}
		case config.KindGRPCRoute:
			r := &gatewayv1.GRPCRoute{}
			if err = json.Unmarshal(d.json, r); err == nil {
				r.Namespace = namespaceOf(r.Namespace)
				out = append(out, GRPCRouteRules(r)...)
			}
		case config.KindVirtualService:
			v := &istiov1.VirtualService{}
			if err = json.Unmarshal(d.json, v); err == nil {
				v.Namespace = namespaceOf(v.Namespace)
				out = append(out, VirtualServiceRules(v, models, o)...)
			}
		}
		if err != nil {
			problems = append(problems, config.Problem{File: d.file, Message: fmt.Sprintf("a %s cannot be read: %v", d.kind, err)})
		}
	}
	return Relevant(out, models), problems
}

// grantsIn are all ReferenceGrants.
func grantsIn(documents []document) (out []*gatewayv1.ReferenceGrant, problems config.Problems) {
	for _, d := range documents {
		if d.kind != config.KindReferenceGrant {
			continue
		}
		g := &gatewayv1.ReferenceGrant{}
		if err := json.Unmarshal(d.json, g); err != nil {
			problems = append(problems, config.Problem{File: d.file, Message: fmt.Sprintf("a %s cannot be read: %v", d.kind, err)})
			continue
		}
		out = append(out, g)
	}
	return out, problems
}

// Kinds that are told apart here. A KillSwitch is a cluster's to carry out.
const (
	kindService    = "Service"
	kindKillSwitch = "KillSwitch"
)

// servicesIn are all Services, by namespace/name.
func servicesIn(documents []document) (out map[string]*corev1.Service, problems config.Problems) {
	out = map[string]*corev1.Service{}
	for _, d := range documents {
		if d.kind != kindService {
			continue
		}
		s := &corev1.Service{}
		if err := json.Unmarshal(d.json, s); err != nil {
			problems = append(problems, config.Problem{File: d.file, Message: fmt.Sprintf("a %s cannot be read: %v", d.kind, err)})
			continue
		}
		out[namespaceOf(s.Namespace)+"/"+s.Name] = s
	}
	return out, problems
}

func namespaceOf(written string) string {
	if written == "" {
		return config.DefaultNamespace
	}
	return written
}

// Relevant leaves out the rules that lead to no model: they are none of ours. Whether
// they may is not asked: of those that may not it is said.
func Relevant(rules []config.Rule, models []*v1alpha1.Model) []config.Rule {
	type service struct{ namespace, name, subset string }
	ours := map[service]bool{}
	for _, m := range models {
		for i := range m.Spec.Versions {
			if ref := m.Spec.Versions[i].BackendRef; ref != nil {
				name, _ := config.ServiceOf(ref)
				ours[service{m.Namespace, name, ref.Subset}] = true
			}
		}
	}
	return slices.DeleteFunc(rules, func(r config.Rule) bool {
		return !slices.ContainsFunc(r.Backends, func(b config.Backend) bool { return ours[service{b.In(r.Namespace), string(b.Name), b.Subset}] })
	})
}
