package cache

import (
	"iter"
	"strings"
)

// Headers reads a message's headers: names in lower case, the first value of
// each.
type Headers interface {
	Get(name string) (value string, ok bool)
}

// Lister is Headers that can be listed, values of the same name each on its
// own. Cacheable looks closer where it is given one: it finds a tenant header
// that is there twice, and credentials in headers that nobody has heard of.
type Lister interface {
	All() iter.Seq2[string, string]
}

// credentials are headers that say who asks. What such a request is answered
// may be meant for one caller only.
var credentials = []string{
	"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "apikey",
	"x-auth-token", "x-access-token", "x-amz-security-token", "x-goog-api-key",
	"x-goog-iap-jwt-assertion", "x-forwarded-access-token", "x-forwarded-user",
	"x-forwarded-client-cert", "x-session-id", "x-csrf-token",
}

// telling are parts of names that make a header a credential.
var telling = []string{
	"auth", "token", "cookie", "api-key", "apikey", "secret", "session", "credential", "jwt", "password", "signature",
}

// Cacheable says whether a request may be answered from a cache and its answer
// be kept, and for whom: tenant goes into the key. With tenant headers each of
// them must be there, once and not empty. Without any, a request that carries
// credentials is not cacheable: nobody knows whose answer it gets.
func Cacheable(h Headers, tenantHeaders []string) (tenant []string, ok bool) {
	list, listed := h.(Lister)
	if len(tenantHeaders) == 0 {
		return nil, !carriesCredentials(h, list)
	}
	tenant = make([]string, 0, 2*len(tenantHeaders))
	for _, name := range tenantHeaders {
		name = strings.ToLower(name)
		value, there := h.Get(name)
		if !there || value == "" || listed && count(list, name) != 1 {
			return nil, false
		}
		// The name is in the key as well: a policy that names another header
		// with the same values is another tenancy.
		tenant = append(tenant, name, value)
	}
	return tenant, true
}

func carriesCredentials(h Headers, list Lister) bool {
	for _, name := range credentials {
		if _, there := h.Get(name); there {
			return true
		}
	}
	if list == nil {
		return false
	}
	for name := range list.All() {
		if strings.HasPrefix(name, ":") || strings.HasSuffix(name, "authority") {
			continue
		}
		for _, part := range telling {
			if strings.Contains(name, part) {
				return true
			}
		}
	}
	return false
}

func count(list Lister, name string) int {
	n := 0
	for k := range list.All() {
		if k == name {
			n++
		}
	}
	return n
}

// Storable says whether a clean answer may be kept: a 200 that sets no cookie,
// that the model does not forbid to store and that varies by nothing the key
// does not hold.
func Storable(status int, h Headers) bool {
	if status != 200 {
		return false
	}
	if _, sets := h.Get("set-cookie"); sets {
		return false
	}
	if control, ok := h.Get("cache-control"); ok {
		for d := range strings.SplitSeq(strings.ToLower(control), ",") {
			name, _, _ := strings.Cut(strings.TrimSpace(d), "=")
			if name == "no-store" || name == "private" || name == "no-cache" {
				return false
			}
		}
	}
	if vary, ok := h.Get("vary"); ok {
		for name := range strings.SplitSeq(strings.ToLower(vary), ",") {
			// Identity is asked of every model, and origin concerns the
			// headers of the answer, which are not kept.
			if name = strings.TrimSpace(name); name != "" && name != "accept-encoding" && name != "origin" {
				return false
			}
		}
	}
	return true
}
