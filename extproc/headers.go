package extproc

import (
	"iter"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// headers reads Envoy's header map: names are in lower case already. It is
// valid as long as the message it came with.
type headers struct{ list []*corev3.HeaderValue }

func headersOf(m *extprocv3.HttpHeaders) headers {
	return headers{list: m.GetHeaders().GetHeaders()}
}

// Get returns the first value of a header.
func (h headers) Get(name string) (string, bool) {
	for _, v := range h.list {
		if v.Key == name {
			return value(v), true
		}
	}
	return "", false
}

// All lists the headers, values of the same name each on its own.
func (h headers) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, v := range h.list {
			if !yield(v.Key, value(v)) {
				return
			}
		}
	}
}

// text returns the first value, or "".
func (h headers) text(name string) string {
	v, _ := h.Get(name)
	return v
}

func value(v *corev3.HeaderValue) string {
	if len(v.RawValue) > 0 {
		return string(v.RawValue)
	}
	return v.Value
}

// envoyAttributes are a message's attributes by name.
type envoyAttributes map[string]*structpb.Value

// attributesOf returns a message's attributes. Envoy sends them in a struct under
// the filter's own name, of which there is one.
func attributesOf(m *extprocv3.ProcessingRequest) envoyAttributes {
	for _, s := range m.GetAttributes() {
		return s.GetFields()
	}
	return nil
}

// text returns an attribute that is text, or "".
func (a envoyAttributes) text(name string) string {
	if v, ok := a[name].GetKind().(*structpb.Value_StringValue); ok {
		return v.StringValue
	}
	return ""
}
