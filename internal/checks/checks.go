// Package checks asks a Prometheus server what a rollout's checks want to know.
// It measures; what follows from a measurement is decided elsewhere.
package checks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
)

// Timeout bounds one query, the connection included.
const Timeout = 5 * time.Second

// Prometheus asks servers, each over connections of its own that it keeps. The
// zero value is ready; it is safe for concurrent use.
type Prometheus struct {
	mu      sync.Mutex
	servers map[string]promv1.API
}

// Measure asks the server at url, such as http://prometheus:9090, for the value
// that a PromQL query has now. It has to give one number; that may be NaN. A
// warning is an error: a part of the data may be missing in the number. It takes
// Timeout at most.
func (p *Prometheus) Measure(ctx context.Context, url, query string) (float64, error) {
	server, err := p.server(url)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	value, warnings, _, err := server.Query(ctx, query, time.Now(), promv1.WithTimeout(Timeout))
	if err != nil {
		return 0, fmt.Errorf("the query failed: %w", err)
	}
	if len(warnings) > 0 {
		return 0, fmt.Errorf("the server warns of its answer: %s", strings.Join(warnings, "; "))
	}
	return number(value)
}

// number takes the one number of an answer.
func number(value model.Value) (float64, error) {
	switch v := value.(type) {
	case *model.Scalar:
		return float64(v.Value), nil
	case model.Vector:
		switch {
		case len(v) == 0:
			return 0, errors.New("the query gave no data")
		case len(v) > 1:
			return 0, fmt.Errorf("the query gave %d series; want one number", len(v))
		case v[0].Histogram != nil:
			return 0, errors.New("the query gave a histogram; want one number")
		}
		return float64(v[0].Value), nil
	}
	return 0, fmt.Errorf("the query gave a %s; want one number", value.Type())
}

func (p *Prometheus) server(url string) (promv1.API, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.servers[url]; ok {
		return s, nil
	}
	client, err := api.NewClient(api.Config{Address: url, RoundTripper: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: Timeout}).DialContext,
		MaxIdleConnsPerHost: 2,
		IdleConnTimeout:     time.Minute,
		TLSHandshakeTimeout: Timeout,
	}})
	if err != nil {
		return nil, fmt.Errorf("%s is no Prometheus server's URL: %w", url, err)
	}
	if p.servers == nil {
		p.servers = map[string]promv1.API{}
	}
	p.servers[url] = promv1.NewAPI(client)
	return p.servers[url], nil
}
