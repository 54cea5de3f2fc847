package extproc

import (
	"strings"

	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/signals"
	"github.com/safestate/safestate/internal/telemetry"
	"github.com/safestate/safestate/internal/verdict"
)

// evidence takes in what the exchanges cannot see: answers that the model broke
// off behind its headers. Envoy ended those by itself (by the last rung, or once
// a stream was committed by breaking the caller's connection as well), and to
// the exchange the end looked like the caller's. They count against the version
// all the same, or a model that breaks every stream would keep its traffic.
type evidence struct {
	accesslogv3.UnimplementedAccessLogServiceServer
	server *Server
}

// StreamAccessLogs implements the access log service. A proxy's stream lives as
// long as the proxy: it ends with Leave, or the process would wait for it.
func (v *evidence) StreamAccessLogs(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	done := make(chan error, 1)
	go func() { done <- v.read(stream) }()
	select {
	case err := <-done:
		return ended(err)
	case <-v.server.leaving.Done():
		return nil
	}
}

func (v *evidence) read(stream accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	node := "" // the first message of a stream says it
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		if id := m.GetIdentifier().GetNode().GetId(); id != "" {
			node = id
		}
		for _, entry := range m.GetHttpLogs().GetLogEntry() {
			v.take(node, entry)
		}
	}
}

func (v *evidence) take(node string, entry *datav3.HTTPAccessLogEntry) {
	details := entry.GetResponse().GetResponseCodeDetails()
	common := entry.GetCommonProperties()
	r := v.server.routes.named(common.GetRouteName())
	if r == nil || r.policy.Detect.Broken == nil || !strings.HasPrefix(details, policy.DetailsCut) {
		return
	}
	version, known := r.versions[common.GetUpstreamCluster()]
	if !known {
		return // the ladder's own upstream, or a version that is gone
	}
	f := verdict.Finding{Code: verdict.BrokenReset, Detail: details, Enforced: r.policy.Detect.Broken.Mode.Enforces()}
	r.metrics.Detection(version.Model, version.Name, f.Detector(), f.Enforced && r.policy.Mode.Enforces())
	if b := version.breaker; b != nil && f.Enforced {
		if permit, ok := b.Allow(); ok {
			permit.Done(breaker.Failure, 0)
		}
	}
	if f.Enforced {
		caller := signals.PlaceOf(common.GetDownstreamRemoteAddress().GetSocketAddress().GetAddress())
		version.rows.Of(node).Bad(f.Detector(), common.GetTimeToLastUpstreamRxByte().AsDuration(), caller)
	}
	v.server.log.FailedAnswer(telemetry.Failure{
		Route: r.policy.Route, Model: version.Model, Version: version.Name,
		Reason: f.Reason(), Detector: string(f.Detector()), Source: telemetry.SourceCut,
		Status: int(entry.GetResponse().GetResponseCode().GetValue()), RequestID: entry.GetRequest().GetRequestId(),
	})
}
