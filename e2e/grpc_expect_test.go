package e2e

import fm "github.com/safestate/safestate/e2e/faultmodel"

// grpcExpectation is what a caller must see of a fault on G.
type grpcExpectation struct {
	group  string
	reason []string // prefixes of x-safestate-reason that are right
	// unanswered: headers came and the trailers never did, or more than may be
	// read. Envoy takes no answer in the place of such a call: the last rung is
	// what the policy says, UNAVAILABLE or a message.
	unanswered bool
	// silent: nothing of safestate's is left to give a reason either.
	silent bool
	// held: the model does nothing more until its caller leaves.
	held bool
}

// retried is the reason of a call that Envoy took to the ladder by itself.
const retried = "broken_status asked once, then the ladder"

// expectedGRPC has a row for every fault that is not what it is on tensors over
// HTTP: those have a row in expected.
var expectedGRPC = map[fm.Fault]grpcExpectation{
	fm.S01RateLimitedRetryAfter:    {group: "main", reason: []string{retried}},
	fm.S01AfterHeaders:             {group: "main", reason: []string{"broken_status 429"}},
	fm.S02RateLimitedForEver:       {group: "main", reason: []string{retried}},
	fm.S02AfterHeaders:             {group: "main", reason: []string{"broken_status 429"}},
	fm.S03ErrorOnce:                {group: "main", reason: []string{retried}},
	fm.S03AfterHeaders:             {group: "main", reason: []string{"broken_status 500"}},
	fm.S04UnavailableForEver:       {group: "main", reason: []string{retried}},
	fm.S04AfterHeaders:             {group: "main", reason: []string{"broken_status 503"}},
	fm.S04HTTPStatus:               {group: "main", reason: []string{retried}},
	fm.S05ResetBeforeHeaders:       {group: "main", reason: []string{retried}},
	fm.S05StreamReset:              {group: "main", reason: []string{retried}},
	fm.S06NeverAnswers:             {group: "main", reason: []string{retried}, held: true},
	fm.S07SlowBody:                 {group: "main", reason: []string{"late"}, unanswered: true},
	fm.S08BodyCut:                  {group: "main", unanswered: true, silent: true},
	fm.S08FrameShort:               {group: "main", reason: []string{"broken_grpc_message"}},
	fm.S08NoTrailers:               {group: "main", reason: []string{"broken_status 500"}, unanswered: true},
	fm.S09BodyStalls:               {group: "main", reason: []string{"late"}, unanswered: true, held: true},
	fm.S15Down:                     {group: "breaker", reason: []string{retried, "breaker_open"}},
	fm.S16UnavailableFallbackNamed: {group: "main", reason: []string{retried}},
	fm.S16AfterHeaders:             {group: "main", reason: []string{"broken_status 503"}},

	fm.C04NaNTypedFP32:    {group: "main", reason: []string{"nonfinite "}},
	fm.C04NaNTypedFP64:    {group: "main", reason: []string{"nonfinite "}},
	fm.C07InfTypedFP32:    {group: "main", reason: []string{"nonfinite "}},
	fm.C07InfTypedFP64:    {group: "main", reason: []string{"nonfinite "}},
	fm.C07NegInfTypedFP32: {group: "main", reason: []string{"nonfinite "}},
	fm.C07NegInfTypedFP64: {group: "main", reason: []string{"nonfinite "}},

	fm.C12HeaderOnly:    {group: "main", reason: []string{"broken_empty"}},
	fm.C13TrailingBytes: {group: "main", reason: []string{"broken_grpc_message"}},
	fm.C13SecondMessage: {group: "main", reason: []string{"broken_grpc_message"}},
	fm.C15Huge:          {group: "main", reason: []string{"broken_too_large"}},
}

func onGRPC(f fm.Fault) grpcExpectation {
	if x, ok := expectedGRPC[f]; ok {
		return x
	}
	x := expected[f]
	return grpcExpectation{group: x.group, reason: x.reason}
}
