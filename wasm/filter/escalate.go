package filter

import (
	"strconv"
	"strings"

	"github.com/safestate/safestate/internal/local"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/time"
	"github.com/safestate/safestate/internal/verdict"
	"github.com/safestate/safestate/wasm/proxywasm"
)

// headerExpected tells the ladder's upstream how long it has.
const headerExpected = "x-envoy-expected-rq-timeout-ms"

// call asks safestate's own upstream for an answer, which runs the whole ladder. It
// reports whether the answer is waited for.
func (s *stream) call() bool {
	if !s.judge.RequestBodySeen {
		return false // a cache has no key, and a model no question
	}
	p := s.route.policy
	if p.Protocol == policy.OpenAI {
		s.shape = s.route.detector.ChatRequest(s.judge).Shape() // the model may not have been asked
	}
	left := s.started.Add(p.Deadline.D()).Sub(s.plugin.now()) - local.ForLocal
	if left < local.LeastForNetwork {
		return false
	}
	whole := left
	if s.shape.Stream && p.Stream != nil {
		whole += p.Stream.MaxDuration.D() // a streamed answer comes in one piece
	}
	_, err := proxywasm.DispatchHttpCall(s.plugin.settings.Answers, s.asking(left), s.judge.RequestBody, nil,
		uint32(whole.Milliseconds()), s.called)
	if err != nil {
		return false
	}
	s.stage = stageCalling
	return true
}

// asking are the headers of a call: the caller's own, and what the ladder is to know.
func (s *stream) asking(left time.Duration) [][2]string {
	out := make([][2]string, 0, len(s.request)+5)
	for _, h := range s.request {
		if !strings.HasPrefix(h[0], "x-envoy-") && !strings.HasPrefix(h[0], verdict.HeaderPrefix) && !hopByHop[h[0]] {
			out = append(out, h)
		}
	}
	if s.told {
		out = append(out, s.route.brought...)
	}
	return append(out,
		[2]string{policy.HeaderDigest, s.route.digest},
		[2]string{policy.HeaderAnswer, s.cause.Reason()},
		[2]string{policy.HeaderCluster, s.cluster},
		[2]string{policy.HeaderBudgeted, "1"},
		[2]string{headerExpected, strconv.FormatInt(max(left.Milliseconds(), 1), 10)})
}

// hopByHop are headers of one connection (RFC 9110, 7.6.1), and those that a call
// writes anew.
var hopByHop = map[string]bool{
	"connection": true, "keep-alive": true, "proxy-connection": true, "te": true, "trailer": true,
	"transfer-encoding": true, "upgrade": true, "content-length": true, "expect": true,
}

// called takes the answer of a call. Without one the rungs after it answer.
func (s *stream) called(_, bodySize, _ int) {
	if s.stage != stageCalling {
		return
	}
	s.plugin.look()
	list, err := proxywasm.GetHttpCallResponseHeaders()
	got := headers(list)
	source := got.text(verdict.HeaderSource)
	if _, unknown := got.Get(policy.HeaderPolicyUnknown); unknown && !s.told {
		s.told = true // it has no files, and nobody has brought it the policy lately
		if s.call() {
			return
		}
	}
	if err != nil || source == "" || got.status() == 0 {
		s.climb()
		return
	}
	var body []byte
	if bodySize > 0 {
		if body, err = proxywasm.GetHttpCallResponseBody(0, bodySize); err != nil || len(body) != bodySize {
			s.climb()
			return
		}
	}
	tags := make([][2]string, 0, len(got))
	for _, h := range got {
		if !strings.HasPrefix(h[0], ":") && !strings.HasPrefix(h[0], "x-envoy-") && !hopByHop[h[0]] && h[0] != "date" && h[0] != "server" {
			tags = append(tags, h)
		}
	}
	s.countServed(local.Source(source), got.text(verdict.HeaderModel), got.text(verdict.HeaderVersion))
	s.send(uint32(got.status()), tags, body)
}
