package faultmodel

import "time"

// Count is how often a fault was really served since Start. It moves once the
// last byte is written, which may be just after the caller has read it.
func (s *Server) Count(f Fault) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[f]
}

// Requests is how many inference requests reached the server since Start.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

func (s *Server) served(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[f]++
}

// Open is how many streams are being sent.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// Cancelled is how many answers, streams above all, lost their caller before
// their end. A caller that leaves a request over which the model hangs counts
// as well.
func (s *Server) Cancelled() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

// SetPace sets the time between two tokens of the streams that begin from now
// on; 0 or less is none.
func (s *Server) SetPace(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.Pace = d
}

func (s *Server) pace() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opts.Pace
}

func (s *Server) left() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone++
}

func (s *Server) streams(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open += n
}

func (s *Server) cleaned() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clean++
}

// State is what the control endpoint tells.
type State struct {
	Fault    string         `json:"fault"`
	Up       bool           `json:"up"`
	Requests int            `json:"requests"`
	Clean    int            `json:"clean"`
	Open     int            `json:"open"`      // streams being sent
	Gone     int            `json:"cancelled"` // answers whose caller left before their end
	Counts   map[string]int `json:"counts"`    // faults served, by name
}

// State returns a copy of the counters.
func (s *Server) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := State{Fault: s.fault.String(), Up: s.up, Requests: s.requests, Clean: s.clean, Open: s.open, Gone: s.gone, Counts: map[string]int{}}
	for _, f := range allFaults() {
		if s.counts[f] > 0 {
			out.Counts[f.String()] = s.counts[f]
		}
	}
	return out
}
