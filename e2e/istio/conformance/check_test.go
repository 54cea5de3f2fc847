package conformance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// check is one feature at one place.
type check struct {
	*testing.T
	s       *stand
	p       *place
	f       *feature
	client  *dataplane.Client
	outcome string // why it does not work here; empty: it does
}

// no says why the feature is not there at this place. It is not, if what the case
// has looked at says so.
func (c *check) no(reason string) { c.outcome = notThere + reason }

// notThere begins the outcome of what is not there.
const notThere = "no: "

// settle waits until the mesh has the feature's objects, and returns why it does not
// take them; empty: it does.
func (c *check) settle() string {
	c.Helper()
	if c.f.policy == nil {
		return ""
	}
	if c.p.mesh {
		why, last := "", ""
		dataplane.Eventually(c, patience, "somebody has said what became of policy "+c.f.route, func() bool {
			reason, message, ok := c.s.condition(c, c.p, c.f.route)
			last = fmt.Sprint(reason, ": ", message, ok)
			if ok && reason == "Invalid" {
				_, why, _ = strings.Cut(message, ": ")
				why = strings.ReplaceAll(why, " "+c.p.namespace+"/", " NAMESPACE/")
				return true
			}
			return ok && (reason == "" || reason == "Unshown" || reason == "PartiallyProgrammed")
		})
		if why != "" {
			c.uninspected()
			return notThere + why
		}
		defer func() {
			if c.Failed() {
				c.Log("condition: ", last)
			}
		}()
	}
	if c.f.settles != "-" {
		source := c.f.settles
		if source == "" {
			source = "primary"
		}
		var last dataplane.Answer
		defer func() {
			if c.Failed() {
				c.Logf("the last answer: %s", say(last))
			}
		}()
		dataplane.Eventually(c, patience, "the policy "+c.f.route+" is at the proxy", func() bool {
			last = c.ask(question{})
			return last.Source() == source
		})
	}
	return ""
}

// uninspected holds where the mesh does not take a policy: the model answers.
func (c *check) uninspected() {
	c.Helper()
	if c.f.grpc {
		return
	}
	c.eventually("the model's own answer passes, unread", func() (bool, dataplane.Answer) {
		a := c.ask(question{fault: fm.C01NaNBare})
		return a.Source() == "" && strings.Contains(string(a.Body), "NaN"), a
	})
}

// question is a request for a prediction. The zero value is a healthy one of Open
// Inference V2 to the feature's route.
type question struct {
	protocol fm.Protocol // 0, OpenInferenceV1, is meant only where the model is one of it
	fault    fm.Fault
	at       int    // the fault's place in a stream; 0: its own
	route    string // default: the feature's
	path     string // default: the protocol's for the model
	method   string
	header   map[string]string
	body     string // default: the protocol's, another one each time
	replace  map[string]string
}

// serial makes every request another one: a constant answer, and a cached one, would
// show.
var serial atomic.Int64

func (c *check) request(q question) dataplane.Request {
	route, model := q.route, c.f.model
	if route == "" {
		route = c.f.route
	}
	if model == "" {
		model = "score"
	}
	protocol := protocolOf(model)
	if q.protocol != 0 {
		protocol = q.protocol
	}
	out := dataplane.Request{Method: q.method, Host: route + c.p.host, Path: protocol.Path(model), Body: []byte(q.body), Header: http.Header{}}
	if !c.p.hosts {
		out.Host += ":" + strconv.Itoa(c.s.port)
	}
	if c.f.path != "" {
		out.Path = c.f.path
	}
	if q.path != "" {
		out.Path = q.path
	}
	if q.body == "" && q.method == "" {
		out.Body = []byte(bodyOf(protocol, model, q.replace))
	}
	if q.fault != fm.None {
		name := q.fault.String()
		if q.at > 0 {
			name += "@" + strconv.Itoa(q.at)
		}
		out.Header.Set("X-Sample-Fault", name)
	}
	for k, v := range q.header {
		out.Header.Set(k, v)
	}
	return out
}

// protocolOf is what a Model of models speaks.
func protocolOf(model string) fm.Protocol {
	for _, m := range ownModels {
		if m[0] == model {
			switch m[1] {
			case "OpenInferenceV1":
				return fm.V1
			case "TensorFlowServing":
				return fm.TF
			case "MLflow":
				return fm.ML
			case "JSON":
				return fm.J
			case "OpenAI":
				return fm.OA
			}
		}
	}
	return fm.V2
}

