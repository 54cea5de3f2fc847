package controller

import (
	"encoding/json"
	"fmt"

	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apijson "k8s.io/apimachinery/pkg/util/json"
)

// Istio's types are messages of protobuf, which have JSON of their own: package
// runtime's converter does not know it.

func convert(object map[string]any, into any) error {
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

func objectOf(f *istiov1alpha3.EnvoyFilter) (*unstructured.Unstructured, error) {
	text, err := json.Marshal(f)
	out := &unstructured.Unstructured{}
	if err == nil {
		err = apijson.Unmarshal(text, &out.Object)
	}
	if err != nil {
		return nil, fmt.Errorf("EnvoyFilter %s/%s: %w", f.Namespace, f.Name, err)
	}
	delete(out.Object, "status")
	return out, nil
}
