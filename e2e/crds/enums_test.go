package crds

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"

	"github.com/safestate/safestate/internal/api/v1alpha1"
)

// TestEnumerations: the words of a definition are those of the Go type, by which
// safestate reads files.
func TestEnumerations(t *testing.T) {
	types := map[string]reflect.Type{
		v1alpha1.KindModel:          reflect.TypeFor[v1alpha1.Model](),
		v1alpha1.KindFailSafePolicy: reflect.TypeFor[v1alpha1.FailSafePolicy](),
		v1alpha1.KindKillSwitch:     reflect.TypeFor[v1alpha1.KillSwitch](),
		v1alpha1.KindStateRecord:    reflect.TypeFor[v1alpha1.StateRecord](),
	}
	found := 0
	for _, name := range ours(t) {
		crd := definition(t, name)
		found += enumerations(t, types[crd.Spec.Names.Kind], *crd.Spec.Validation.OpenAPIV3Schema, crd.Spec.Names.Kind)
	}
	if found < 20 {
		t.Errorf("found %d enumerations", found)
	}
}

// enumerations walks a type beside its schema and counts those that it compared.
func enumerations(t *testing.T, typ reflect.Type, props apiextensions.JSONSchemaProps, place string) (found int) {
	t.Helper()
	switch typ.Kind() {
	case reflect.Pointer:
		return enumerations(t, typ.Elem(), props, place)
	case reflect.Slice:
		if props.Items == nil || props.Items.Schema == nil {
			return 0
		}
		return enumerations(t, typ.Elem(), *props.Items.Schema, place+"[]")
	case reflect.Struct:
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if inner, has := props.Properties[name]; has && name != "metadata" {
				found += enumerations(t, f.Type, inner, place+"."+name)
			}
		}
		return found
	}
	words, is := reflect.Zero(typ).Interface().(interface{ Values() []string })
	if !is {
		return 0
	}
	var got []string
	for _, v := range props.Enum {
		got = append(got, v.(string))
	}
	if want := words.Values(); !slices.Equal(got, want) {
		t.Errorf("%s: %q; want %q", place, got, want)
	}
	return 1
}
