package dataplane

import (
	"encoding/json"
	"testing"

	"sigs.k8s.io/yaml"
)

// edit changes a YAML configuration as a tree of maps.
func edit(t testing.TB, text []byte, change func(testing.TB, map[string]any)) []byte {
	t.Helper()
	var config map[string]any
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	change(t, config)
	out, err := json.Marshal(config) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// List is a member of a JSON object that is a list of objects.
func List(v map[string]any, key string) []map[string]any {
	var out []map[string]any
	list, _ := v[key].([]any)
	for _, e := range list {
		if m, ok := e.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// Object is a member of a JSON object that is an object; nil where it is none.
func Object(v map[string]any, key string) map[string]any {
	m, _ := v[key].(map[string]any)
	return m
}

// HTTPFilters is the connection manager of a configuration's first listener,
// and the names of its filters in order.
func HTTPFilters(t testing.TB, config map[string]any) (manager map[string]any, names []string) {
	t.Helper()
	for _, l := range List(Object(config, "static_resources"), "listeners") {
		for _, chain := range List(l, "filter_chains") {
			for _, f := range List(chain, "filters") {
				manager = Object(f, "typed_config")
				for _, h := range List(manager, "http_filters") {
					name, _ := h["name"].(string)
					names = append(names, name)
				}
				if len(names) > 0 {
					return manager, names
				}
			}
		}
	}
	t.Fatal("the configuration has no HTTP connection manager")
	return nil, nil
}
