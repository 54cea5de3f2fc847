package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestProbe(t *testing.T) {
	for _, c := range []struct {
		status int
		ok     bool
	}{{200, true}, {204, false}, {503, false}, {404, false}} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(c.status) }))
		if err := probe(s.URL); (err == nil) != c.ok {
			t.Errorf("status %d: %v", c.status, err)
		}
		s.Close()
		if err := probe(s.URL); err == nil {
			t.Error("a server that is gone is healthy")
		}
	}
}
