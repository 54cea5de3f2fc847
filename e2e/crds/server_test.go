package crds

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/safestate/safestate/internal/api/v1alpha1"
)

const (
	root   = "../.."
	module = "sigs.k8s.io/gateway-api"
)

// kind is one version of one custom resource, as an API server holds it.
type kind struct {
	structural *schema.Structural
	schema     validation.SchemaValidator
	cel        *cel.Validator
}

// server is what of an API server decides whether it takes an object: no
// store, no network, no admission by others.
type server map[string]*kind // by apiVersion and kind

// newServer has the kinds of istio/crds and of the Gateway API.
func newServer(t testing.TB) server {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, "istio", "crds", "*.yaml"))
	if err != nil || len(names) == 0 {
		t.Fatalf("found %d files in istio/crds, err %v", len(names), err)
	}
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range []string{"httproutes", "grpcroutes"} {
		names = append(names, filepath.Join(strings.TrimSpace(string(dir)), "config/crd/experimental/gateway.networking.k8s.io_"+route+".yaml"))
	}
	s := server{}
	for _, name := range names {
		s.add(t, definition(t, name))
	}
	return s
}

// definition reads a custom resource definition as the API server holds it.
func definition(t testing.TB, name string) *apiextensions.CustomResourceDefinition {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var v1 apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &v1); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(&v1)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&v1.Spec)
	var crd apiextensions.CustomResourceDefinition
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&v1, &crd, nil); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return &crd
}

func (s server) add(t testing.TB, crd *apiextensions.CustomResourceDefinition) {
	t.Helper()
	for _, v := range crd.Spec.Versions {
		props := crd.Spec.Validation
		if v.Schema != nil {
			props = v.Schema
		}
		structural, err := schema.NewStructural(props.OpenAPIV3Schema)
		if err != nil {
			t.Fatalf("%s: %v", crd.Name, err)
		}
		validator, _, err := validation.NewSchemaValidator(props.OpenAPIV3Schema)
		if err != nil {
			t.Fatalf("%s: %v", crd.Name, err)
		}
		s[crd.Spec.Group+"/"+v.Name+" "+crd.Spec.Names.Kind] = &kind{structural, validator, cel.NewValidator(structural, true, celconfig.PerCallLimit)}
	}
}

// file applies every document of a file, and returns what was made of those
// that were taken and why the others were not.
func (s server) file(ctx context.Context, text []byte) (taken []map[string]any, refused []string) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return taken, refused
		}
		if err != nil {
			return taken, append(refused, err.Error())
		}
		object, errs := s.document(ctx, doc)
		refused = append(refused, errs...)
		if len(errs) == 0 && object != nil {
			taken = append(taken, object)
		}
	}
}

// document is one object of a file, read strictly, as with kubectl's
// --validate=strict, which is its default.
func (s server) document(ctx context.Context, doc []byte) (object map[string]any, refused []string) {
	text, err := yaml.YAMLToJSONStrict(doc)
	if err == nil {
		err = json.Unmarshal(text, &object)
	}
	if err != nil {
		return nil, []string{err.Error()}
	}
	if len(object) == 0 {
		return nil, nil // nothing is sent
	}
	object, errs := s.create(ctx, object)
	for _, err := range errs {
		refused = append(refused, err.Error())
	}
	slices.Sort(refused) // a schema's properties are looked at in no order
	return object, refused
}

// create does what the API server does with a new object, in its order.
func (s server) create(ctx context.Context, object map[string]any) (map[string]any, field.ErrorList) {
	name := fmt.Sprintf("%v %v", object["apiVersion"], object["kind"])
	k := s[name]
	switch group, _, _ := strings.Cut(name, "/"); {
	case k != nil:
	case object["kind"] != nil && group != v1alpha1.Group && group != gatewayv1.GroupName && object["apiVersion"] != nil:
		return nil, nil // another kind's own definition says what is right
	default:
		return nil, field.ErrorList{field.NotFound(field.NewPath("kind"), name)}
	}
	var errs field.ErrorList
	meta, _, unknown, err := objectmeta.GetObjectMetaWithOptions(object, objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil {
		return nil, field.ErrorList{field.Invalid(field.NewPath("metadata"), field.OmitValueType{}, err.Error())}
	}
	unknown = append(unknown, pruning.PruneWithOptions(object, k.structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})...)
	slices.Sort(unknown)
	for _, path := range unknown {
		errs = append(errs, field.Forbidden(field.NewPath(path), "unknown field"))
	}
	if meta == nil {
		meta = &metav1.ObjectMeta{}
	}
	if meta.Namespace == "" {
		meta.Namespace = metav1.NamespaceDefault
	}
	if err := objectmeta.SetObjectMeta(object, meta); err != nil {
		return nil, append(errs, field.InternalError(nil, err))
	}
	defaulting.PruneNonNullableNullsWithoutDefaults(object, k.structural)
	defaulting.Default(object, k.structural)
	errs = append(errs, apivalidation.ValidateObjectMeta(meta, true, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))...)
	errs = append(errs, validation.ValidateCustomResource(nil, object, k.schema)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, k.structural, object)...)
	return object, append(errs, k.rules(ctx, object, nil, errs)...)
}

// update checks what a change breaks that a new object could not.
func (k *kind) update(ctx context.Context, object, old map[string]any) field.ErrorList {
	return k.rules(ctx, object, old, nil)
}

// rules runs what is written in CEL, unless a mistake before it says that the
// object has not the form that the rules rely on, as the API server does.
func (k *kind) rules(ctx context.Context, object, old map[string]any, before field.ErrorList) field.ErrorList {
	for _, err := range before {
		switch err.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return nil
		}
	}
	var previous any
	if old != nil {
		previous = old
	}
	errs, _ := k.cel.Validate(ctx, nil, k.structural, object, previous, celconfig.RuntimeCELCostBudget)
	return errs
}
