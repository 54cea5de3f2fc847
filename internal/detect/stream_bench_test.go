package detect

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/safestate/safestate/internal/policy"
)

// benchChunk is what vLLM sends for a token.
const benchChunk = `{"id":"chatcmpl-5f0c6f1f1f9a4d3b8a2b0a9b1d2e3f40","object":"chat.completion.chunk","created":1718345013,"model":"m","choices":[{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null}],"usage":null}`

// An idle stream is small, also one whose events were long and cut.
func TestStreamIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Stream{}); n > 640 {
		t.Errorf("a Stream has %d bytes", n)
	}
	p := chatPolicy(policy.Enforce)
	p.Stream.HoldBytes = 64 << 10
	d := compiled(t, p)
	request := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("x", 220<<10) + `"}]}`
	const n = 1000
	streams := make([]*Stream, n)
	long := []byte(events(role, with(`"delta":{"content":"`+strings.Repeat("y", 8000)+`"}`)))
	before := heap()
	var x Exchange
	for i := range streams {
		x.Reset()
		x.Path, x.RequestBody, x.RequestBodySeen = chatPath, []byte(request), true
		s := d.Stream(&x)
		s.Feed(long[:1000])
		s.Feed(long[1000:5000])
		s.Feed(long[5000:])
		s.Feed([]byte("data: {")) // the beginning of the next one
		streams[i] = s
	}
	each := (int64(heap()) - int64(before)) / n
	if step := streams[0].Feed([]byte("}\n\n")); step.Verdict.Clean() {
		t.Error("the streams are over")
	}
	t.Logf("%d bytes, %d for each open stream", unsafe.Sizeof(Stream{}), each)
	if each > 2<<10 {
		t.Errorf("%d bytes for each open stream", each)
	}
	runtime.KeepAlive(streams)
	runtime.KeepAlive(request)
	runtime.KeepAlive(long)
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkStream prints the cost of one event: whole ones, several at once, and
// ones that are cut.
func BenchmarkStream(b *testing.B) {
	tokens := `{"model":"m","logprobs":true}`
	for name, c := range map[string]struct {
		request, chunk string
		events         int // in a piece
		cut            bool
	}{
		"event":          {asked, benchChunk, 1, false},
		"event/cut":      {asked, benchChunk, 1, true},
		"eight":          {asked, benchChunk, 8, false},
		"logprobs":       {tokens, lp(" token", "-0.31725305"), 1, false},
		"logprobs/eight": {tokens, lp(" token", "-0.31725305"), 8, false},
	} {
		b.Run(name, func(b *testing.B) {
			d := compiled(b, chatPolicy(policy.Enforce))
			s := d.Stream(chatExchange(chatPath, c.request))
			piece := []byte(strings.Repeat(events(c.chunk), c.events))
			cut := len(piece) / 2
			b.ReportAllocs()
			b.SetBytes(int64(len(piece)))
			n := 0
			for b.Loop() {
				n += c.events
				var step Step
				if c.cut {
					s.Feed(piece[:cut])
					step = s.Feed(piece[cut:])
				} else {
					step = s.Feed(piece)
				}
				if !step.Verdict.Clean() || len(step.Pass) != len(piece) {
					b.Fatal(fmt.Sprint(said(step.Verdict), len(step.Pass)))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
		})
	}
}
