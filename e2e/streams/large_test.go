package streams

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/safestate/safestate/e2e/clients"
	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

const (
	large      = 20 << 20
	largeLimit = 32 << 20

	tensorDefault = `{"model_name": "default", "outputs": [{"name": "score", "datatype": "FP32", "shape": [1], "data": [0.5]}]}`
)

// away is Envoy's reason where a message was not answered in the time that each
// has, which a busy machine may need for 20 MiB alone.
const away = "processor_away"

// again asks once more where the machine had no time, and says so.
func again(ask func() (hadNoTime bool)) {
	for n := range 5 {
		if !ask() {
			return
		}
		fmt.Printf("figure large the machine had no time: asked again, %d\n", n+1)
	}
}

// largePlane has a chat route and the tensor routes, all with the limit raised.
func largePlane(t *testing.T) (*dataplane.Plane, *fm.Server) {
	t.Helper()
	model := Model(t, fm.Options{Version: "v1", Pace: -1})
	fallback := Model(t, fm.Options{Version: "small", Tokens: FallbackTokens, Pace: -1})
	route := patientRoute("chat", model, fallback)
	route.BodyBytes = largeLimit
	dir := Folder(t, route)
	tmpl, err := template.ParseFiles(filepath.Join("testdata", "tensor.yaml.tmpl"))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := tmpl.Execute(&text, map[string]any{"Port": model.Port(), "BodyBytes": largeLimit, "Default": tensorDefault}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "large.yaml"), []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return dataplane.Start(t, dataplane.Options{Config: dir}), model
}

// TestLargeBodies sends bodies of 20 MiB between Envoy and safestate, either
// way, under a limit that is raised to 32: each is inspected to its last byte and
// goes through whole.
func TestLargeBodies(t *testing.T) {
	plane, model := largePlane(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	caller := NewCaller(plane.Traffic, fm.StreamTokens, true)
	defer caller.Close()
	unseen := func() float64 { return plane.Metric("safestate_uninspected_total") }
	before := unseen()

	patiently := func(q Question) (o Outcome) {
		again(func() bool {
			o = caller.Ask(ctx, q)
			return o.Reason == away
		})
		return o
	}
	for _, stream := range []bool{false, true} {
		o := patiently(Question{Route: "chat", Stream: stream, Prompt: large})
		if o.Manner != Complete || o.Wrong != "" {
			t.Errorf("a prompt, stream %t: %s", stream, o.Detail())
		}
		fmt.Printf("figure large what=prompt bytes=%d stream=%t answer=%s took=%s\n", large, stream, o, o.Took.Round(time.Millisecond))
	}
	if o := patiently(Question{Route: "chat", Prompt: largeLimit + 1}); o.String() != string(Refused)+" safestate_request_too_large" {
		t.Errorf("a prompt over the limit: %s", o.Detail())
	}
	largeAnswers(t, plane, model)
	largeMessage(ctx, t, plane)
	if n := unseen() - before; n != 0 {
		t.Errorf("%.0f bodies were not inspected", n)
	}
	dataplane.Eventually(t, 5*time.Second, "nothing is held", func() bool { return plane.Metric("safestate_bodies_bytes") == 0 })
}

// largeAnswers has the model answer with 20 MiB, clean and with what is wrong at
// the very end.
func largeAnswers(t *testing.T, plane *dataplane.Plane, model *fm.Server) {
	t.Helper()
	said := bytes.Repeat([]byte("tell me more. "), large/14)
	chat := fmt.Appendf(nil, `{"id":"a","object":"chat.completion","created":1,"model":"chat","choices":[{"index":0,"message":{"role":"assistant",`+
		`"content":"%s"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`, said)
	values := bytes.TrimSuffix(bytes.Repeat([]byte("0.25,"), large/5), []byte(","))
	tensor := fmt.Appendf(nil, `{"model_name":"large","outputs":[{"name":"score","datatype":"FP32","shape":[%d],"data":[%s]}]}`, large/5, values)
	input := []byte(`{"inputs":[{"name":"features","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}`)
	for _, c := range []struct {
		what, path string
		request    []byte
		answer     []byte
		source     string
		reason     string
	}{
		{"a completion", fmt.Sprintf(Path, "chat"), []byte(`{"model":"chat","messages":[{"role":"user","content":"hi"}]}`), chat, "primary", ""},
		{"a completion that is cut", fmt.Sprintf(Path, "chat"), []byte(`{"model":"chat","messages":[{"role":"user","content":"hi"}]}`), chat[:len(chat)-1], "fallback", "broken_"},
		{"tensors with NaN at the end", "/v2/models/large/infer", input, bytes.Replace(tensor, []byte("0.25]"), []byte("NaN]"), 1), "safe_default", "nonfinite"},
		{"tensors", "/v2/models/large/infer", input, tensor, "primary", ""},
	} {
		model.Can(http.Header{"Content-Type": {"application/json"}}, c.answer)
		var a dataplane.Answer
		again(func() bool {
			a = plane.Client.Do(dataplane.Request{Path: c.path, Body: c.request})
			return a.Reason() == away
		})
		if a.Err != nil || a.Status != http.StatusOK || a.Source() != c.source || !strings.HasPrefix(a.Reason(), c.reason) {
			t.Errorf("%s: status %d, source %q, reason %q, %d bytes, %v", c.what, a.Status, a.Source(), a.Reason(), len(a.Body), a.Err)
		}
		if (c.source == "primary") != bytes.Equal(a.Body, c.answer) {
			t.Errorf("%s: %d bytes of %d reached the caller", c.what, len(a.Body), len(c.answer))
		}
		fmt.Printf("figure large what=%q bytes=%d source=%s took=%s\n", c.what, len(c.answer), a.Source(), a.Took.Round(time.Millisecond))
	}
	model.Can(nil, nil)
}

// largeMessage calls over gRPC with a message of 20 MiB, and as large an answer:
// the model repeats the id.
func largeMessage(ctx context.Context, t *testing.T, plane *dataplane.Plane) {
	t.Helper()
	c, err := clients.DialGRPC(plane.Traffic)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	id := strings.Repeat("i", large)
	var begun time.Time
	var r clients.Reply
	again(func() bool {
		begun = time.Now()
		r = c.Infer(ctx, clients.Message{Model: "large", ID: id})
		return r.Code == codes.Unavailable && r.Message == ""
	})
	if _, ok := r.Output("score"); r.Code != codes.OK || r.Meta("x-safestate-source") != "primary" || !ok || r.ID != id {
		t.Errorf("a message: %s %q, source %q, reason %q, an id of %d bytes, want %d", r.Code, r.Message, r.Meta("x-safestate-source"),
			r.Meta("x-safestate-reason"), len(r.ID), large)
	}
	fmt.Printf("figure large what=message bytes=%d answer_bytes=%d source=%s took=%s\n", large, len(r.ID),
		r.Meta("x-safestate-source"), time.Since(begun).Round(time.Millisecond))
}
