package envoy

import (
	"net"
	"net/http"
	"sync/atomic"
	"testing"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/safestate/safestate/internal/policy"
)

// logs counts what Envoy tells of afterwards.
type logs struct{ cut, last, other atomic.Int64 }

func (l *logs) StreamAccessLogs(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return nil
		}
		for _, e := range m.GetHttpLogs().GetLogEntry() {
			switch e.GetRequest().GetPath() {
			case inferPath + "?cut":
				l.cut.Add(1)
			case inferPath + "?last":
				l.last.Add(1)
			default:
				l.other.Add(1)
			}
		}
	}
}

// TestEvidenceOfTheFilter: an answer that the model breaks off behind its headers is
// told of on routes with the filter as well, unless the processor has counted it.
func TestEvidenceOfTheFilter(t *testing.T) {
	for _, c := range []struct {
		host policy.Host
		word string // of the processor
		want int64
	}{
		{policy.HostWASM, "", 1},
		{policy.HostBoth, policy.VerdictSeen, 1},
		{policy.HostBoth, policy.VerdictCounted, 0},
	} {
		t.Run(string(c.host)+" "+c.word, func(t *testing.T) {
			t.Parallel()
			o, told := testOptions(t), &logs{}
			var word atomic.Value
			word.Store(c.word)
			l, err := net.Listen("tcp", o.Processor)
			if err != nil {
				t.Fatal(err)
			}
			server := grpc.NewServer()
			accesslogv3.RegisterAccessLogServiceServer(server, told)
			extprocv3.RegisterExternalProcessorServer(server, &processor{attrs: map[string]string{}, script: func(phase string, _ *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
				out := proceed(phase)
				if phase == "request headers" { // Envoy has it before the model answers
					said := &structpb.Struct{Fields: map[string]*structpb.Value{policy.MetadataVerdict: structpb.NewStringValue(word.Load().(string))}}
					out.DynamicMetadata = &structpb.Struct{Fields: map[string]*structpb.Value{policy.MetadataNamespace: structpb.NewStructValue(said)}}
				}
				return out
			}})
			go func() { _ = server.Serve(l) }()
			t.Cleanup(server.Stop)
			m := newModel(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("content-length", "100")
				w.WriteHeader(http.StatusOK)
				_, _ = w.Write([]byte(`{"outputs":`))
				if r.URL.RawQuery != "whole" {
					_ = http.NewResponseController(w).Flush()
					panic(http.ErrAbortHandler)
				}
				_, _ = w.Write(make([]byte, 89))
			})
			p := startInside(t, snapshot(t, enforced(judgedBy(c.host)), version("v1", m.addr)), o)
			_, _ = p.try("POST", inferPath+"?whole", nil)
			_, _ = p.try("POST", inferPath+"?cut", nil)
			word.Store(policy.VerdictSeen)
			const lasts = 20 // cut as well; each worker tells of its own in their order
			for range lasts {
				_, _ = p.try("POST", inferPath+"?last", nil)
			}
			eventually(t, "Envoy tells of the last", func() bool { return told.last.Load() == lasts })
			if cut, other := told.cut.Load(), told.other.Load(); cut != c.want || other != 0 {
				t.Errorf("told of %d cut answers and %d others, want %d and 0", cut, other, c.want)
			}
		})
	}
}
