package kube

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/connrotation"

	"github.com/safestate/safestate/internal/api/v1alpha1"
)

// The resources, as an API server names them.
const (
	recordsResource = "staterecords"
	leasesResource  = "leases"
)

// server is the way to an API server. It shares its connections with nobody, so
// that those which died can be dropped.
type server struct {
	where       string // for messages
	namespace   string
	http        *http.Client
	connections *connrotation.Dialer
	clients     map[string]*rest.RESTClient // by resource
}

func connect(config *rest.Config, namespace string) (*server, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.RateLimiter = -1, nil
	config.Timeout = 0 // of a watch too; each call has its own
	config.WarningHandler, config.WarningHandlerWithContext = rest.NoWarnings{}, nil
	dial := config.Dial
	if dial == nil {
		alive := net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}
		dial = (&net.Dialer{Timeout: 5 * time.Second, KeepAliveConfig: alive}).DialContext
	}
	s := &server{where: config.Host, namespace: namespace, connections: connrotation.NewDialer(dial), clients: map[string]*rest.RESTClient{}}
	config.Dial = s.connections.DialContext
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	scheme.AddKnownTypes(coordinationv1.SchemeGroupVersion, &coordinationv1.Lease{}, &coordinationv1.LeaseList{})
	metav1.AddToGroupVersion(scheme, coordinationv1.SchemeGroupVersion)
	config.APIPath, config.ContentType = "/apis", runtime.ContentTypeJSON
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	var err error
	if s.http, err = rest.HTTPClientFor(config); err != nil {
		return nil, fmt.Errorf("store: the API server at %s: %w", s.where, err)
	}
	for resource, version := range map[string]schema.GroupVersion{
		recordsResource: v1alpha1.GroupVersion, leasesResource: coordinationv1.SchemeGroupVersion,
	} {
		config.GroupVersion = &version
		if s.clients[resource], err = rest.RESTClientForConfigAndClient(config, s.http); err != nil {
			return nil, fmt.Errorf("store: the API server at %s: %w", s.where, err)
		}
	}
	return s, nil
}

// request is one of the given verb. Nothing is tried again behind our back: not
// where the server is too busy either.
func (s *server) request(verb, resource string) *rest.Request {
	return s.clients[resource].Verb(verb).Namespace(s.namespace).Resource(resource).MaxRetries(0)
}

// get reads an object as it is now, whichever of several API servers answers.
func (s *server) get(ctx context.Context, resource, name string, into runtime.Object) error {
	return s.request(http.MethodGet, resource).Name(name).Do(ctx).Into(into)
}

func (s *server) create(ctx context.Context, resource string, object, into runtime.Object) error {
	return s.request(http.MethodPost, resource).Body(object).Do(ctx).Into(into)
}

// update replaces an object that is still at its resourceVersion.
func (s *server) update(ctx context.Context, resource, name string, object, into runtime.Object) error {
	return s.request(http.MethodPut, resource).Name(name).Body(object).Do(ctx).Into(into)
}

// remove deletes an object that is still at the resourceVersion.
func (s *server) remove(ctx context.Context, resource, name, version string) error {
	only := &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &version}}
	return s.request(http.MethodDelete, resource).Name(name).Body(only).Do(ctx).Error()
}

func (s *server) list(ctx context.Context, resource, selector, next string, limit int, into runtime.Object) error {
	r := s.request(http.MethodGet, resource).Param("labelSelector", selector)
	if limit > 0 {
		r = r.Param("limit", fmt.Sprint(limit))
	}
	if next != "" {
		r = r.Param("continue", next)
	}
	return r.Do(ctx).Into(into)
}

// drop closes every connection: what goes on over them fails at once.
func (s *server) drop() { s.connections.CloseAll() }

func (s *server) close() {
	s.http.CloseIdleConnections()
	s.drop()
}
