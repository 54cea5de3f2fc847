package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/safestate/safestate/internal/api/v1alpha1"
)

var kindDefinition = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}

// definitions are when those of our kinds were made, by kind.
type definitions map[string]time.Time

// installed reads them, and fails with ErrUninstalled where one is gone or going.
// Deleting a definition deletes its objects, but not before it says so itself: who has
// read the objects before knows by it whether they are all that were wanted.
func (c *Controller) installed(ctx context.Context) (definitions, error) {
	out := definitions{}
	for kind, plural := range map[string]string{kindModel.Kind: "models", kindPolicy.Kind: "failsafepolicies", kindKillSwitch.Kind: "killswitches"} {
		name, d := plural+"."+v1alpha1.Group, unstructuredOf(kindDefinition)
		switch err := c.client.Get(ctx, client.ObjectKey{Name: name}, d); {
		case apierrors.IsNotFound(err):
			return nil, fmt.Errorf("%w: %s", ErrUninstalled, name)
		case err != nil:
			return nil, fmt.Errorf("whether %s is installed cannot be asked: %w", name, err)
		case d.GetDeletionTimestamp() != nil:
			return nil, fmt.Errorf("%w: %s is being deleted", ErrUninstalled, name)
		}
		out[kind] = d.GetCreationTimestamp().Time
	}
	return out, nil
}

// hold puts into files what the objects said that are gone with their definition, which
// is younger than they were: nobody has deleted them. That holds until they are applied
// again, or this process ends, and is told once.
func (l *lastGood) hold(files map[string][]byte, defined definitions, tell func(error)) {
	for name, text := range l.text {
		kind, _, _ := strings.Cut(name, " ")
		switch {
		case files[name] != nil:
			delete(l.held, name)
		case l.born[name].Before(defined[kind]):
			files[name] = text
			if !l.held[name] {
				tell(fmt.Errorf("%s is gone with the definition of its kind: what it said holds; apply it again, and delete it then where it is to go", name))
			}
			l.held[name] = true
		}
	}
}

// modelsOf are the Models in files. One that is none is left out: who compiles says so.
func modelsOf(files map[string][]byte) []*v1alpha1.Model {
	var out []*v1alpha1.Model
	for _, name := range slices.Sorted(maps.Keys(files)) {
		m := &v1alpha1.Model{}
		if strings.HasPrefix(name, kindModel.Kind+" ") && json.Unmarshal(files[name], m) == nil {
			out = append(out, m)
		}
	}
	return out
}
