package extproc

import (
	"testing"
	"time"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/verdict"
)

func cached(when policy.When, tenants ...string) *policy.Policy {
	return fraud(readBody, func(p *policy.Policy) {
		p.Stable = "v1"
		p.Ladder = append([]policy.Rung{{Cache: &policy.Cache{
			TTL: policy.Duration(time.Hour), TenantHeaders: tenants, When: when,
		}}}, p.Ladder...)
	})
}

const (
	askOne   = `{"id":"1","inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]}`
	askAgain = `{"inputs":[{"shape":[1],"name":"x","datatype":"FP32","data":[1]}],  "id":"2"}`
	askOther = `{"id":"3","inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[2]}]}`
)

const (
	answerOne   = `{"id":"1","model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.25]}]}`
	answerAgain = `{"id":"2","model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.25]}]}`
)

func TestTheCacheAnswersTheSameQuestionUnderItsOwnID(t *testing.T) {
	p := cached(policy.OnFailure)
	proxy := newProxy(t)
	proxy.do(request{policy: p, body: askOne, answer: answerOne})
	got := proxy.do(request{policy: p, body: askAgain, answer: nanAnswer})
	if got.headers[verdict.HeaderSource] != "cache" || got.body != answerAgain || got.headers[verdict.HeaderVersion] != "v1" {
		t.Fatalf("got %v %q, want the cached answer with the id of this request", got.headers, got.body)
	}
	got = proxy.do(request{policy: p, body: askOther, answer: nanAnswer})
	if got.headers[verdict.HeaderSource] != "safe_default" {
		t.Fatalf("another question got %v", got.headers)
	}
}

func TestAFailedAnswerIsNeverCached(t *testing.T) {
	p := cached(policy.OnFailure)
	proxy := newProxy(t)
	for range 2 {
		if got := proxy.do(request{policy: p, body: askOne, answer: nanAnswer}); got.headers[verdict.HeaderSource] != "safe_default" {
			t.Fatalf("got %v", got.headers)
		}
	}
}

func TestTheCacheFirstSparesTheModel(t *testing.T) {
	p := cached(policy.First)
	proxy := newProxy(t)
	if got := proxy.do(request{policy: p, body: askOne, answer: answerOne}); !got.asked || got.headers[verdict.HeaderSource] != "primary" {
		t.Fatalf("got %+v, want the model's answer: nothing is cached yet", got)
	}
	got := proxy.do(request{policy: p, body: askAgain, cluster: "default/fraud/v2", answer: answerOne})
	if got.asked || got.headers[verdict.HeaderSource] != "cache" || got.headers[verdict.HeaderVersion] != "v1" {
		t.Fatalf("got %+v, want the stable version's cached answer", got)
	}
}

func TestTenantsDoNotMeetInTheCache(t *testing.T) {
	p := cached(policy.OnFailure, "x-tenant")
	proxy := newProxy(t)
	ask := func(tenant, answer string) string {
		r := request{policy: p, body: askOne, answer: answer}
		if tenant != "" {
			r.headers = map[string]string{"x-tenant": tenant}
		}
		return proxy.do(r).headers[verdict.HeaderSource]
	}
	ask("a", answerOne)
	ask("", answerOne)
	for tenant, want := range map[string]string{"a": "cache", "b": "safe_default", "": "safe_default"} {
		if got := ask(tenant, nanAnswer); got != want {
			t.Errorf("tenant %q got %s, want %s", tenant, got, want)
		}
	}
}

func TestWithoutATenantNothingIsCachedForCredentials(t *testing.T) {
	p := cached(policy.OnFailure)
	proxy := newProxy(t)
	secret := map[string]string{"authorization": "Bearer a"}
	proxy.do(request{policy: p, body: askOne, answer: answerOne, headers: secret})
	if got := proxy.do(request{policy: p, body: askOne, answer: nanAnswer, headers: secret}); got.headers[verdict.HeaderSource] != "safe_default" {
		t.Fatalf("got %v", got.headers)
	}
}
