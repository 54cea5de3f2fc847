package detect

import (
	"math"
	"strings"

	"github.com/safestate/safestate/internal/chat"
	"github.com/safestate/safestate/internal/fault"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/scan"
	"github.com/safestate/safestate/internal/tensor"
	"github.com/safestate/safestate/internal/verdict"
)

// findBadLogprob finds a log probability that is not finite: a bare token, null
// (but of the first token of a prompt that is echoed), a string that reads as
// one, a number past every float. A bare token is found anywhere in the answer,
// the alternatives in top_logprobs included: a strict reader cannot read it.
// What else stands for an alternative is not looked at.
func (t *plan) findBadLogprob(m *protocol.Message, r chat.Request) verdict.Finding {
	if t.nonFinite == "" {
		return verdict.Finding{}
	}
	if where := bareAnywhere(m.Root); where != "" {
		return found(t.nonFinite, verdict.NonFiniteValue, where)
	}
	for i := range m.Completion.Choices {
		if where := badLogprob(m.Completion.Choices[i].Logprobs, i, mayEcho(r)); where != "" {
			return found(t.nonFinite, verdict.NonFiniteValue, where)
		}
	}
	return verdict.Finding{}
}

// mayEcho reports whether the first token may be the prompt's.
func mayEcho(r chat.Request) bool { return r.Echo || !r.Known }

// bareAnywhere returns the place and form of the first bare non-finite token
// below root, "" for none.
func bareAnywhere(root scan.Node) string {
	where, _ := nonFiniteBelow(root, tensor.INT64)
	return strings.TrimPrefix(where, ".")
}

// badLogprob returns the place and form of the first log probability of choice
// i that is not finite, "" for none.
func badLogprob(logprobs scan.Node, i int, echo bool) (where string) {
	chat.EachLogprob(logprobs, func(l chat.Logprob) bool {
		if l.Node.Kind() == scan.Null && l.First() && echo {
			return true
		}
		if form := badScalar(l.Node, tensor.FP64); form != "" {
			where = l.Place(i) + " " + form
		}
		return where == ""
	})
	return where
}

// logprobsValue is what a confidence over the probabilities of tokens is called
// in a policy.
const logprobsValue = "logprobs"

// newLogprobs compiles a confidence over the probabilities of tokens.
func newLogprobs(c policy.Confidence) (confidence, error) {
	conf := confidence{mode: c.Mode, logprobs: true, aggregate: c.Aggregate, min: c.Min}
	switch c.Aggregate {
	case "":
		conf.aggregate = policy.AggregateMin
	case policy.AggregateMin, policy.AggregateMean:
	default:
		return conf, fault.Errorf("%q is none of min and mean, which log probabilities can be folded by", string(c.Aggregate))
	}
	return conf, nil
}

// sentinelLogprob and what is below it is no probability of a token that was
// chosen: e^-100 is nearly the smallest float32 above 0. vLLM writes -9999.0,
// others -100, for a probability that they do not know.
const sentinelLogprob = -100

// logprobFold folds the log probabilities of one choice: aggregate mean is
// exp(mean), the geometric mean of the tokens' probabilities; min is exp(min),
// the probability of the least likely one. The zero value is an empty fold. It
// can be fed chunk by chunk.
type logprobFold struct {
	n     int
	sum   float64
	least float64
}

// add takes one log probability; the code is that of a value that is none.
func (f *logprobFold) add(n scan.Node) (code verdict.Code, value float64) {
	v, ok := n.Float()
	switch {
	case n.Kind() == scan.String && specialText(n, true):
		return verdict.ConfidenceSentinel, math.NaN()
	case !n.Exists():
		return verdict.ConfidenceMissing, 0
	case !ok:
		return verdict.ConfidenceNull, 0
	case math.IsNaN(v) || math.IsInf(v, 0) || v <= sentinelLogprob:
		return verdict.ConfidenceSentinel, v
	case v > slackFP32:
		return verdict.ConfidenceOverOne, v
	}
	v = math.Min(v, 0)
	if f.n == 0 || v < f.least {
		f.least = v
	}
	f.sum += v
	f.n++
	return "", 0
}

// confidence returns the fold, 0 to 1. Of an empty one it says nothing.
func (f *logprobFold) confidence(a policy.Aggregate) float64 {
	if a == policy.AggregateMean {
		return math.Exp(f.sum / float64(f.n))
	}
	return math.Exp(f.least)
}

// addAll folds the log probabilities of choice i. It returns the first finding.
func (f *logprobFold) addAll(c *confidence, t *plan, logprobs scan.Node, i int, echo bool) (finding verdict.Finding) {
	chat.EachLogprob(logprobs, func(l chat.Logprob) bool {
		if l.Ambiguous {
			finding = found(t.ambiguous, verdict.BrokenDuplicate, l.Place(i))
			return false
		}
		if l.Node.Kind() == scan.Null && l.First() && echo {
			return true
		}
		code, value := f.add(l.Node)
		switch code {
		case "":
			return true
		case verdict.ConfidenceSentinel, verdict.ConfidenceOverOne:
			finding = found(c.mode, code, l.Place(i)+" "+number(value))
		default:
			finding = found(c.mode, code, l.Place(i))
		}
		return false
	})
	return finding
}

// verdictOf compares the fold of choice i with the minimum.
func (f *logprobFold) verdictOf(c *confidence, i int) verdict.Finding {
	if f.n == 0 {
		return found(c.mode, verdict.ConfidenceMissing, chat.Place(i, logprobsValue))
	}
	if v := f.confidence(c.aggregate); !(v >= c.min) {
		return found(c.mode, verdict.ConfidenceLow, chat.Place(i, logprobsValue)+" "+number(v)+" < "+number(c.min))
	}
	return verdict.Finding{}
}

// checkLogprobs holds every choice to the minimum; the worst one counts, that
// is the first that is under it. A choice that calls a tool has no text whose
// probability could be missing, and where the request did not ask for log
// probabilities nothing is missing at all.
func (c *confidence) checkLogprobs(t *plan, answer *chat.Completion, r chat.Request) verdict.Finding {
	for i := range answer.Choices {
		ch := &answer.Choices[i]
		if r.Known && !r.Logprobs {
			break
		}
		var fold logprobFold
		if f := fold.addAll(c, t, ch.Logprobs, i, mayEcho(r)); f.Found() {
			return f
		}
		if fold.n == 0 && (!r.Known || ch.Acts() || ch.Filtered()) {
			continue
		}
		if f := fold.verdictOf(c, i); f.Found() {
			return f
		}
	}
	return verdict.Finding{}
}
