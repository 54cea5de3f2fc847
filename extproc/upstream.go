package extproc

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/ladder"
	"github.com/safestate/safestate/internal/local"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/verdict"
)

// Upstream is the ladder as a server that Envoy sends requests to: those that
// no model is to be asked, where one immediate response cannot hold the answer,
// and gRPC calls that a version failed, which no processor can put an answer in
// place of. A request names its policy by policy.HeaderDigest; one that this
// process does not know is answered 503.
//
// It answers, and counts the rungs and what the answer took; the exchange that
// Envoy has open at the processor, or the filter that asks, counts what was served.
//
// It takes the reports of the filters as well: policy.HeaderReport marks them.
func (s *Server) Upstream() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(policy.HeaderReport) != "" {
			s.takeReport(w, r)
			return
		}
		s.answerUpstream(w, r)
	})
}

var (
	errBinary        = errors.New("its binary part does not fit its header")
	errUnknownPolicy = errors.New("safestate: no policy of this digest is known here")
)

func (s *Server) answerUpstream(w http.ResponseWriter, r *http.Request) {
	route := s.known(r.Header)
	grpc := strings.HasPrefix(r.Header.Get("Content-Type"), protocol.TypeGRPC)
	if route == nil {
		w.Header().Set(policy.HeaderPolicyUnknown, "1")
		refuseUpstream(w, grpc, errUnknownPolicy.Error())
		return
	}
	judge := s.judges.Get().(*detect.Exchange)
	defer func() {
		judge.Reset()
		s.judges.Put(judge)
	}()
	version := route.version(r.Header.Get(policy.HeaderCluster))
	judge.Method, judge.Path, judge.RequestHeaders, judge.Version = r.Method, r.URL.RequestURI(), requestHeadersOf(r.Header), version.Version
	held := s.readUpstream(judge, r, route, grpc)
	defer func() { s.inFlight.Add(-held) }()

	f := causeOf(r.Header.Get(policy.HeaderAnswer))
	a := route.ladder.Answer(r.Context(), &ladder.Ask{
		Exchange: judge, Version: version.Version, Cause: f, Deadline: time.Now().Add(patienceOf(r.Header, route.policy)),
		Budgeted: r.Header.Get(policy.HeaderBudgeted) != "",
	})
	if grpc {
		s.writeMessage(w, route, &a, f, judge.RequestBody)
		return
	}
	if a.Stream != nil { // the prompt is with the model that answers
		judge.Reset()
		s.inFlight.Add(-held)
		held = 0
	}
	s.writeAnswer(w, r, &a, f)
	if prompt, completion, ok := usageOf(&a); ok {
		route.metrics.Tokens(a.Model, a.Version, prompt, completion, false)
	}
}

// known returns the route of the policy that a request names, or brings along as a
// request of Envoy's would: through the same gate. nil: there is none.
func (s *Server) known(h http.Header) *route {
	if route := s.routes.byDigest(h.Get(policy.HeaderDigest)); route != nil {
		return route
	}
	text, err := url.PathUnescape(h.Get(policy.HeaderPolicyText))
	if err != nil || text == "" {
		return nil
	}
	name, _, _ := strings.Cut(h.Get(policy.HeaderPolicyRoute), " ")
	route, err := s.routes.get(&carried{policy: text, signature: h.Get(policy.HeaderPolicySignature), route: name})
	if err != nil {
		s.metrics.Uninspected("", unusedFor(err))
		return nil
	}
	return route
}

