package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// How a delivery that failed is tried again: after a random time up to a bound
// that doubles ("full jitter", Brooker, AWS Architecture Blog 2015), or when the
// receiver says so, but not later than maxRetryAfter.
const (
	firstBackoff  = 500 * time.Millisecond
	mostBackoff   = 30 * time.Second
	maxRetryAfter = 5 * time.Minute
)

// backoff is how long to wait after so many tries; random is in [0, 1).
func backoff(tries int, random float64) time.Duration {
	bound := mostBackoff
	if tries < 10 {
		bound = min(firstBackoff<<max(tries-1, 0), mostBackoff)
	}
	return time.Duration(random * float64(bound))
}

// outcome is how one try went. Its zero value: delivered.
type outcome struct {
	err   error
	final bool          // another try would fail as well
	wait  time.Duration // the receiver asks for at least; 0: it does not
}

// sender sends to one receiver.
type sender struct {
	settings settings
	client   *http.Client
}

func newSender(s settings, config *tls.Config) *sender {
	return &sender{s, &http.Client{
		Timeout: s.Timeout,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true,
			DialContext:  (&net.Dialer{Timeout: s.Timeout}).DialContext,
			MaxIdleConns: 1, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: s.Timeout,
		},
		// A message and its secret go where the file says, and nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// body writes a message in the receiver's form.
func (s *sender) body(m message, now time.Time) ([]byte, error) {
	switch s.settings.Form {
	case Slack:
		return slackOf(m)
	case Alertmanager:
		return alertsOf(m.Events, s.settings, now)
	default:
		return webhookOf(m)
	}
}

// send tries once. Its error never has the address in it, which may be a secret.
func (s *sender) send(ctx context.Context, m message, now time.Time) outcome {
	body, err := s.body(m, now)
	if err != nil {
		return outcome{err: err, final: true}
	}
	address, err := s.settings.address()
	if err != nil {
		return outcome{err: err} // a file that is being written
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return outcome{err: errors.New("the address is none"), final: true}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "safestate")
	req.Header.Set("Idempotency-Key", m.ID)
	if s.settings.TokenFile != "" {
		token, err := secret(s.settings.TokenFile)
		if err != nil {
			return outcome{err: err}
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		var outer *url.Error
		if errors.As(err, &outer) {
			err = outer.Err
		}
		return outcome{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // also so that the connection is used again
	return judge(resp, text, now)
}

// judge says what an answer means.
func judge(resp *http.Response, text []byte, now time.Time) outcome {
	code := resp.StatusCode
	if code >= 200 && code < 300 {
		return outcome{}
	}
	o := outcome{err: fmt.Errorf("it answered %d: %s", code, clean(string(text), 200))}
	switch {
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout, code == http.StatusTooEarly, code >= 500:
		o.wait = min(retryAfter(resp.Header.Get("Retry-After"), now), maxRetryAfter)
	case code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusNotFound:
		// A secret or an address that is mended in its file.
	default:
		o.final = true
	}
	return o
}

// retryAfter reads a header of seconds or of a date (RFC 9110, section 10.2.3);
// 0: none.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// pause is how long to wait after a try that failed. Several of us that were
// told the same time do not come back at the same one.
func (o outcome) pause(tries int) time.Duration {
	return o.wait + backoff(tries, rand.Float64()) //nolint:gosec // no secret: it spreads load
}