// bodyOf is a request of a protocol, with members of its features replaced.
func bodyOf(p fm.Protocol, model string, replace map[string]string) string {
	n := serial.Add(1)
	members := map[string]any{
		"amount": 100 + float64(n%9000)*0.75, "account_age_days": n % 400, "merchant_category": "grocery",
		"is_international": false, "has_international_history": false,
	}
	for k, v := range replace {
		members[k] = json.RawMessage(v)
	}
	text, err := json.Marshal(members)
	if err != nil {
		return err.Error()
	}
	row := string(text)
	switch p {
	case fm.V1, fm.TF:
		return `{"instances": [` + row + `]}`
	case fm.ML:
		return `{"dataframe_records": [` + row + `]}`
	case fm.J:
		return strings.Replace(row, "{", fmt.Sprintf(`{"id": "r-%d", `, n), 1)
	case fm.OA, fm.SSE:
		return fmt.Sprintf(`{"model": %q, "stream": %t, "messages": [{"role": "user", "content": "Hello %d"}]}`, model, p == fm.SSE, n)
	case fm.V2B:
		row = strings.Replace(row, "{", `{"binary_data_output": true, `, 1)
	}
	return fmt.Sprintf(`{"id": "r-%d", "parameters": %s, "inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 4], "data": [%d.5, %d, 0, 0]}]}`, n, row, 100+n%9000, n%400)
}

// ask sends a question.
func (c *check) ask(q question) dataplane.Answer { return c.client.Do(c.request(q)) }

// together asks a question several times at once.
func (c *check) together(q question, n int) []dataplane.Answer {
	out := make([]dataplane.Answer, n)
	var all sync.WaitGroup
	for i := range out {
		all.Go(func() { out[i] = c.ask(q) })
	}
	all.Wait()
	return out
}

// want asks, and fails the case unless the answer has a source, a reason that begins
// so, and status 200.
func (c *check) want(q question, source, reason string) dataplane.Answer {
	c.Helper()
	return c.wantStatus(q, http.StatusOK, source, reason)
}

// wantStatus is want of another status.
func (c *check) wantStatus(q question, status int, source, reason string) dataplane.Answer {
	c.Helper()
	a := c.ask(q)
	for n := 0; n < 20 && busy(a) && !strings.HasPrefix(a.Reason(), reason); n++ {
		a = c.ask(q)
	}
	c.is(a, status, source, reason)
	return a
}

// busy: Envoy gave up waiting for the processor, or the model's answer came late, which
// is right and says that the machine had no time, not that a feature is missing.
func busy(a dataplane.Answer) bool {
	return a.Reason() == "processor_away" || strings.HasPrefix(a.Reason(), "late")
}

// is fails the case unless an answer is by a source, for a reason that begins so.
func (c *check) is(a dataplane.Answer, status int, source, reason string) {
	c.Helper()
	if a.Err != nil || a.Status != status || a.Source() != source || !strings.HasPrefix(a.Reason(), reason) {
		c.Errorf("want %d from %q because of %q; got %s", status, source, reason, say(a))
	}
	if source != "" && source != "primary" && strings.Contains(string(a.Body), "NaN") {
		c.Errorf("an answer by %s has a NaN: %s", source, say(a))
	}
}

// until asks until an answer is by a source, for a reason that begins so.
func (c *check) until(what string, q question, source, reason string) {
	c.Helper()
	c.eventually(what, func() (bool, dataplane.Answer) {
		a := c.ask(q)
		return a.Err == nil && a.Source() == source && strings.HasPrefix(a.Reason(), reason), a
	})
}

func (c *check) eventually(what string, holds func() (bool, dataplane.Answer)) {
	c.Helper()
	var last dataplane.Answer
	defer func() {
		if c.Failed() {
			c.Logf("the last answer: %s", say(last))
		}
	}()
	dataplane.Eventually(c, patience, what, func() (ok bool) {
		ok, last = holds()
		return ok
	})
}

// safestate runs a command at the place's, which has to succeed.
func (c *check) safestate(args ...string) string {
	c.Helper()
	out, err := c.p.safestate.run(c.T, args...)
	if err != nil {
		c.Fatalf("safestate %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// say prints an answer.
func say(a dataplane.Answer) string {
	return fmt.Sprintf("%d source %q version %q reason %q in %s: %.300s, err %v", a.Status, a.Source(), a.Header.Get("X-Safestate-Version"), a.Reason(), a.Took, a.Body, a.Err)
}
