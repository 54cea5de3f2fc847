package faultmodel

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"
)

// Control is the control endpoint: POST /fault with {"fault": NAME, "for":
// "10s"} sets a fault (an empty name ends it, NAME@40 sets its place in a stream),
// GET /state tells the counters,
// GET /faults the names.
func (s *Server) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /fault", func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			Fault string `json:"fault"`
			For   string `json:"for"`
		}
		err := json.NewDecoder(io.LimitReader(r.Body, 4096)).Decode(&q)
		f, at := None, -1
		if err == nil {
			f, at, err = ParseAt(q.Fault)
		}
		var d time.Duration
		if err == nil && q.For != "" {
			d, err = time.ParseDuration(q.For)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.SetAt(f, at, d)
		writeJSON(w, s.State())
	})
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.State()) })
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) {
		names := make([]string, 0, numFaults)
		for _, f := range allFaults() {
			names = append(names, f.String())
		}
		writeJSON(w, names)
	})
	return mux
}
