package envoy

import (
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
)

const fragmentHead = `# What an Envoy of your own needs to take routes and clusters from safestate:
# safestate render fragment prints it. It is a whole bootstrap, which Envoy runs
# as it stands; take over what has a comment. The routes and the models' clusters
# come from safestate, your listener and all else stay yours.
`

// fragmentComments stand above the first line that begins so.
var fragmentComments = []struct{ line, text string }{
	{"bootstrap_extensions:", "For the listeners behind which a gRPC call has a message as its last rung."},
	{"layered_runtime:", "For a kill without the control plane, by Envoy's own admin interface: it writes\n" +
		"to the last of these, and refuses where there is none. Yours stand before it."},
	{"dynamic_resources:", "The models' clusters. An Envoy has one source of them: where yours has another,\n" +
		"let a second Envoy, or a second listener of safestate's own, take this traffic."},
	{"id:", "Names this proxy in status, logs and proofs: make it unique."},
	{"static_resources:", "The processor, the ladder and the control plane. They are here and not fetched:\n" +
		"a filter whose cluster was missing has let requests through unjudged."},
	{"access_log:", "What Envoy answered alone is counted, and what the model broke off behind its\n" +
		"headers is told to the processor."},
	{"early_header_mutation_extensions:", "Callers' copies of our headers, and of those by which Envoy lets a caller set\n" +
		"timeouts and retries, are dropped before a route is chosen."},
	{"- disabled: true", "In this order, and yours in front of them. They are off unless a route turns\n" +
		"them on, so a route without a policy costs nothing."},
	{"name: " + filterWASM, "For the routes whose policy has host WASM or Both. Envoy takes requests once the\n" +
		"module is compiled, some seconds after its start."},
	{"stats_config:", "Takes the labels out of the names of the WASM filter's metrics."},
	{"local_reply_config:", "The last rung: the route's own default while processor, model or both are away.\n" +
		"Whatever is not on this list stays what it is: every 5xx would make an answer\n" +
		"of a refused authorization. Mappers of your own come in front."},
	{"merge_slashes:", "A path is matched as the model's server will read it."},
	{"rds:", "The name is this one for every gateway."},
	{"per_connection_buffer_limit_bytes:", "The most of a body that the processor sees whole, where a policy has no limit\nof its own over it."},
}

// FragmentYAML prints a Fragment with what each piece is for.
func FragmentYAML(b *bootstrapv3.Bootstrap) ([]byte, error) {
	text, err := YAML(b)
	if err != nil {
		return nil, err
	}
	var out strings.Builder
	out.WriteString(fragmentHead)
	said := make([]bool, len(fragmentComments))
	for line := range strings.Lines(string(text)) {
		rest := strings.TrimLeft(line, " ")
		for i, c := range fragmentComments {
			if said[i] || !strings.HasPrefix(rest, c.line) {
				continue
			}
			said[i] = true
			for comment := range strings.SplitSeq(c.text, "\n") {
				out.WriteString(line[:len(line)-len(rest)] + "# " + comment + "\n")
			}
		}
		out.WriteString(line)
	}
	return []byte(out.String()), nil
}
