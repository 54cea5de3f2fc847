package compile

import (
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/safestate/safestate/internal/config"
)

// Session makes a route choose the version by what a caller sends back, so that
// a caller stays with one version while the weights stand. A version without
// weight has no callers, whatever they send.
type Session struct {
	Name   string        // of the cookie: letters, digits, - and _; or of the header, in lower case
	Header bool          // a header, else a cookie
	MaxAge time.Duration // of the cookie; 0: it ends with the browser's session
}

// defaultSession is the name of a session that has none.
const defaultSession = "safestate-session"

func session(s *gatewayv1.SessionPersistence) *Session {
	if s == nil {
		return nil
	}
	out := &Session{
		Name:   or(s.SessionName, defaultSession),
		Header: s.Type != nil && *s.Type == gatewayv1.HeaderBasedSessionPersistence,
		MaxAge: config.Duration(s.AbsoluteTimeout),
	}
	if out.Header {
		out.Name = strings.ToLower(out.Name)
	}
	return out
}
