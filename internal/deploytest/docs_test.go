package deploytest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/internal/telemetry"
	"github.com/safestate/safestate/internal/verdict"
)

const generated = "<!-- Made from code: go test ./internal/deploytest -update -->\n"

// detectorTexts introduce each detector's reasons.
var detectorTexts = map[verdict.Detector]string{
	verdict.NonFinite:  "`detect.nonFinite`",
	verdict.Confidence: "`detect.confidence`",
	verdict.Late:       "`deadline`, less what the ladder keeps for itself",
	verdict.Broken:     "`detect.broken`",
	verdict.Contract:   "`detect.outputs` and the other promises of a model",
	verdict.Constant:   "`detect.constant`",
	verdict.Chat:       "`detect.chat`: looked at in completions of the OpenAI API",
	verdict.CEL:        "`detect.cel`",
	verdict.Dependency: "`detect.dependencies`",
	verdict.Request:    "`detect.request`: looked at before the model is asked",
	verdict.Guard:      "no detector: the model was not asked, or its answer not read",
}

func TestReasons(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("# Reasons\n\n" + generated + `
` + "`x-safestate-reason`" + ` says why an answer is not the model's. Its first word is a code of this table; what
follows the code, if anything, says where or how much. It is at most 256 bytes of printable ASCII; other
bytes of a model's own text become ` + "`?`" + `. The set is closed: a new code is a change of this page.

The detector is the label ` + "`detector`" + ` of ` + "`safestate_detections_total`" + `.
`)
	for _, d := range verdict.Detectors {
		text, ok := detectorTexts[d]
		if !ok {
			t.Fatalf("detector %s has no text here", d)
		}
		fmt.Fprintf(&b, "\n## %s\n\nFrom %s.\n\n| code | what happened | what follows the code |\n|---|---|---|\n", d, text)
		rows := 0
		for _, m := range verdict.Codes {
			if m.Detector != d {
				continue
			}
			rows++
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", m.Code, cell(m.Sentence), cell(m.Detail))
		}
		if rows == 0 {
			t.Errorf("detector %s has no code", d)
		}
	}
	fmt.Fprintf(&b, `
## Envoy alone

Where Envoy answers by itself, it writes the codes above for a model that is late or broken, followed by its own
response code details, and one code more:

| code | what happened | what follows the code |
|---|---|---|
| %s | No processor answered Envoy: it is dead, hung, or failed on this request. |  |
`, "`"+envoy.ReasonProcessorAway+"`")
	made(t, "docs/reasons.md", b.Bytes())
}

func TestEveryCodeHasADetectorOfTheList(t *testing.T) {
	known := map[verdict.Detector]bool{}
	for _, d := range verdict.Detectors {
		known[d] = true
	}
	seen := map[verdict.Code]bool{}
	for _, m := range verdict.Codes {
		if !known[m.Detector] || seen[m.Code] || m.Sentence == "" {
			t.Errorf("row %+v: unknown detector, second row or no sentence", m)
		}
		seen[m.Code] = true
	}
}

func TestMetricsPage(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("# Metrics\n\n" + generated + `
` + "`GET /metrics`" + ` on safestate's HTTP address (127.0.0.1:8686 by default), in Prometheus's formats. Beside these there
are Go's own metrics (` + "`go_*`" + `) and the process's (` + "`process_*`" + `).

Label values are bounded: past 500 routes, 64 model versions of a route or 2,000 breakers, what comes is counted
under ` + "`other`" + `. Series that a policy can touch start at 0, so that the first failure already is an increase.

A processor that is dead counts nothing. What Envoy answered or passed without one is in Envoy's own counters:
[alerts.md](alerts.md#what-envoy-counts).

| metric | type | labels | meaning |
|---|---|---|---|
`)
	for _, m := range telemetry.Table {
		labels := ""
		if len(m.Labels) > 0 {
			labels = "`" + strings.Join(m.Labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, m.Kind, labels, cell(m.Help))
	}
	b.WriteString(`
## Causes of uninspected answers

Values of the label ` + "`cause`" + ` of ` + "`safestate_uninspected_total`" + `. An alert goes off for every cause that is not
expected; for those that end the stream it is the one on Envoy's own counters.

| cause | what happened | expected | ends the stream |
|---|---|---|---|
`)
	for _, c := range telemetry.Causes {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", c.Label, cell(c.Sentence), yes(c.Expected), yes(c.EndsStream))
	}
	b.WriteString("\n## Buckets\n\nUpper bounds of the histograms, in seconds.\n\n| metric | buckets |\n|---|---|\n")
	for _, m := range telemetry.Table {
		if m.Kind == telemetry.Histogram {
			fmt.Fprintf(&b, "| `%s` | %s |\n", m.Name, strings.Trim(fmt.Sprint(m.Buckets), "[]"))
		}
	}
	made(t, "docs/metrics.md", b.Bytes())
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

// cell escapes what a table's cell cannot hold.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
