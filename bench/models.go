package main

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
)

// models are the model servers of the lab: as quick as an HTTP server gets, so
// that what is measured is the way to them.
type models struct {
	servers                       []*http.Server
	grpc                          *grpc.Server
	primary, small, chat, scoring int // ports
}

// The paths that tell the primary what to do. Each is a prefix of the fraud
// route's own.
const (
	pathGood  = "/v2/models/fraud/infer"
	pathBroke = "/v2/models/fraud/versions/broken/infer" // 500 always
	pathRetry = "/v2/models/fraud/versions/retry/infer"  // 500 at the first attempt
	pathWide  = "/v2/models/fraud/versions/wide/infer"   // an answer of 4 KiB
)

const answerText = `{"model_name":"fraud","model_version":"v1","outputs":[` +
	`{"name":"score","datatype":"FP32","shape":[1],"data":[0.0496420711]},` +
	`{"name":"label","datatype":"BYTES","shape":[1],"data":["allow"]},` +
	`{"name":"probs","datatype":"FP32","shape":[1,3],"data":[0.7900716066,0.1049642041,0.1049642041]}]}`

func startModels() (*models, error) {
	m := &models{}
	var err error
	if m.primary, err = m.serve(answerText); err != nil {
		return nil, err
	}
	if m.small, err = m.serve(strings.Replace(answerText, `"model_name":"fraud"`, `"model_name":"fraud-small"`, 1)); err != nil {
		return m, err
	}
	if m.chat, err = m.startChat(); err != nil {
		return m, err
	}
	m.scoring, err = m.startGRPC()
	return m, err
}

func (m *models) serve(text string) (int, error) {
	more := strings.Repeat("0.0123456789,", (4<<10-len(text))/len("0.0123456789,"))
	wide := strings.TrimSuffix(text, "]}") + `,{"name":"embedding","datatype":"FP32","shape":[` +
		strconv.Itoa(strings.Count(more, ",")) + `],"data":[` + strings.TrimSuffix(more, ",") + `]}]}`
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Attempt", r.Header.Get("X-Envoy-Attempt-Count"))
		if r.URL.Path == pathBroke || r.URL.Path == pathRetry && r.Header.Get("X-Envoy-Attempt-Count") == "1" {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, `{"error":"out of memory"}`)
			return
		}
		if r.URL.Path == pathWide {
			_, _ = io.WriteString(w, wide)
			return
		}
		_, _ = io.WriteString(w, text)
	})}
	m.servers = append(m.servers, s)
	go func() { _ = s.Serve(l) }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (m *models) close() {
	for _, s := range m.servers {
		_ = s.Close()
	}
	if m.grpc != nil {
		m.grpc.Stop()
	}
}
