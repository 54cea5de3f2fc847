package filter

import (
	"github.com/safestate/safestate/internal/local"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
	"github.com/safestate/safestate/wasm/proxywasm"
	"github.com/safestate/safestate/wasm/proxywasm/types"
)

const statusUnavailable = 503

// replace answers in the place of an answer that failed, or that nobody was asked
// for: by the policy's rungs in their order.
func (s *stream) replace(f verdict.Finding) types.Action {
	s.bound = noTime
	if b := s.route.budget; b != nil && !b.Spend(s.plugin.now()) {
		refuse := s.route.policy.Budget.Refuse
		s.countOverBudget(refuse)
		if refuse {
			past := verdict.Finding{Code: verdict.BudgetExhausted, Detail: string(f.Code), Enforced: true}
			s.countFinding(past)
			return s.deliver(s.route.refusal, past)
		}
	}
	s.cause, s.next = f, 0
	return s.climb()
}

// climb tries the rungs from the next one on. The last one always answers.
func (s *stream) climb() types.Action {
	for s.next < len(s.route.rungs) {
		g := s.route.rungs[s.next]
		s.next++
		if g.table == nil {
			if s.call() {
				return types.ActionPause
			}
			continue
		}
		if a, ok := g.table.Answer(s.judge); ok {
			if a, ok = s.formed(a); ok {
				return s.deliver(a, s.cause)
			}
		}
	}
	a, ok := s.formed(s.route.last.Answer(s.judge))
	if !ok {
		a = local.Unanswerable(s.cause)
	}
	return s.deliver(a, s.cause)
}

// formed gives an answer the form that was asked for.
func (s *stream) formed(a local.Answer) (local.Answer, bool) {
	if s.route.policy.Protocol != policy.OpenAI {
		return a, true
	}
	return a.Formed(s.route.detector, s.judge)
}

// deliver sends a local answer.
func (s *stream) deliver(a local.Answer, f verdict.Finding) types.Action {
	source := a.Source
	if source == local.Refused {
		source = ""
	}
	list := local.AppendTags(make([]local.Header, 0, 4), a.ContentType, f, source)
	tags := make([][2]string, len(list))
	for i, t := range list {
		tags[i] = [2]string{t.Name, t.Value}
	}
	s.countServed(a.Source, "", "")
	return s.send(uint32(a.Status), tags, a.Body)
}

// reject answers 400 and names the field: the caller's error, said to the caller.
func (s *stream) reject(f verdict.Finding) types.Action {
	s.permits.Ignore()
	s.countRejected()
	tags := [][2]string{
		{verdict.HeaderReason, f.Reason()}, {"content-type", local.TypeJSON}, {"cache-control", "no-store"},
	}
	return s.send(400, tags, local.Rejection(s.route.policy.Protocol, f))
}

// send has Envoy answer at once, and end the exchange with the model. Where it cannot
// what was held goes on, uninspected: nothing else is left.
func (s *stream) send(status uint32, tags [][2]string, body []byte) types.Action {
	s.stage, s.bound = stageAnswered, noTime
	s.permits.Ignore() // those that nothing has settled
	if err := proxywasm.SendHttpResponse(status, tags, body, -1); err != nil {
		proxywasm.LogError("safestate: an answer could not be sent: " + err.Error())
		s.uninspected(causeFilterError)
		s.stage = stageLeft
		return types.ActionContinue
	}
	s.release()
	return types.ActionPause
}

// unreadable does what a policy that cannot be used says of it.
func (s *stream) unreadable() types.Action {
	s.plugin.metrics.counter(metricUninspected, label{"route", ""}, label{"cause", causePolicyUnreadable}).add(1)
	if s.route.open {
		s.stage = stageLeft
		return types.ActionContinue
	}
	return s.away()
}

// away answers as Envoy does where a processor is away: 503, in whose place the
// route's last rung answers.
func (s *stream) away() types.Action {
	f := verdict.Finding{Code: verdict.ProcessorAway, Enforced: true}
	return s.send(statusUnavailable, [][2]string{{verdict.HeaderReason, f.Reason()}}, nil)
}

// lost gives up on a stream that the host gives no answer on, or in which the filter
// failed: as for a processor that is away, by the policy.
func (s *stream) lost() types.Action {
	if s.route == nil || s.stage == stageLeft || s.stage == stageAnswered {
		s.stage = stageLeft
		return types.ActionContinue
	}
	s.bound = noTime
	was := s.stage
	if s.route.policy == nil {
		return s.away()
	}
	s.uninspected(causeFilterError)
	if s.judge != nil {
		s.countNothing()
	}
	if p := s.route.policy; was != stageCalling && (!p.FullyEnforced() || p.WhenProcessorAway == policy.AwayPass) {
		s.stage = stageLeft // what a call waits for has no body any more
		return types.ActionContinue
	}
	if was == stageFlowing || was == stageDropping {
		s.breakOff()
		return types.ActionContinue
	}
	return s.away()
}

// Recovered is what becomes of a stream in one of whose callbacks the filter
// panicked.
func (s *stream) Recovered(string) types.Action { return s.lost() }
