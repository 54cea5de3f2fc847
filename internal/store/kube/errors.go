package kube

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/safestate/safestate/internal/store"
)

// fault makes one line of what a call failed with, and gives it its class.
func (s *Store) fault(call, key string, err error) error {
	what := "store: " + call
	if key != "" {
		what += " " + key
	}
	status := apierrors.APIStatus(nil)
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", what, context.Canceled)
	case errors.As(err, &status):
		return fmt.Errorf("%s: %w", what, s.refusal(status.Status()))
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w: %s does not answer in time: %w", what, store.ErrUnavailable, s.server.where, context.DeadlineExceeded)
	case errors.As(err, &certificate):
		return fmt.Errorf("%s: %s: %w: %s", what, s.server.where, store.ErrDenied, certificate.Error())
	}
	return fmt.Errorf("%s: %w: %s: %s", what, store.ErrUnavailable, s.server.where, plain(err))
}

// refusal is what an API server's own answer means.
func (s *Store) refusal(status metav1.Status) error {
	text := clip(status.Message)
	switch status.Code {
	case http.StatusUnauthorized:
		return fmt.Errorf("%s: %w: it does not know this user", s.server.where, store.ErrDenied)
	case http.StatusForbidden:
		return fmt.Errorf("%s: %w: %s", s.server.where, store.ErrDenied, text)
	case http.StatusConflict:
		return fmt.Errorf("%w: %s", store.ErrConflict, text)
	case http.StatusRequestEntityTooLarge:
		return fmt.Errorf("%w: %s", store.ErrTooLarge, text)
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return fmt.Errorf("%s takes no such object: %s", s.server.where, text)
	case http.StatusNotFound:
		if strings.HasPrefix(text, "namespaces ") {
			return fmt.Errorf("%w: %s has no namespace %s", store.ErrUnavailable, s.server.where, s.options.Namespace)
		}
		return fmt.Errorf("%w: %s does not know kind StateRecord: apply istio/crds", store.ErrUnavailable, s.server.where)
	}
	return fmt.Errorf("%w: %s: %s", store.ErrUnavailable, s.server.where, text)
}

// absent reports whether an answer says that there is no such object, and not
// that its kind or its namespace is missing.
func absent(err error, resource string) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Code != http.StatusNotFound {
		return false
	}
	details := status.Status().Details
	if details == nil || details.Kind != resource {
		return false
	}
	for _, cause := range details.Causes {
		if cause.Type == metav1.CauseTypeUnexpectedServerResponse {
			return false // a path that the server does not serve
		}
	}
	return true
}

// code is the HTTP status of an answer, 0 where there was none.
func code(err error) int {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return 0
	}
	return int(status.Status().Code)
}

// plain is an error's text without the request's address in it.
func plain(err error) string {
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	return clip(err.Error())
}

// clip bounds what others say, and keeps it on one line.
func clip(text string) string {
	const most = 300
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
