package cache

import (
	"iter"
	"slices"
	"testing"
)

// plain are headers that can only be asked for.
type plain map[string]string

func (h plain) Get(name string) (string, bool) { v, ok := h[name]; return v, ok }

// listed are headers that can be listed as well.
type listed [][2]string

func (h listed) Get(name string) (string, bool) {
	for _, p := range h {
		if p[0] == name {
			return p[1], true
		}
	}
	return "", false
}

func (h listed) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, p := range h {
			if !yield(p[0], p[1]) {
				return
			}
		}
	}
}

func TestCacheable(t *testing.T) {
	cases := []struct {
		name    string
		headers Headers
		tenants []string
		tenant  []string
		ok      bool
	}{
		{"nobody in particular", plain{"content-type": "application/json"}, nil, nil, true},
		{"authorization", plain{"authorization": "Bearer x"}, nil, nil, false},
		{"an empty authorization is one", plain{"authorization": ""}, nil, nil, false},
		{"cookie", plain{"cookie": "a=b"}, nil, nil, false},
		{"x-api-key", plain{"x-api-key": "k"}, nil, nil, false},
		{"a client certificate", plain{"x-forwarded-client-cert": "By=x"}, nil, nil, false},
		{"credentials with a tenant", plain{"authorization": "Bearer x", "x-tenant": "a"}, []string{"x-tenant"}, []string{"x-tenant", "a"}, true},
		{"the tenant is missing", plain{"authorization": "Bearer x"}, []string{"x-tenant"}, nil, false},
		{"the tenant is empty", plain{"x-tenant": ""}, []string{"x-tenant"}, nil, false},
		{"one of two is missing", plain{"x-tenant": "a"}, []string{"x-tenant", "x-user"}, nil, false},
		{"both, in the policy's order", plain{"x-user": "u", "x-tenant": "a"}, []string{"x-tenant", "x-user"}, []string{"x-tenant", "a", "x-user", "u"}, true},
		{"a name in capitals", plain{"x-tenant": "a"}, []string{"X-Tenant"}, []string{"x-tenant", "a"}, true},
		{"credentials as the tenant", plain{"authorization": "Bearer x"}, []string{"authorization"}, []string{"authorization", "Bearer x"}, true},
		{"a tenant twice", listed{{"x-tenant", "a"}, {"x-tenant", "b"}}, []string{"x-tenant"}, nil, false},
		{"a tenant once, listed", listed{{":path", "/"}, {"x-tenant", "a"}}, []string{"x-tenant"}, []string{"x-tenant", "a"}, true},
		{"a credential of another's making", listed{{"x-acme-token", "t"}}, nil, nil, false},
		{"the authority is none", listed{{":authority", "h"}, {"x-envoy-original-authority", "h"}, {"accept", "*/*"}}, nil, nil, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tenant, ok := Cacheable(c.headers, c.tenants)
			if ok != c.ok || !slices.Equal(tenant, c.tenant) {
				t.Errorf("got %v, %v; want %v, %v", tenant, ok, c.tenant, c.ok)
			}
		})
	}
}

func TestStorable(t *testing.T) {
	cases := []struct {
		name    string
		status  int
		headers plain
		want    bool
	}{
		{"plain", 200, plain{"content-type": "application/json"}, true},
		{"not a 200", 201, plain{}, false},
		{"a cookie", 200, plain{"set-cookie": "a=b"}, false},
		{"no-store", 200, plain{"cache-control": "no-store"}, false},
		{"private among others", 200, plain{"cache-control": "max-age=5, Private"}, false},
		{"private with fields", 200, plain{"cache-control": `private="x-a"`}, false},
		{"max-age", 200, plain{"cache-control": "public, max-age=5"}, true},
		{"varies by encoding and origin", 200, plain{"vary": "Accept-Encoding, Origin"}, true},
		{"varies by language", 200, plain{"vary": "accept-encoding, accept-language"}, false},
		{"varies by everything", 200, plain{"vary": "*"}, false},
	}
	for _, c := range cases {
		if got := Storable(c.status, c.headers); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
