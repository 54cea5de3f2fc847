package extproc

import (
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/safestate/safestate/internal/ladder"
)

// reply is what an exchange sends. One that carries nothing of its request is
// made once and serialized once.
type reply struct {
	message *message
	wire    []byte // the message serialized; nil: it is made for one request
}

type message = extprocv3.ProcessingResponse

func dynamic(m *message) *reply { return &reply{message: m} }

func static(m *message) *reply {
	wire, err := proto.Marshal(m)
	if err != nil {
		// Only invalid UTF-8 in a string field fails, and none is in a reply
		// of ours; the codec would say it again.
		wire = nil
	}
	return &reply{message: m, wire: wire}
}

var (
	continueRequestHeaders  = static(&message{Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{}}})
	continueRequestBody     = static(&message{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{}}})
	continueResponseHeaders = static(&message{Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{}}})
	continueResponseBody    = static(&message{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{}}})

	continueRequestTrailers  = static(&message{Response: &extprocv3.ProcessingResponse_RequestTrailers{RequestTrailers: &extprocv3.TrailersResponse{}}})
	continueResponseTrailers = static(&message{Response: &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{}}})

	// awaitBody goes on to the request's body on a route where the reply to that
	// may choose another route. Envoy looks for the route before it takes that
	// reply in, unless it has been told at the headers to look again, which it
	// heeds only beside a change of headers, be it none.
	awaitBody = static(continued(requestHeaders, &extprocv3.CommonResponse{
		HeaderMutation: &extprocv3.HeaderMutation{}, ClearRouteCache: true,
	}).message)

	// leaveAlone ends the processor's part in a request that is no inference, and
	// leaveStreamed does where Envoy sends the answer all the same. How it is answered
	// is nothing to count.
	leaveStreamed = static(done(&message{Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{}}}))
	leaveAlone    = static(done(&message{
		Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{}},
		ModeOverride: &filterv3.ProcessingMode{
			RequestBodyMode:    filterv3.ProcessingMode_NONE,
			ResponseHeaderMode: filterv3.ProcessingMode_SKIP,
			ResponseBodyMode:   filterv3.ProcessingMode_NONE,
		},
	}))
	// skipRequestBody goes on without the request's body.
	skipRequestBody = static(&message{
		Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{}},
		ModeOverride: &filterv3.ProcessingMode{
			RequestBodyMode:    filterv3.ProcessingMode_NONE,
			ResponseHeaderMode: filterv3.ProcessingMode_SEND,
			ResponseBodyMode:   filterv3.ProcessingMode_BUFFERED_PARTIAL,
		},
	})
	// skipResponseBody goes on without the answer's body.
	skipResponseBody = static(&message{
		Response:     &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{}},
		ModeOverride: &filterv3.ProcessingMode{ResponseBodyMode: filterv3.ProcessingMode_NONE},
	})
)

// phase is where in a request's life a reply belongs.
type phase int

const (
	requestHeaders phase = iota
	requestBody
	responseHeaders
	responseBody
)

// tagged makes the reply that lets the model's answer through with its tags. At
// the headers it ends the processor's part: the body is not asked for.
func tagged(at phase, tags []ladder.Header, strip []string) *message {
	common := &extprocv3.CommonResponse{HeaderMutation: &extprocv3.HeaderMutation{
		SetHeaders:    setHeaders(tags),
		RemoveHeaders: strip,
	}}
	m := &message{}
	if at == responseBody {
		m.Response = &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{Response: common}}
		return m
	}
	m.Response = &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{Response: common}}
	m.ModeOverride = &filterv3.ProcessingMode{ResponseBodyMode: filterv3.ProcessingMode_NONE}
	return done(m)
}

// immediate makes the reply that answers in the model's place while the model
// has not been asked, or when only part of its answer has been read.
func immediate(status int, tags []ladder.Header, body []byte, details string) *reply {
	return dynamic(&message{
		Response: &extprocv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extprocv3.ImmediateResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(status)},
			Headers: &extprocv3.HeaderMutation{SetHeaders: setHeaders(tags)},
			Body:    body,
			Details: details,
		}},
	})
}

// replaced makes the reply that puts another body in the place of the model's,
// which Envoy holds whole: every header that described the old body goes, the
// length is exact.
func replaced(status int, tags []ladder.Header, body []byte, old headers) *reply {
	set := setHeaders(tags)
	set = append(set,
		option(":status", strconv.Itoa(status)),
		option("content-length", strconv.Itoa(len(body))))
	return dynamic(&message{
		Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{
			Response: &extprocv3.CommonResponse{
				HeaderMutation: &extprocv3.HeaderMutation{SetHeaders: set, RemoveHeaders: dropped(old, tags)},
				BodyMutation:   &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_Body{Body: body}},
			},
		}},
	})
}

// kept are the headers of a failed answer that outlive its body: they are the
// proxy's or the conversation's, not the body's. All others go, or a model's
// own error text could reach the caller in a header.
var kept = map[string]bool{
	"date": true, "server": true, "via": true, "vary": true, "connection": true,
	"x-request-id": true, "traceparent": true, "tracestate": true, "set-cookie": true,
	"strict-transport-security": true,
}

func dropped(old headers, tags []ladder.Header) []string {
	var names []string
	for _, h := range old.list {
		k := h.Key
		if strings.HasPrefix(k, ":") || kept[k] || k == "content-length" ||
			strings.HasPrefix(k, "access-control-") || strings.HasPrefix(k, "x-envoy-") || has(tags, k) {
			continue
		}
		names = append(names, k)
	}
	return names
}

func has(tags []ladder.Header, name string) bool {
	for _, t := range tags {
		if t.Name == name {
			return true
		}
	}
	return false
}

// moreTime asks Envoy to wait longer than its message timeout for the reply to
// the message at hand. Envoy takes one such request a message.
func moreTime(d time.Duration) *reply {
	return dynamic(&message{OverrideMessageTimeout: durationpb.New(d)})
}

func setHeaders(tags []ladder.Header) []*corev3.HeaderValueOption {
	out := make([]*corev3.HeaderValueOption, 0, len(tags)+2)
	for _, t := range tags {
		out = append(out, option(t.Name, t.Value))
	}
	return out
}

func option(name, val string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, RawValue: []byte(val)},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
