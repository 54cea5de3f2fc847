package extproc

import (
	"crypto/rand"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/safestate/safestate/internal/detect"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/signals"
	"github.com/safestate/safestate/internal/signing"
	"github.com/safestate/safestate/internal/telemetry"
)

// BenchmarkCleanExchange is the processor's own work on a clean answer, gRPC
// left out: four messages, one verdict, counted for the control plane.
func BenchmarkCleanExchange(b *testing.B) { benchmarkCleanExchange(b, false) }

// BenchmarkCleanExchangeSigned is the same where policies have to be signed.
func BenchmarkCleanExchangeSigned(b *testing.B) { benchmarkCleanExchange(b, true) }

func benchmarkCleanExchange(b *testing.B, signed bool) {
	metrics := telemetry.NewMetrics("bench", telemetry.Caps{})
	state, err := NewState(StateOptions{Metrics: metrics})
	if err != nil {
		b.Fatal(err)
	}
	hub := signals.NewHub(signals.HubOptions{})
	defer hub.Close()
	reporter := signals.NewReporter(signals.ReporterOptions{Name: "bench", Links: []signals.Link{hub.Link()}, Breakers: state.Breakers})
	defer reporter.Close()
	key, err := signing.Generate(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	keys := &signing.Keys{}
	keys.Set("test", key.Public())
	s := New(Options{Metrics: metrics, Log: telemetry.NopLog(), State: state, Signals: reporter, Signed: signed, Keys: keys})
	defer s.Close()
	text, err := fraud(readBody).Marshal()
	if err != nil {
		b.Fatal(err)
	}
	carried := map[string]string{
		policy.AttributePolicy: string(text), policy.AttributeCluster: "default/fraud/v1", policy.AttributeNode: "n",
		policy.AttributeSource: "10.1.2.3:45678", policy.AttributeGeneration: "12",
	}
	if signed {
		carried[policy.AttributeRoute] = "default/fraud/score"
		carried[policy.AttributeSignature] = key.Sign(signing.Subject{Route: "default/fraud/score", Namespace: "default", Policy: string(text)})
	}
	body := []byte(askOne)
	answer := []byte(cleanAnswer)
	messages := []*extprocv3.ProcessingRequest{
		{
			Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
				header(":method", "POST"), header(":path", "/v2/models/fraud/infer"), header("content-type", "application/json"), header("content-length", "80"),
			}}}},
			Attributes: attributes(carried),
		},
		{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: body, EndOfStream: true}}},
		{
			Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{Headers: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
				header(":status", "200"), header("content-type", "application/json"), header("content-length", "110"),
			}}}},
			Attributes: attributes(map[string]string{policy.AttributeCodeDetails: "via_upstream"}),
		},
		{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{Body: answer, EndOfStream: true}}},
	}
	e := &exchange{judge: new(detect.Exchange)}
	b.ReportAllocs()
	for b.Loop() {
		e.server = s
		s.open.Add(1)
		for _, m := range messages {
			if _, err := e.handle(m); err != nil {
				b.Fatal(err)
			}
		}
		if e.stage != stageFinished {
			b.Fatal("not answered")
		}
		e.permits.release()
		e.judge.Reset()
		*e = exchange{judge: e.judge}
		s.open.Add(-1)
	}
}
