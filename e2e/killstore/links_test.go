package killstore

import (
	"context"
	"strings"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// link is a way over TCP that can be broken. It is used by one goroutine.
type link struct {
	t      testing.TB
	name   string
	proxy  *toxiproxy.Proxy
	broken int // faults that break it now
	silent bool
}

// newLink listens, and goes on to another address. It ends with the test.
func newLink(t testing.TB, name, listen, to string) *link {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	l := &link{t: t, name: name, proxy: toxiproxy.NewProxy(server, strings.ReplaceAll(name, " ", "-"), listen, to)}
	l.must(l.proxy.Start())
	t.Cleanup(l.proxy.Stop)
	return l
}

func (l *link) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatalf("%s: %v", l.name, err)
	}
}

// at is where it listens.
func (l *link) at() string { return l.proxy.Listen }

// cut breaks the link: connections end, and new ones are refused; or where it is to
// be silent they stay, and nothing comes through.
func (l *link) cut(silent bool) {
	l.t.Helper()
	if l.broken++; l.broken > 1 {
		return // it is, in the one way or the other
	}
	if l.silent = silent; !silent {
		l.proxy.Stop()
		return
	}
	for _, stream := range []string{"upstream", "downstream"} {
		_, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(`{"name": "` + stream + `", "type": "timeout", "stream": "` + stream + `"}`))
		l.must(err)
	}
}

// mend ends one cut. The connections that were silent are closed.
func (l *link) mend() {
	l.t.Helper()
	if l.broken--; l.broken > 0 {
		return
	}
	if !l.silent {
		l.must(l.proxy.Start())
		return
	}
	for _, stream := range []string{"upstream", "downstream"} {
		l.must(l.proxy.Toxics.RemoveToxic(context.Background(), stream))
	}
}
