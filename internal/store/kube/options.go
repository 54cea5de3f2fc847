// Package kube is the store's engine on the Kubernetes API server: an object of
// kind StateRecord for each record, its resourceVersion as the revision, and
// Leases for what lives only as long as a process.
//
// It needs Kubernetes 1.35 or later, which promises that the resource versions
// of one kind are numbers that grow (KEP-5504), and the definition of the kind
// in istio/crds. Rights lists what it has to be allowed.
package kube

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"k8s.io/client-go/rest"
)

// Defaults of the fields of Options that are 0.
const (
	DefaultCallTimeout = 3 * time.Second

	// DefaultLease is how long a replica that died without a word still leads,
	// and about half of it more until that is noticed. A leader renews three
	// times in it, so that an API server may be away for 3 s, as where one of
	// several is replaced, without unseating it.
	DefaultLease = 6 * time.Second

	DefaultPrefix = "safestate"
)

// Options say where the store is.
type Options struct {
	// Config says how to reach the API server. It is copied; its limits of
	// requests a second do not count, since a kill must not wait in a queue.
	Config *rest.Config

	// Namespace that the objects are in. Nothing is read or written elsewhere.
	Namespace string

	// Prefix begins the objects' names, and tells installations apart that share
	// a namespace: up to 30 lower-case letters, digits and dashes. Default:
	// DefaultPrefix.
	Prefix string

	// CallTimeout bounds every call, and each part of a list that comes in parts;
	// all of a list has four times as long. Default: DefaultCallTimeout.
	CallTimeout time.Duration

	// Lease is how long records of Register and leaders of Elect outlive their
	// process, in whole seconds. Default: DefaultLease.
	Lease time.Duration

	// Problem is told what goes wrong in the background, one line an error. It
	// is called from many goroutines and must not block. Default: nobody is.
	Problem func(error)
}

func (o Options) withDefaults() Options {
	if o.CallTimeout <= 0 {
		o.CallTimeout = DefaultCallTimeout
	}
	if o.Lease <= 0 {
		o.Lease = DefaultLease
	}
	o.Lease = (o.Lease + time.Second - 1).Truncate(time.Second)
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.Problem == nil {
		o.Problem = func(error) {}
	}
	return o
}

// prefixForm leaves room for the longest name behind it.
var prefixForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,28}[a-z0-9])?$`)

func (o Options) check() error {
	switch {
	case o.Config == nil:
		return errors.New("store: give the API server's address")
	case o.Namespace == "":
		return errors.New("store: give the namespace that the records are in")
	case !prefixForm.MatchString(o.Prefix):
		return fmt.Errorf("store: prefix %q: want up to 30 lower-case letters, digits and dashes", o.Prefix)
	}
	return nil
}

// Right is what one rule of RBAC allows.
type Right struct {
	Group, Resource string
	Verbs           []string
}

// Rights is the least that the engine has to be allowed, in its own namespace.
// Without one of them Open or a call is store.ErrDenied.
func Rights() []Right {
	return []Right{
		{"safestate.dev", "staterecords", []string{"create", "delete", "get", "list", "update", "watch"}},
		{"coordination.k8s.io", "leases", []string{"create", "delete", "get", "list", "update", "watch"}},
	}
}
