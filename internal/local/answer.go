package local

import (
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

// Source says what answered; it is x-safestate-source and a metric label.
type Source string

// The sources.
const (
	Primary     Source = "primary"
	Cache       Source = "cache"
	Fallback    Source = "fallback"
	Rules       Source = "rules"
	SafeDefault Source = "safe_default"
	// Refused is no answer: the fallback budget is used up and the policy
	// refuses. It is never sent as x-safestate-source.
	Refused Source = "refused"
)

// Answer is a whole answer in the place of a model's.
type Answer struct {
	Source      Source
	Status      int
	ContentType string
	Body        []byte // not to be changed: it may be shared
}

// Header is one header of an answer, its name in lower case.
type Header struct{ Name, Value string }

// Statuses, without net/http, which is larger than the core.
const (
	statusOK          = 200
	statusUnavailable = 503
)

// TypeJSON is the content-type of answers that do not say another.
const TypeJSON = "application/json"

// AppendTags appends the headers that every answer in the place of a model's has:
// what it is, that it is not to be kept, and why it is there. source is empty where
// there is none to name.
func AppendTags(tags []Header, contentType string, f verdict.Finding, source Source) []Header {
	tags = append(tags,
		Header{Name: "content-type", Value: contentType},
		Header{Name: "cache-control", Value: "no-store"},
		Header{Name: verdict.HeaderReason, Value: f.Reason()})
	if source != "" {
		tags = append(tags, Header{Name: verdict.HeaderSource, Value: string(source)})
	}
	return tags
}

// VersionTags are the headers of a version's own answer that was judged and passed.
// v.Model is the model that it is of.
func VersionTags(v policy.Version) []Header {
	tags := []Header{{Name: verdict.HeaderSource, Value: string(Primary)}, {Name: verdict.HeaderModel, Value: v.Model}}
	if v.Name != "" {
		tags = append(tags, Header{Name: verdict.HeaderVersion, Value: v.Name})
	}
	return tags
}

func orOK(status int) int {
	if status == 0 {
		return statusOK
	}
	return status
}
