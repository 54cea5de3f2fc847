package detect

import (
	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/verdict"
)

// tokens folds the log probabilities of a chunk into those of its choice. One
// that is none, or already under the minimum of every token, is a finding at
// once.
func (s *Stream) tokens(c *choice, logprobs scan.Node) {
	t := s.plan
	echo := s.echo && c.fold.n == 0 && !c.badToken
	if t.nonFinite != "" {
		if where := badLogprob(logprobs, int(c.index), echo); where != "" {
			s.note(found(t.nonFinite, verdict.NonFiniteValue, where))
		}
	}
	if s.noLogprobs || len(t.confidences) == 0 {
		return
	}
	n, least := c.fold.n, c.fold.least
	chat.EachLogprob(logprobs, func(l chat.Logprob) bool {
		if l.Ambiguous {
			s.note(found(t.ambiguous, verdict.BrokenDuplicate, l.Place(int(c.index))))
			return true
		}
		if l.Node.Kind() == scan.Null && l.First() && echo {
			return true
		}
		if code, value := c.fold.add(l.Node); code != "" {
			c.badToken = true
			s.badToken(code, l.Place(int(c.index)), value)
		}
		return true
	})
	if c.fold.n == n || c.badToken || n > 0 && c.fold.least >= least {
		return
	}
	for i := range t.confidences {
		if conf := &t.confidences[i]; conf.logprobs && conf.aggregate == policy.AggregateMin {
			s.note(c.fold.verdictOf(conf, int(c.index)))
		}
	}
}

// badToken notes a token that has no probability for every confidence that is
// over them.
func (s *Stream) badToken(code verdict.Code, place string, value float64) {
	if code == verdict.ConfidenceSentinel || code == verdict.ConfidenceOverOne {
		place += " " + number(value)
	}
	for i := range s.plan.confidences {
		if conf := &s.plan.confidences[i]; conf.logprobs {
			s.note(found(conf.mode, code, place))
		}
	}
}

// finishTokens compares a complete choice with the minima. What has no log
// probabilities fails only where they were asked for, and where it has a text.
func (s *Stream) finishTokens(c *choice, filtered bool) {
	if c.badToken || c.fold.n == 0 && (!s.logprobs || c.acts || filtered) {
		return
	}
	for i := range s.plan.confidences {
		if conf := &s.plan.confidences[i]; conf.logprobs {
			s.note(c.fold.verdictOf(conf, int(c.index)))
		}
	}
}
