package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/scan"
)

// shape holds one answer of our own to the protocol's schema and to the
// outputs that the policy declares.
type shape struct {
	protocol v1alpha1.Protocol
	detect   *v1alpha1.Detect
	text     string
	found    []string
}

func (a *shape) bad(format string, args ...any) {
	a.found = append(a.found, fmt.Sprintf(format, args...))
}

// check returns what is wrong, each a clause that starts with the place.
func (a *shape) check(v any) []string {
	switch a.protocol {
	case v1alpha1.OpenInferenceV2:
		a.openInferenceV2(v)
	case v1alpha1.OpenInferenceV1, v1alpha1.TensorFlowServing, v1alpha1.MLflow:
		a.predictions(v)
	case v1alpha1.OpenAI:
		a.completion(v)
	case v1alpha1.JSON:
		a.byPath()
	default: // unknown: that is reported elsewhere
	}
	return a.found
}

// openInferenceV2: {"model_name": …, "outputs": [{name, datatype, shape, data}]}.
func (a *shape) openInferenceV2(v any) {
	root, ok := v.(map[string]any)
	if !ok {
		a.bad("it is %s; want an object", jsonKind(v))
		return
	}
	if name, ok := root["model_name"].(string); !ok || name == "" {
		a.bad("model_name is %s; want a text", jsonKind(root["model_name"]))
	}
	for _, key := range []string{"model_version", "id"} {
		if member, has := root[key]; has {
			a.text1(key, member)
		}
	}
	a.parameters("parameters", root)
	outputs, ok := root["outputs"].([]any)
	if !ok || len(outputs) == 0 {
		a.bad("outputs is %s; want a list of {name, datatype, shape, data}", jsonKind(root["outputs"]))
		return
	}
	names := map[string]bool{}
	for i, o := range outputs {
		a.tensor(fmt.Sprintf("outputs[%d]", i), o, names)
	}
	a.missing(names)
	a.unknown(names)
}

func (a *shape) text1(place string, v any) {
	if _, ok := v.(string); !ok {
		a.bad("%s is %s; want a text", place, jsonKind(v))
	}
}

func (a *shape) parameters(place string, of map[string]any) {
	if member, has := of["parameters"]; has && member != wild {
		if _, ok := member.(map[string]any); !ok {
			a.bad("%s is %s; want an object", place, jsonKind(member))
		}
	}
}

// scalars wants every parameter to be one, as a message of gRPC has no other.
func (a *shape) scalars(body string) {
	v, err := decodeJSON(fillWild(reasonsPlaceholder.ReplaceAllString(body, "[0]")))
	if err != nil {
		return // reported where it is compiled
	}
	root, _ := v.(map[string]any)
	a.scalarMembers("parameters", root["parameters"])
	outputs, _ := root["outputs"].([]any)
	for i, o := range outputs {
		output, _ := o.(map[string]any)
		a.scalarMembers(fmt.Sprintf("outputs[%d].parameters", i), output["parameters"])
	}
}

func (a *shape) scalarMembers(place string, v any) {
	members, _ := v.(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(members)) {
		switch members[key].(type) {
		case []any, map[string]any:
			a.bad("%s is %s; want a text, a number or a boolean, as gRPC has no other parameters", join(place, key), jsonKind(members[key]))
		}
	}
}

func (a *shape) tensor(place string, v any, names map[string]bool) {
	t, ok := v.(map[string]any)
	if !ok {
		a.bad("%s is %s; want {name, datatype, shape, data}", place, jsonKind(v))
		return
	}
	name, ok := t["name"].(string)
	if !ok || name == "" {
		a.bad("%s.name is %s; want a text", place, jsonKind(t["name"]))
	} else if names[name] {
		a.bad("%s.name is %s, which an earlier output has too", place, quote(name))
	}
	names[name] = true
	a.parameters(place+".parameters", t)
	datatype, ok := t["datatype"].(string)
	if !ok || !slices.Contains(v1alpha1.Datatype("").Values(), datatype) {
		a.bad("%s.datatype is %s; want %s", place, jsonKind(t["datatype"]), oneOf(v1alpha1.Datatype("").Values()))
		datatype = ""
	}
	extents, known := a.extents(place+".shape", t["shape"])
	leaves, counted := a.data(place+".data", t["data"])
	if product, fits := volume(extents); known && counted && (!fits || product != int64(len(leaves))) {
		a.bad("%s.data: the number of elements is %d; shape %s wants %s", place, len(leaves), shapeText(extents), volumeText(product, fits))
	}
	for i, leaf := range leaves {
		if problem := element(datatype, leaf); problem != "" {
			a.bad("%s.data[%d] is %s; want %s", place, i, jsonText(leaf), problem)
			break // one element says it for all
		}
	}
	if o := a.declared(name); o != nil {
		a.promised(place, o, datatype, extents, known, leaves)
	}
}

