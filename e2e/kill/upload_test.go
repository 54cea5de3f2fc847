package kill

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
	"github.com/safestate/safestate/internal/kill"
)

// TestSlowUpload: a request whose version was chosen before the kill, and whose body
// comes after it, does not reach the model: its cluster has no endpoint by then.
func TestSlowUpload(t *testing.T) {
	for _, mode := range kill.Modes() {
		t.Run(string(mode), func(t *testing.T) {
			r := rowOf(t, "chat") // whose requests the processor gathers
			v := versions{startModel(t, r.live), startModel(t, r.live)}
			s := newStand(t, compiled(t, r.objects(v, extra{})), nil)
			s.live(r, v)
			seen := s.processed()
			body, rest := io.Pipe()
			answered := make(chan outcome)
			go func() { answered <- s.upload(r, body) }()
			half := len(r.request) / 2
			if _, err := io.WriteString(rest, r.request[:half]); err != nil {
				t.Fatal(err)
			}
			dataplane.Eventually(t, soon, "the processor sees the request", func() bool { return s.processed() > seen })
			s.kill(kill.ForModel("default/"+r.name), mode)
			s.emptied(r)
			before := v.asked()
			if _, err := io.WriteString(rest, r.request[half:]); err != nil {
				t.Fatal(err)
			}
			_ = rest.Close()
			if got := <-answered; got.source != "safe_default" || got.body == r.live {
				t.Errorf("the caller gets %+v", got)
			}
			if n := v.asked() - before; n != 0 {
				t.Errorf("%d requests reached the model", n)
			}
		})
	}
}

func (s *stand) upload(r *row, body io.Reader) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.options.Listen+"/"+r.name+r.path, body)
	if err != nil {
		return outcome{reason: err.Error()}
	}
	q.Header.Set("Content-Type", "application/json")
	a, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(q)
	if err != nil {
		return outcome{reason: err.Error()}
	}
	defer func() { _ = a.Body.Close() }()
	text, _ := io.ReadAll(a.Body)
	return outcome{status: a.StatusCode, source: a.Header.Get("X-Safestate-Source"), reason: a.Header.Get("X-Safestate-Reason"), body: string(text)}
}

// processed counts the requests that the processor was asked about.
func (s *stand) processed() int {
	_, value, _ := strings.Cut(strings.TrimSpace(dataplane.Get("http://"+s.options.Admin+"/stats?filter=ext_proc.streams_started$")), ": ")
	n, _ := strconv.Atoi(value)
	return n
}
