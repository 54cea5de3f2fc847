package ladder

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/protocol"
	"github.com/safestate/safestate/internal/scan"
)

const modelInfer = "/inference.GRPCInferenceService/ModelInfer"

// oneInput is a ModelInferRequest's input x, FP32 of shape [1] with the value 1.
const oneInput = "\x2a\x14\x0a\x01x\x12\x04FP32\x1a\x01\x01\x2a\x06\x32\x04\x00\x00\x80\x3f"

// call is a ModelInferRequest for a model: model_name, id and an input.
func call(model, id string) []byte {
	return []byte("\x0a" + string(rune(len(model))) + model + "\x1a" + string(rune(len(id))) + id + oneInput)
}

// answering is a ModelInferResponse made of a V2 answer.
func answering(t *testing.T, json string) []byte {
	t.Helper()
	b, err := protocol.ToGRPC(nil, []byte(json), nil, protocol.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// frame is a message as it is on the wire.
func frame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// grpcModel runs a gRPC model that answers with a message and a status.
func grpcModel(t *testing.T, message []byte, status string, asked chan<- []byte) policy.Endpoint {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if asked != nil {
			asked <- append([]byte(r.URL.Path+" "), b...)
		}
		w.Header().Set("Content-Type", "application/grpc")
		if message != nil {
			_, _ = w.Write(frame(message))
		}
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", status)
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return endpointOf(t, s.Listener.Addr().String())
}

func grpcFraud(rungs ...policy.Rung) *policy.Policy {
	p := fraud(rungs...)
	p.Protocol = policy.OpenInferenceGRPC
	return p
}

func smallGRPC(e policy.Endpoint) policy.Rung {
	return small(e, withBreaker(1), func(f *policy.Fallback) { f.Protocol = policy.OpenInferenceGRPC })
}

func calling(id string) *Ask {
	ask := asking(string(call("fraud", id)), headers{"content-type": "application/grpc"})
	ask.Exchange.Path = modelInfer
	return ask
}

func TestAFallbackByGRPC(t *testing.T) {
	clean := answering(t, strings.Replace(smallBody, "{", `{"id":"7",`, 1))
	nan := bytes.Replace(clean, []byte{0, 0, 0, 0x3f}, []byte{0, 0, 0xc0, 0x7f}, 1) // 0.5
	if bytes.Equal(nan, clean) {
		t.Fatal("the message has no 0.5")
	}
	for name, c := range map[string]struct {
		message   []byte
		status    string
		want      Source
		detection string
	}{
		"clean":          {clean, "0", Fallback, ""},
		"NaN":            {nan, "0", Rules, "default/small/v7 nonfinite"},
		"unreadable":     {[]byte{0x0f}, "0", Rules, "default/small/v7 broken_grpc_message"},
		"another's name": {answering(t, rulesBody), "0", Rules, "default/small/v7 contract_model_name"},
		"UNAVAILABLE":    {nil, "14", Rules, ""},
		"INTERNAL":       {clean, "13", Rules, ""},
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan []byte, 1)
			s, _ := newState(t)
			p := grpcFraud(smallGRPC(grpcModel(t, c.message, c.status, asked)), rulesRungOf(rulesBody))
			p.Detect.Contract = &policy.Contract{Mode: policy.Enforce, ModelName: true}
			l, rec := newLadder(t, s, p)
			a := l.Answer(t.Context(), calling("7"))
			want := append([]byte(modelInfer+" "), frame(call("small", "7"))...)
			if got := <-asked; !bytes.Equal(got, want) {
				t.Errorf("asked %q, want %q", got, want)
			}
			if a.Source != c.want || strings.Join(rec.detections, " ") != c.detection {
				t.Fatalf("%s answered %q, detections %v", a.Source, a.Body, rec.detections)
			}
			if c.want == Fallback {
				if !bytes.Equal(a.Body, clean) || a.ContentType != "application/grpc" || a.Status != 200 || len(a.Extra) != 0 {
					t.Errorf("%+v", a)
				}
				return
			}
			// What is no gRPC is V2 JSON, with the request's id.
			wantAnswer(t, a, Rules, `{"id":"7",`+rulesBody[1:])
			if a.ContentType != "application/json" {
				t.Errorf("content-type %s", a.ContentType)
			}
		})
	}
}

func TestTheCacheOfAGRPCRoute(t *testing.T) {
	s, _ := newState(t)
	l, _ := newLadder(t, s, grpcFraud(cached(policy.OnFailure)))
	keep := calling("1")
	keep.Exchange.Status = 200
	keep.Exchange.ResponseHeaders = headers{"content-type": "application/grpc"}
	keep.Exchange.ResponseBody = answering(t, cleanAnswer)
	l.Clean(keep.Exchange, keep.Version, true)
	a := l.Answer(t.Context(), calling("2"))
	if a.Source != Cache || a.ContentType != "application/json" {
		t.Fatalf("%s answered %q as %s", a.Source, a.Body, a.ContentType)
	}
	json, tail := a.Body, []byte(nil)
	if i := slices.IndexFunc(a.Extra, func(h Header) bool { return h.Name == headerLength }); i >= 0 {
		var p protocol.Problem
		if json, tail, p = protocol.SplitBinary(a.Extra[i].Value, a.Body); p.Found() {
			t.Fatal(p)
		}
	}
	got, err := protocol.ToGRPC(nil, json, tail, protocol.Options{})
	want := answering(t, strings.Replace(cleanAnswer, `"1"`, `"2"`, 1))
	if err != nil || !sameAnswer(t, got, want) {
		t.Errorf("%v %q\nwant %q", err, got, want)
	}
}

// sameAnswer compares two messages by what they say.
func sameAnswer(t *testing.T, a, b []byte) bool {
	t.Helper()
	var texts [2]string
	for i, m := range [][]byte{a, b} {
		json, tail, p := protocol.FromGRPC(nil, nil, m, false)
		var d scan.Document
		if p.Found() || d.Parse(json, scan.Limits{}) != nil {
			t.Fatalf("%q is no answer", m)
		}
		texts[i] = string(scan.AppendCanonical(nil, d.Root())) + string(tail)
	}
	return texts[0] == texts[1]
}

// The stable version of a gRPC route is asked anew by gRPC.
func TestAStaleEntryOfAGRPCRoute(t *testing.T) {
	e := grpcModel(t, answering(t, newAnswer), "0", nil)
	rung := firstFrom(e)
	rung.Cache.Origin.Protocol = policy.OpenInferenceGRPC
	s, store := newState(t)
	l, rec := newLadder(t, s, grpcFraud(rung))
	keep := calling("1")
	keep.Exchange.Status = 200
	keep.Exchange.ResponseHeaders = headers{"content-type": "application/grpc"}
	keep.Exchange.ResponseBody = answering(t, cleanAnswer)
	l.Clean(keep.Exchange, keep.Version, true)
	store.by.Store(int64(1 << 37)) // two minutes
	if a, ok := l.First(t.Context(), calling("2")); !ok || a.Source != Cache {
		t.Fatalf("%v %+v", ok, a)
	}
	until(t, "the new answer to be kept", func() bool { return rec.written() == 2 })
	store.by.Store(0)
	a, ok := l.First(t.Context(), calling("3"))
	if !ok || !bytes.Contains(a.Body, []byte(`"3"`)) || bytes.Contains(a.Body, []byte("0.25")) {
		t.Errorf("%v %q", ok, a.Body)
	}
}