// extents reads a shape; false: it was wrong, or only the request decides.
func (a *shape) extents(place string, v any) ([]int64, bool) {
	list, ok := v.([]any)
	if v == wild {
		return nil, false
	}
	if !ok {
		a.bad("%s is %s; want a list of extents such as [1]", place, jsonKind(v))
		return nil, false
	}
	extents := make([]int64, 0, len(list))
	for i, item := range list {
		if item == wild {
			return nil, false
		}
		n, ok := integer(item)
		if !ok || n < 0 {
			a.bad("%s[%d] is %s; want a whole number from 0", place, i, jsonText(item))
			return nil, false
		}
		extents = append(extents, n)
	}
	return extents, true
}

// data flattens a tensor's elements; false: it was wrong, or only the request
// decides how many there are.
func (a *shape) data(place string, v any) ([]any, bool) {
	if v == wild {
		return nil, false
	}
	list, ok := v.([]any)
	if !ok {
		a.bad("%s is %s; want a list", place, jsonKind(v))
		return nil, false
	}
	return flattenJSON(list, nil), true
}

func flattenJSON(list []any, into []any) []any {
	for _, item := range list {
		if inner, ok := item.([]any); ok {
			into = flattenJSON(inner, into)
			continue
		}
		into = append(into, item)
	}
	return into
}

// predictions: {"predictions": …}, a list of rows.
func (a *shape) predictions(v any) {
	root, ok := v.(map[string]any)
	if !ok {
		a.bad("it is %s; want an object with predictions", jsonKind(v))
		return
	}
	if root["predictions"] == wild {
		return
	}
	rows, ok := root["predictions"].([]any)
	if !ok {
		a.bad("predictions is %s; want a list", jsonKind(root["predictions"]))
		return
	}
	names := map[string]bool{}
	for i, row := range rows {
		place := fmt.Sprintf("predictions[%d]", i)
		if row == nil {
			a.bad("%s is null, which is no prediction", place)
		}
		a.row(place, row, names)
	}
	a.unknown(names)
}

// row holds one prediction to the declared outputs.
func (a *shape) row(place string, row any, names map[string]bool) {
	members, isObject := row.(map[string]any)
	for name := range members {
		names[name] = true
	}
	for i := range a.detect.Outputs {
		o := &a.detect.Outputs[i]
		if o.Name == "" {
			a.values(place, o, flattenJSON([]any{row}, nil))
			continue
		}
		if row == wild {
			continue
		}
		member, has := members[o.Name]
		switch {
		case !isObject || !has && !o.Optional:
			a.bad("%s has no %s, which detect.outputs promises", place, quote(o.Name))
		case has:
			a.values(place+"."+o.Name, o, flattenJSON([]any{member}, nil))
		}
	}
}

// byPath holds a plain JSON answer to the declared outputs.
func (a *shape) byPath() {
	if len(a.detect.Outputs) == 0 {
		return
	}
	var doc scan.Document
	if doc.Parse([]byte(a.text), scan.Limits{}) != nil {
		a.bad("it is nested more than 64 deep or has a number of more than 64 characters, which no inspected answer may")
		return
	}
	for i := range a.detect.Outputs {
		o := &a.detect.Outputs[i]
		rest, ok := strings.CutPrefix(o.Name, "response")
		path, err := scan.ParsePath(strings.TrimPrefix(rest, "."))
		if !ok || err != nil {
			continue // reported where it stands
		}
		found := false
		path.Walk(doc.Root(), func(n scan.Node) bool {
			found = true
			if v, err := decodeJSON(string(n.Raw())); err == nil {
				a.values(o.Name, o, flattenJSON([]any{v}, nil))
			}
			return true
		})
		if !found && !o.Optional && !strings.Contains(a.text, `"\u0000wild"`) {
			a.bad("%s is not in it, which detect.outputs promises", o.Name)
		}
	}
}
