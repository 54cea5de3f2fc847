package crds

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
)

// odd are the values that every field of every object is given in turn; nil
// removes it.
var odd = []any{nil, "", "x", "X y", "-1", "0s", "1ns", "30ms", "9h", "9000h", true, int64(-1), int64(0), int64(1), int64(7), int64(1 << 40), 0.5, 100.5, []any{}, map[string]any{}}

// TestMutants: with one field changed the API server never refuses what
// safestate takes, whatever the field and the value.
func TestMutants(t *testing.T) {
	api := newServer(t)
	for _, name := range []string{"testdata/defaults/model.yaml", root + "/internal/compile/testdata/full.yaml"} {
		t.Run(strings.TrimPrefix(name, root+"/"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			docs, count := strings.Split(string(text), "\n---\n"), map[string]int{}
			for i := range docs {
				mutants(t, api, docs, i, count)
			}
			t.Logf("mutants=%d taken-by-both=%d refused-by-both=%d safestate-only=%d",
				count["taken"]+count["refused"]+count["only"], count["taken"], count["refused"], count["only"])
			if count["taken"] == 0 || count["refused"] == 0 {
				t.Error("the mutants show nothing")
			}
		})
	}
}

// mutants changes one object of a configuration, a field at a time.
func mutants(t *testing.T, api server, docs []string, i int, count map[string]int) {
	t.Helper()
	var object map[string]any
	data, err := yaml.YAMLToJSON([]byte(docs[i]))
	if err == nil {
		err = json.Unmarshal(data, &object)
	}
	if err != nil {
		t.Fatal(err)
	}
	if object["apiVersion"] != v1alpha1.APIVersion {
		return
	}
	spec, others := object["spec"], slices.Clone(docs)
	for _, place := range places(spec, nil) {
		for _, value := range odd {
			object["spec"] = set(runtime.DeepCopyJSONValue(spec), place, value)
			mutant, err := yaml.Marshal(object)
			if err != nil {
				t.Fatal(err)
			}
			others[i] = string(mutant)
			_, refused := api.file(t.Context(), mutant)
			file := config.File{Name: "a.yaml", Data: []byte(strings.Join(others, "\n---\n"))}
			_, problems := config.Parse(file)
			if !problems.Failed() { // else compiling only adds to them
				_, problems = compile.Files(file)
			}
			switch {
			case len(refused) > 0 && problems.Failed():
				count["refused"]++
			case problems.Failed():
				count["only"]++
			case len(refused) == 0:
				count["taken"]++
			default:
				t.Errorf("%s %v = %#v: safestate takes it and the API server says %s", object["kind"], place, value, refused)
			}
		}
	}
}

// places lists the paths of all values in a value.
func places(v any, at []any) [][]any {
	var out [][]any
	if len(at) > 0 {
		out = append(out, at)
	}
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			out = append(out, places(v[key], append(slices.Clone(at), key))...)
		}
	case []any:
		for i := range v {
			out = append(out, places(v[i], append(slices.Clone(at), i))...)
		}
	}
	return out
}

// set puts a value at a path; nil removes what is there.
func set(v any, at []any, value any) any {
	if len(at) == 0 {
		return value
	}
	switch in := v.(type) {
	case map[string]any:
		key := at[0].(string)
		if in[key] = set(in[key], at[1:], value); in[key] == nil {
			delete(in, key)
		}
	case []any:
		i := at[0].(int)
		if in[i] = set(in[i], at[1:], value); in[i] == nil {
			return slices.Delete(in, i, i+1)
		}
	}
	return v
}
