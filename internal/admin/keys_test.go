package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// fakeKeys remembers what it was asked.
type fakeKeys struct {
	keys  Keys
	asked []KeyRotation
	err   error
}

func (f *fakeKeys) Keys(context.Context) (Keys, error) { return f.keys, f.err }

func (f *fakeKeys) RotateKeys(_ context.Context, r KeyRotation) (Keys, error) {
	f.asked = append(f.asked, r)
	return f.keys, f.err
}

func TestKeys(t *testing.T) {
	f := &fakeKeys{keys: Keys{Keys: []Key{{ID: "34750f98bd59fcfc", State: KeyCurrent, Made: now, Signs: now}}, Waiting: "host x"}}
	api := New(Options{Control: &fakeControl{}, Keys: f})
	var got Keys
	w := send(api, request("GET", "/v1/keys", ""))
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK || len(got.Keys) != 1 || got.Waiting != "host x" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w = send(api, request("POST", "/v1/keys/rotate", `{"reason":"yearly","after":"24h0m0s","overlap":"48h0m0s","force":true}`))
	if w.Code != http.StatusOK || len(f.asked) != 1 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if r := f.asked[0]; r.Reason != "yearly" || !r.Force || r.After != 24*time.Hour || r.Overlap != 48*time.Hour || !strings.HasPrefix(r.By, "local") {
		t.Errorf("asked for %+v", r)
	}
}

func TestKeyRotationsThatAreRefused(t *testing.T) {
	f := &fakeKeys{}
	api := New(Options{Control: &fakeControl{}, Keys: f})
	for body, field := range map[string]string{
		`{}`:                               "reason",
		`{"reason":" "}`:                   "reason",
		`{"reason":"x","after":"0s"}`:      "after",
		`{"reason":"x","after":"-1s"}`:     "after",
		`{"reason":"x","overlap":"9000h"}`: "overlap",
		`{"reason":"x","key":"y"}`:         "key",
	} {
		w := send(api, request("POST", "/v1/keys/rotate", body))
		var p Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Code != http.StatusBadRequest || p.Field != field {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	if len(f.asked) != 0 {
		t.Errorf("asked for %+v", f.asked)
	}
	f.err = Conflict(0, "a rotation is under way")
	if w := send(api, request("POST", "/v1/keys/rotate", `{"reason":"x"}`)); w.Code != http.StatusConflict {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	none := New(Options{Control: &fakeControl{}})
	for _, r := range []*http.Request{request("GET", "/v1/keys", ""), request("POST", "/v1/keys/rotate", `{"reason":"x"}`)} {
		if w := send(none, r); w.Code != http.StatusConflict {
			t.Errorf("without keys: %d %s", w.Code, w.Body)
		}
	}
	f.err = errors.New("boom")
	if w := send(api, request("GET", "/v1/keys", "")); w.Code != http.StatusInternalServerError {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
