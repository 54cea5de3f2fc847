package admin

import (
	"cmp"
	"errors"
	"net/http"
	"strings"

	"github.com/safestate/safestate/internal/access"
)

// front is where a call came in: what it reads of the call, the core asks for in
// the order in which it may be known.
type front interface {
	// authenticate says who asks, after what else the front holds against a call.
	authenticate(a Authenticator) (access.Principal, error)
	// peer is the address that the call came from, without a port.
	peer() string
	// params are those of the route's path and query, by name; one that was not given
	// is not there.
	params(r *route) (map[string]string, error)
	// body is the request's, a JSON object where it is well formed. Nothing is asked
	// for it of a route that has none.
	body() ([]byte, error)
	// keys are what makes the change happen once: none, or one.
	keys() []string
}

// call is one request on its way.
type call struct {
	server    *server
	route     *route
	front     front
	principal access.Principal
	params    map[string]string
	object    string // "namespace/name" of the path, where it has them
	about     string // what it is done to, as the audit trail names it; empty: not read yet
	body      []byte
	key       string // empty: none
}

// parse reads and checks the path and the query.
func (c *call) parse() (err error) {
	if c.params, err = c.front.params(c.route); err != nil {
		return err
	}
	for _, name := range c.route.named() {
		switch name {
		case "namespace", "name":
			err = errors.Join(err, nameOf(name, c.params[name]))
		default:
			if c.params[name] == "" {
				err = errors.Join(err, Invalid(name, "is missing"))
			}
		}
	}
	if namespace, ok := c.params["namespace"]; ok {
		c.object = namespace + "/" + c.params["name"]
	}
	c.about = c.route.about
	if name := cmp.Or(c.object, c.params["node"]); c.about != "" && name != "" {
		c.about += "/" + name
	}
	return err
}

// read takes the body and the key of a change.
func (c *call) read() (err error) {
	if c.body, err = c.front.body(); err != nil {
		return err
	}
	switch keys := c.front.keys(); {
	case len(keys) > 1:
		return Invalid(idempotencyHeader, "is there twice")
	case len(keys) == 1:
		c.key = keys[0]
	}
	return nil
}

// scope keeps apart the keys of different persons and different things.
func (c *call) scope() string {
	words := []string{c.principal.Name, c.route.path}
	for _, name := range c.route.named() {
		words = append(words, c.params[name])
	}
	return strings.Join(words, "\x00")
}

// changes reports whether a route changes anything.
func (r *route) changes() bool { return r.method == http.MethodPost && !r.hook }

// named are the parameters in a route's path.
func (r *route) named() (names []string) {
	for part := range strings.SplitSeq(r.path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			names = append(names, strings.TrimSuffix(name, "}"))
		}
	}
	return names
}
