package config

import (
	"regexp"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// cookieName has no character that a cookie, a header's format or an expression
// reads as its own.
var cookieName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// session accepts what a choice of the version by a hash can do: a session lasts
// as long as the caller sends its name back, and the weights decide where it is.
func (c *checker) session(field string, s *gatewayv1.SessionPersistence) {
	byHeader := s.Type != nil && *s.Type == gatewayv1.HeaderBasedSessionPersistence
	if s.SessionName != nil {
		if byHeader {
			c.headerName(field+".sessionName", *s.SessionName, map[string]bool{})
		} else if !cookieName.MatchString(*s.SessionName) {
			c.fail(field+".sessionName", "is %s; want a cookie's name of letters, digits, - and _, 128 at most", quote(*s.SessionName))
		}
	}
	if byHeader && s.CookieConfig != nil {
		c.fail(field+".cookieConfig", "is set with type Header; remove one of them")
	}
	permanent := !byHeader && s.CookieConfig != nil && s.CookieConfig.LifetimeType != nil &&
		*s.CookieConfig.LifetimeType == gatewayv1.PermanentCookieLifetimeType
	switch lasts := c.gatewayDuration(field+".absoluteTimeout", s.AbsoluteTimeout); {
	case s.AbsoluteTimeout == nil && permanent:
		c.fail(field+".absoluteTimeout", "is missing; want how long the Permanent cookie lasts, such as 24h")
	case s.AbsoluteTimeout != nil && !permanent:
		c.fail(field+".absoluteTimeout", "is set, and only a Permanent cookie can be made to end; want cookieConfig.lifetimeType Permanent, or remove it")
	case lasts != 0 && lasts < time.Second:
		c.fail(field+".absoluteTimeout", "is %s; want at least 1s", lasts)
	}
}
