package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/safestate/safestate/internal/release"
	"github.com/safestate/safestate/internal/store"
)

// Problem is an error as the API answers it and as the client returns it: one
// clear sentence for a person, and what a program needs to go on. Control
// returns problems where it knows what is wrong; any other error of its is
// answered with status 500.
type Problem struct {
	Status int `json:"-"` // the answer's HTTP status
	// Message says what is wrong.
	Message string `json:"error"`
	// Field is the field of the request that is wrong, or the parameter.
	Field string `json:"field,omitempty"`
	// Hint says what to do about it.
	Hint string `json:"hint,omitempty"`
	// Generation is the current one, where another was expected.
	Generation uint64 `json:"generation,omitempty"`
	// Retry is how long to wait before another try, where that is known: the header
	// Retry-After.
	Retry time.Duration `json:"-"`
}

func (p *Problem) Error() string {
	text := p.Message
	if p.Field != "" {
		text = p.Field + ": " + text
	}
	if p.Hint != "" {
		text += "; " + p.Hint
	}
	return text
}

// Invalid is a request that asks for nothing that could be done.
func Invalid(field, format string, args ...any) *Problem {
	return &Problem{Status: http.StatusBadRequest, Field: field, Message: fmt.Sprintf(format, args...)}
}

// NotFound is a request about a thing that is not there.
func NotFound(format string, args ...any) *Problem {
	return &Problem{Status: http.StatusNotFound, Message: fmt.Sprintf(format, args...)}
}

// Conflict is a request that the present state does not allow; generation is
// the current one, 0 where that is not the reason.
func Conflict(generation uint64, format string, args ...any) *Problem {
	return &Problem{Status: http.StatusConflict, Generation: generation, Message: fmt.Sprintf(format, args...)}
}

// Unavailable is a request that may succeed later: the store does not answer.
func Unavailable(format string, args ...any) *Problem {
	return &Problem{Status: http.StatusServiceUnavailable, Message: fmt.Sprintf(format, args...)}
}

// Hinted returns the problem with a hint.
func (p *Problem) Hinted(format string, args ...any) *Problem {
	q := *p
	q.Hint = fmt.Sprintf(format, args...)
	return &q
}

func forbidden(message, hint string) *Problem {
	return &Problem{Status: http.StatusForbidden, Message: message, Hint: hint}
}

// problemOf makes any error one that can be answered.
func problemOf(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		if p.Status == 0 {
			q := *p
			q.Status, p = http.StatusInternalServerError, &q
		}
		return p
	}
	status := http.StatusInternalServerError
	hint := ""
	switch {
	case errors.Is(err, release.ErrRefused):
		status = http.StatusConflict
	case errors.Is(err, store.ErrConflict):
		status, hint = http.StatusConflict, "somebody else was faster: look again, then decide anew"
	case errors.Is(err, store.ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrDenied), errors.Is(err, context.DeadlineExceeded):
		status, hint = http.StatusServiceUnavailable, "it is not known whether anything was changed: look again"
	}
	return &Problem{Status: status, Message: err.Error(), Hint: hint}
}
