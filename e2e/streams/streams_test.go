package streams

import (
	"os"
	"strings"
	"testing"

	"github.com/safestate/safestate/e2e/clients"
	"github.com/safestate/safestate/e2e/dataplane"
)

func TestMain(m *testing.M) {
	code := m.Run()
	dataplane.Cleanup()
	os.Exit(code)
}

// TestChaos kills, stops and ends safestate and the model under 100 open
// streams each, the openai library's among them.
func TestChaos(t *testing.T) {
	stands := map[string]*Stand{}
	for _, event := range Events() {
		key := strings.Join(event.Serve, " ")
		if stands[key] == nil {
			stands[key] = NewStand(t, event.Serve...)
		}
		s := stands[key]
		t.Run(event.Name, func(t *testing.T) {
			Chaos(t, s, event, 100, openAI(t, s))
		})
	}
}

// openAI is the openai library as a witness, in a process for each stream.
func openAI(t *testing.T, s *Stand) Witness {
	t.Helper()
	base := "http://" + s.Plane.Traffic + "/openai/" + standRoute + "/v1"
	free := make(chan *clients.OpenAI, 2)
	for range cap(free) {
		c := clients.StartOpenAI(t, base)
		c.Ask(t, clients.Chat{Body: map[string]any{"model": standRoute}}) // it takes a second to start
		free <- c
	}
	return func(fault string) string {
		c := <-free
		q := clients.Chat{Stream: true, Seconds: 60, Body: map[string]any{"model": standRoute}}
		if fault != "" {
			q.Header = map[string]string{FaultHeader: fault}
		}
		return manner(c.Ask(t, q))
	}
}

// manner names what the library made of an answer as an Outcome does.
func manner(o clients.ChatOutcome) string {
	if o.Raised == nil {
		switch o.Text() {
		case Words("w", modelTokens):
			return string(Complete)
		case Words("s", FallbackTokens):
			return string(Fallback)
		}
		return "silently wrong: " + o.Text()
	}
	code := ""
	if o.Raised.Code != "" {
		code = " " + o.Raised.Code
	}
	types := map[string]Manner{"openai.APIError": ErrorEvent, "openai.APIConnectionError": Broken, "openai.InternalServerError": Refused}
	if how, known := types[o.Raised.Type]; known {
		return string(how) + code
	}
	return o.Raised.Type + code
}
