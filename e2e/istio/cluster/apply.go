package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// documents reads objects from YAML; empty documents are left out.
func documents(text string) ([]*unstructured.Unstructured, error) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	var all []*unstructured.Unstructured
	for {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		object := map[string]any{}
		if err := yaml.Unmarshal(doc, &object); err != nil {
			return nil, fmt.Errorf("%w in\n%s", err, doc)
		}
		if len(object) > 0 {
			all = append(all, &unstructured.Unstructured{Object: object})
		}
	}
}

// Apply writes every object of a YAML text by server-side apply, as a field
// manager that takes over what others own. It fails the test on the first
// refusal.
func (u *User) Apply(t testing.TB, manager, text string) {
	t.Helper()
	if err := u.TryApply(t.Context(), manager, text); err != nil {
		t.Fatal(err)
	}
}

// TryApply is Apply that returns the first refusal, which names the object.
func (u *User) TryApply(ctx context.Context, manager, text string) error {
	all, err := documents(text)
	if err != nil {
		return err
	}
	for _, object := range all {
		if err := u.applyObject(ctx, manager, object); err != nil {
			return err
		}
	}
	return nil
}

func (u *User) applyObject(ctx context.Context, manager string, object *unstructured.Unstructured) error {
	err := u.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(manager), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("apply %s %s as %s: %w", object.GetKind(), client.ObjectKeyFromObject(object), u.Name, err)
	}
	return nil
}

// Delete deletes every object of a YAML text; what is gone already is as good.
func (u *User) Delete(t testing.TB, text string) {
	t.Helper()
	all, err := documents(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range all {
		if err := client.IgnoreNotFound(u.Client.Delete(t.Context(), object)); err != nil {
			t.Fatalf("delete %s %s: %v", object.GetKind(), client.ObjectKeyFromObject(object), err)
		}
	}
}

// Get reads an object by its "group/version kind", such as
// "networking.istio.io/v1 VirtualService" or "v1 Service".
func (u *User) Get(ctx context.Context, kind, namespace, name string) (*unstructured.Unstructured, error) {
	version, kind, _ := strings.Cut(kind, " ")
	gv, err := schema.ParseGroupVersion(version)
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(gv.WithKind(kind))
	err = u.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object)
	return object, err
}

// Conditions are those of an object's status, or of status.parents[0] for a
// route: "type=status(reason)" each.
func Conditions(object *unstructured.Unstructured) []string {
	var status struct {
		Status struct {
			Conditions []metav1.Condition `json:"conditions"`
			Parents    []struct {
				Conditions []metav1.Condition `json:"conditions"`
			} `json:"parents"`
		} `json:"status"`
	}
	text, err := yaml.Marshal(object.Object)
	if err != nil || yaml.Unmarshal(text, &status) != nil {
		return nil
	}
	all := status.Status.Conditions
	for _, p := range status.Status.Parents {
		all = append(all, p.Conditions...)
	}
	var out []string
	for _, c := range all {
		out = append(out, fmt.Sprintf("%s=%s(%s)", c.Type, c.Status, c.Reason))
	}
	return out
}
