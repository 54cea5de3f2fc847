package envoy

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
)

// Names that the rendered configuration uses and that others look for: in
// statistics, in logs, in an operator's own bootstrap.
const (
	ListenerName         = "safestate"         // the listener for traffic
	RouteConfigName      = "safestate"         // its routes
	ProcessorClusterName = "safestate_extproc" // where the processor is
	XDSClusterName       = "safestate_xds"     // where ADS is
	AnswersClusterName   = "safestate_answers" // the ladder as an upstream
	// StatPrefix is in the listener's own counters, http.safestate.*. The
	// processor's filter is made inside another and counts without a prefix:
	// http..ext_proc.*, from the first request on.
	StatPrefix = "safestate"

	filterProcessor = "safestate"
	filterDeadline  = "safestate.deadline"
	filterDefault   = "safestate.default"
)

// Default addresses: loopback only.
const (
	DefaultListen    = "127.0.0.1:10000"
	DefaultAdmin     = "127.0.0.1:9901"
	DefaultProcessor = "127.0.0.1:18000"
	DefaultAnswers   = "127.0.0.1:18001"
)

// DefaultSystemCA is where Debian, Ubuntu and Alpine keep the authorities that
// the system trusts.
const DefaultSystemCA = "/etc/ssl/certs/ca-certificates.crt"

// leastMaxMessageTimeout is what the processor may ask for at least with
// override_message_timeout. What it asks for is what remains of a deadline, so
// a route with a longer one allows that.
const leastMaxMessageTimeout = 60 * time.Second

// streamIdle is when Envoy gives up a stream on which nothing moves, unless its
// route says otherwise.
const streamIdle = 5 * time.Minute

// defaultMessageTimeout bounds the wait for one message of the processor. It
// is what a hung processor costs a request.
const defaultMessageTimeout = 200 * time.Millisecond

// Options are what a configuration depends on besides the snapshot. The zero
// value is ready: every field has a default.
type Options struct {
	NodeID      string // of the proxy; default "safestate"
	NodeCluster string // default "safestate"
	Probe       string // where the control plane asks the proxy what it has killed, see ParseProbe; empty: at the port of Listen

	// Listen and Admin are host:port. Defaults: DefaultListen, DefaultAdmin.
	Listen string
	Admin  string
	// Processor is where ext_proc is reached: host:port, or unix:PATH.
	// Default: DefaultProcessor. XDS is where ADS is reached; default: Processor.
	Processor string
	XDS       string
	// Answers is where the ladder is reached as an upstream, by HTTP/2 with prior
	// knowledge or TLS: host:port, or unix:PATH. Default: DefaultAnswers.
	Answers string

	// TLS is how Processor, XDS and Answers are dialled. Default: plain text.
	TLS TLS

	// AccessLog is the file that gets one JSON object a request;
	// "/dev/stdout" works. Empty: no access log.
	AccessLog string

	// SystemCA is the file of authorities, on Envoy's machine, for a model with
	// TLS that names none of its own. Default: DefaultSystemCA.
	SystemCA string

	// Sign makes the signature of a route's policy that stands beside it; nil:
	// policies are not signed, and only a processor that nobody else can dial takes
	// them. It is pure, and safe for concurrent use.
	Sign func(route, namespace, policy string) string

	// RuntimeDir is a symbolic link, on Envoy's machine, to a folder of runtime keys:
	// a kill without the control plane that a restart does not undo. The folder that
	// the link is in has to exist when Envoy starts, the link need not. Empty: none.
	RuntimeDir string

	// WASM is the path of safestate.wasm on Envoy's machine. Routes whose policy has
	// the filter for a host need it. Empty: there is no such filter.
	WASM string

	// MessageTimeout bounds the wait for one message of the processor. 0: 200
	// ms or half the deadline of the route's policy, whichever is less, so that
	// an answer by the last rung is still in time.
	MessageTimeout time.Duration

	// ExtraFilters stand before ours, ExtraClusters beside ours: for an
	// operator's own authorization, rate limits and the like.
	ExtraFilters  []*hcmv3.HttpFilter
	ExtraClusters []*clusterv3.Cluster
}

func (o Options) withDefaults() Options {
	o.NodeID = orElse(o.NodeID, "safestate")
	o.NodeCluster = orElse(o.NodeCluster, "safestate")
	o.Listen = orElse(o.Listen, DefaultListen)
	o.Admin = orElse(o.Admin, DefaultAdmin)
	o.Processor = orElse(o.Processor, DefaultProcessor)
	o.XDS = orElse(o.XDS, o.Processor)
	o.Answers = orElse(o.Answers, DefaultAnswers)
	o.SystemCA = orElse(o.SystemCA, DefaultSystemCA)
	return o
}

func orElse(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// address parses "host:port" or "unix:PATH"; what names the option in errors.
func address(what, text string) (*corev3.Address, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		path = strings.TrimPrefix(path, "//")
		if path == "" {
			return nil, fmt.Errorf("%s: %q names no socket, want unix:PATH", what, text)
		}
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}, nil
	}
	host, portText, err := net.SplitHostPort(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %q is no address, want host:port or unix:PATH", what, text)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || host == "" {
		return nil, fmt.Errorf("%s: %q is no address, want host:port with a port under 65536", what, text)
	}
	return socketAddress(host, uint32(port)), nil
}

func socketAddress(host string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       host,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}
