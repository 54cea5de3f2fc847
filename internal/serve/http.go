package serve

import (
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"time"
)

// newHTTP makes the server of /healthz, /readyz, /metrics and, where there is one,
// the API under /v1.
func newHTTP(readiness func() Readiness, metrics, api http.Handler) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		r := readiness()
		w.Header().Set("Content-Type", "application/json")
		if !r.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(r)
	})
	mux.Handle("GET /metrics", metrics)
	if api != nil {
		mux.Handle("/v1/", api)
	}
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
}

// newAnswers serves the ladder to Envoy, which speaks HTTP/2 to it, each open
// stream a request: in plain text, or by config.
func newAnswers(handler http.Handler, config *tls.Config) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(config != nil)
	protocols.SetUnencryptedHTTP2(config == nil)
	return &http.Server{
		Handler: handler, Protocols: protocols, ReadHeaderTimeout: 5 * time.Second, TLSConfig: config,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 1 << 20},
	}
}

// serveHTTP serves over TLS where the server is configured for it.
func serveHTTP(s *http.Server, l net.Listener) error {
	if s.TLSConfig != nil {
		return s.ServeTLS(l, "", "")
	}
	return s.Serve(l)
}