// readUpstream reads the request's body as far as the policy's limit and the
// process's budget go, and returns how much of the budget it holds. A body that
// is not read whole was not seen: what needs no request answers it.
func (s *Server) readUpstream(judge *detect.Exchange, r *http.Request, route *route, grpc bool) int64 {
	limit := route.policy.Limits.BodyBytes
	booked := limit
	if r.ContentLength >= 0 {
		booked = min(limit, r.ContentLength)
	}
	if s.inFlight.Add(booked) > s.maxInFlight {
		s.inFlight.Add(-booked)
		return 0
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	size := int64(len(body))
	s.inFlight.Add(size - booked)
	if err != nil || size > limit {
		return size
	}
	judge.RequestBody, judge.RequestBodySeen = body, true
	if grpc {
		if m, ok := unframed(body, r.Header.Get(headerGRPCEncoding)); ok {
			judge.RequestBody = m
		}
	}
	return size
}

// versionFailed is the cause of what Envoy sent on to the ladder by itself: it
// does not say how the version failed that it had asked.
var versionFailed = verdict.Finding{Code: verdict.BrokenStatus, Detail: "asked once, then the ladder", Enforced: true}

// causeOf reads the reason that the processor gave. Without one Envoy came by
// itself, because the version that it asked first failed.
func causeOf(reason string) verdict.Finding {
	code, detail, _ := strings.Cut(reason, " ")
	if code == "" {
		return versionFailed
	}
	return verdict.Finding{Code: verdict.Code(code), Detail: detail, Enforced: true}
}

// patienceOf is how long the ladder may take: what Envoy says is left, and
// never more than the policy's deadline.
func patienceOf(h http.Header, p *policy.Policy) time.Duration {
	left := p.Deadline.D()
	if ms, err := strconv.ParseInt(h.Get("X-Envoy-Expected-Rq-Timeout-Ms"), 10, 64); err == nil && ms > 0 {
		left = min(left, time.Duration(ms)*time.Millisecond)
	}
	return left
}

func (s *Server) writeAnswer(w http.ResponseWriter, r *http.Request, a *ladder.Answer, f verdict.Finding) {
	writeTags(w, a, f)
	if a.Stream == nil {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.Body)))
		w.WriteHeader(a.Status)
		_, _ = w.Write(a.Body) // a proxy that left is not the ladder's concern
		return
	}
	defer a.Stream.Close()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.ending, cancel)()
	w.WriteHeader(a.Status)
	out := http.NewResponseController(w)
	for {
		b, err := a.Stream.Next(ctx)
		if err != nil && !errors.Is(err, io.EOF) {
			b = local.AppendCut(b, s.streamErrorCode(err))
		}
		if _, failed := w.Write(b); failed != nil {
			return
		}
		if out.Flush() != nil || err != nil {
			return
		}
	}
}

// streamErrorCode names why a stream of a fallback model ended early.
func (s *Server) streamErrorCode(err error) string {
	var broken *ladder.StreamError
	switch {
	case errors.As(err, &broken):
		return local.ErrorCode(broken.Finding)
	case s.ending.Err() != nil:
		return local.ErrorCode(verdict.Finding{Code: verdict.Draining})
	}
	return local.ErrorCode(verdict.Finding{Code: verdict.BrokenTruncated})
}

func writeTags(w http.ResponseWriter, a *ladder.Answer, f verdict.Finding) {
	for _, t := range tagsOf(a, f) {
		w.Header().Set(t.Name, t.Value)
	}
}

func (s *Server) writeMessage(w http.ResponseWriter, route *route, a *ladder.Answer, f verdict.Finding, request []byte) {
	if a.Source == ladder.Refused {
		w.Header().Set(verdict.HeaderReason, string(verdict.BudgetExhausted))
		refuseUpstream(w, true, "safestate: "+string(verdict.BudgetExhausted))
		return
	}
	m, err := route.messageOf(a, request)
	if err != nil {
		s.log.Error().Err(err).Str("route", route.policy.Route).Str("source", string(a.Source)).Msg("an answer of the ladder is no message")
		refuseUpstream(w, true, "safestate: no answer")
		return
	}
	a.ContentType, a.Extra = protocol.TypeGRPC, nil
	writeTags(w, a, f)
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(protocol.Frame(nil, m)) // a proxy that left is not the ladder's concern
	w.Header().Set(http.TrailerPrefix+headerGRPCStatus, strconv.Itoa(int(codes.OK)))
}

// refuseUpstream says that there is no answer, in the protocol's own form.
func refuseUpstream(w http.ResponseWriter, grpc bool, message string) {
	if grpc {
		w.Header().Set("Content-Type", protocol.TypeGRPC)
		w.Header().Set(headerGRPCStatus, strconv.Itoa(int(codes.Unavailable)))
		w.Header().Set(headerGRPCMessage, message)
		w.WriteHeader(http.StatusOK)
		return
	}
	w.Header().Set("Content-Type", chat.TypeJSON)
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write(chat.AppendErrorBody(nil, "safestate_unanswered", message)) // as above
}

// requestHeadersOf reads net/http's headers by lower-case names.
type requestHeadersOf http.Header

// Get implements detect.Headers. Where Envoy has put a version's credentials in
// the place of the caller's for the first try, it says what the caller's were.
func (h requestHeadersOf) Get(name string) (string, bool) {
	if name == "authorization" {
		if kept := http.Header(h).Get(policy.HeaderAuthorization); kept != "" {
			value := strings.TrimPrefix(kept, "=")
			return value, value != ""
		}
	}
	v := http.Header(h).Values(name)
	if len(v) == 0 {
		return "", false
	}
	return v[0], true
}
