// Package apiserver is what of an API server decides whether it takes an object of a
// custom resource, by its own code: no store, no network, no admission by others.
package apiserver

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

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
	"sigs.k8s.io/yaml"
)

// Kind is one version of one custom resource, as an API server holds it.
type Kind struct {
	structural *schema.Structural
	schema     validation.SchemaValidator
	cel        *cel.Validator
}

// Server has kinds by apiVersion and kind, with a blank between them.
type Server map[string]*Kind

// Add takes in the kinds that a definition's text defines.
func (s Server) Add(text []byte) error {
	crd, err := Definition(text)
	if err != nil {
		return err
	}
	for _, v := range crd.Spec.Versions {
		props := crd.Spec.Validation
		if v.Schema != nil {
			props = v.Schema
		}
		structural, err := schema.NewStructural(props.OpenAPIV3Schema)
		if err != nil {
			return fmt.Errorf("%s: %w", crd.Name, err)
		}
		validator, _, err := validation.NewSchemaValidator(props.OpenAPIV3Schema)
		if err != nil {
			return fmt.Errorf("%s: %w", crd.Name, err)
		}
		s[crd.Spec.Group+"/"+v.Name+" "+crd.Spec.Names.Kind] = &Kind{structural, validator, cel.NewValidator(structural, true, celconfig.PerCallLimit)}
	}
	return nil
}

// Definition reads a custom resource definition as the API server holds it.
func Definition(text []byte) (*apiextensions.CustomResourceDefinition, error) {
	var v1 apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(text, &v1); err != nil {
		return nil, err
	}
	apiextensionsv1.SetDefaults_CustomResourceDefinition(&v1)
	apiextensionsv1.SetDefaults_CustomResourceDefinitionSpec(&v1.Spec)
	var crd apiextensions.CustomResourceDefinition
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(&v1, &crd, nil); err != nil {
		return nil, fmt.Errorf("%s: %w", v1.Name, err)
	}
	return &crd, nil
}

// Documents are those of a YAML text that say anything.
func Documents(text []byte) (out [][]byte, err error) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		var object any
		if err := yaml.Unmarshal(doc, &object); err != nil || object != nil {
			out = append(out, doc)
		}
	}
}

// Create is what becomes of one document, read strictly, as with kubectl's
// --validate=strict, which is its default: the object as the API server has it then,
// or why it is refused. name is that of its kind, which a server may not have.
func (s Server) Create(ctx context.Context, doc []byte) (object map[string]any, name string, refused []string) {
	text, err := yaml.YAMLToJSONStrict(doc)
	if err == nil {
		err = json.Unmarshal(text, &object)
	}
	if err != nil {
		return nil, "", []string{err.Error()}
	}
	if len(object) == 0 {
		return nil, "", nil // nothing is sent
	}
	name = fmt.Sprintf("%v %v", object["apiVersion"], object["kind"])
	k := s[name]
	if k == nil {
		return nil, name, []string{field.NotFound(field.NewPath("kind"), name).Error()}
	}
	for _, err := range k.create(ctx, object) {
		refused = append(refused, err.Error())
	}
	slices.Sort(refused) // a schema's properties are looked at in no order
	return object, name, refused
}

// create does what the API server does with a new object, in its order.
func (k *Kind) create(ctx context.Context, object map[string]any) (errs field.ErrorList) {
	meta, _, unknown, err := objectmeta.GetObjectMetaWithOptions(object, objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil {
		return field.ErrorList{field.Invalid(field.NewPath("metadata"), field.OmitValueType{}, err.Error())}
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
		return append(errs, field.InternalError(nil, err))
	}
	defaulting.PruneNonNullableNullsWithoutDefaults(object, k.structural)
	defaulting.Default(object, k.structural)
	errs = append(errs, apivalidation.ValidateObjectMeta(meta, true, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata"))...)
	errs = append(errs, validation.ValidateCustomResource(nil, object, k.schema)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, k.structural, object)...)
	return append(errs, k.rules(ctx, object, nil, errs)...)
}

// Update checks what a change breaks that a new object could not.
func (k *Kind) Update(ctx context.Context, object, old map[string]any) field.ErrorList {
	return k.rules(ctx, object, old, nil)
}

// rules runs what is written in CEL, unless a mistake before it says that the
// object has not the form that the rules rely on, as the API server does.
func (k *Kind) rules(ctx context.Context, object, old map[string]any, before field.ErrorList) field.ErrorList {
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
