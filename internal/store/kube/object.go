package kube

import (
	"fmt"
	"maps"
	"strconv"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/safestate/safestate/internal/api/v1alpha1"
	"github.com/safestate/safestate/internal/store"
)

// object is what a record is written as, over the object at version; an empty
// one is none.
func (s *Store) object(key string, value []byte, lease, version string) *v1alpha1.StateRecord {
	return &v1alpha1.StateRecord{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.APIVersion, Kind: v1alpha1.KindStateRecord},
		ObjectMeta: metav1.ObjectMeta{
			Name: s.names.record(key), Namespace: s.options.Namespace, Labels: s.names.labels(key, lease), ResourceVersion: version,
		},
		Spec: v1alpha1.StateRecordSpec{Key: key, Value: value, Lease: lease, Replaces: version},
	}
}

// entryOf is the record that an object is. One that is not as object writes it is
// nobody's record: a person wrote it, or changed it.
func (s *Store) entryOf(o *v1alpha1.StateRecord) (store.Entry, error) {
	key := o.Spec.Key
	if err := store.CheckKey(key); err != nil {
		return store.Entry{}, err
	}
	revision, err := revisionOf(o.ResourceVersion)
	switch {
	case err != nil:
		return store.Entry{}, err
	case o.Name != s.names.record(key):
		return store.Entry{}, fmt.Errorf("its name is not that of key %s", key)
	case !maps.Equal(ours(o.Labels), s.names.labels(key, o.Spec.Lease)):
		return store.Entry{}, fmt.Errorf("its labels are not those of key %s", key)
	case len(o.Spec.Value) > store.MaxValue:
		return store.Entry{}, fmt.Errorf("its value is %d bytes long; want at most %d", len(o.Spec.Value), store.MaxValue)
	case o.DeletionTimestamp != nil:
		return store.Entry{}, fmt.Errorf("it is being deleted, and finalizers %v hold it", o.Finalizers)
	}
	return store.Entry{Key: key, Value: append([]byte{}, o.Spec.Value...), Revision: revision}, nil
}

// revisionOf reads a resourceVersion.
func revisionOf(version string) (int64, error) {
	revision, err := strconv.ParseInt(version, 10, 64)
	if err != nil || revision <= 0 {
		return 0, fmt.Errorf("resourceVersion %q is no number; want Kubernetes 1.35 or later", version)
	}
	return revision, nil
}

// odd are the objects that are nobody's record, so that each is told of once.
type odd struct {
	mu   sync.Mutex
	told map[string]string // resourceVersion by name
}

// oddMost bounds what is remembered of them.
const oddMost = 1000

// pass tells of an object that is passed over.
func (s *Store) pass(o *v1alpha1.StateRecord, why error) {
	s.odd.mu.Lock()
	known := s.odd.told[o.Name] == o.ResourceVersion
	if s.odd.told == nil || len(s.odd.told) >= oddMost {
		s.odd.told = map[string]string{}
	}
	s.odd.told[o.Name] = o.ResourceVersion
	s.odd.mu.Unlock()
	if !known {
		s.options.Problem(fmt.Errorf("store: StateRecord %s/%s is passed over: %w", o.Namespace, o.Name, why))
	}
}
