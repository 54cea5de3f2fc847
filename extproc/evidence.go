package extproc

import (
	"cmp"
	"strings"
	"time"

	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/safestate/safestate/internal/breaker"
	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/signals"
	"github.com/safestate/safestate/internal/telemetry"
	"github.com/safestate/safestate/internal/verdict"
)

// evidence takes in what the exchanges cannot see: how answers ended that Envoy
// ended by itself. Those that the model broke off behind their headers (Envoy
// answered by the last rung, or once a stream was committed broke the caller's
// connection as well) count against the version, or a model that breaks every
// stream would keep its traffic. Streams that were clean up to their end mark count
// as clean where Envoy had passed that on, however they ended then. To the exchange
// both look like a caller who leaves.
//
// What an exchange has counted counts no more: it tells Envoy with its verdict, and
// the log comes without, or says so. The exchange may have been another process's;
// only where it was, and Envoy logged before it had the verdict of a failure, does
// that count twice.
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
	node, by := "", v.server.peerOf(stream.Context()) // the first message of a stream says the node
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		if id := m.GetIdentifier().GetNode().GetId(); id != "" {
			node = id
		}
		if len(m.GetHttpLogs().GetLogEntry()) > 0 && !v.server.speaksFor(by, node) {
			continue
		}
		for _, entry := range m.GetHttpLogs().GetLogEntry() {
			v.take(node, entry)
		}
	}
}

func (v *evidence) take(node string, entry *datav3.HTTPAccessLogEntry) {
	common := entry.GetCommonProperties()
	r := v.server.routes.named(common.GetRouteName())
	if r == nil || !r.policy.Host.Processor() {
		return // a filter inside Envoy counts by itself how its answers ended
	}
	version, known := r.versions[common.GetUpstreamCluster()]
	if !known {
		return // the ladder's own upstream, or a version that is gone
	}
	switch saidOf(common)[policy.MetadataVerdict].GetStringValue() {
	case "", policy.VerdictSeen:
		v.cut(r, version, node, entry)
	case policy.VerdictClean:
		v.clean(version, node, entry, (*signals.Row).Clean)
	case policy.VerdictObserved:
		v.clean(version, node, entry, (*signals.Row).Observed)
	}
}

// clean counts a stream whose end the exchange has not seen, and the model has not
// come to: else the exchange has counted it.
func (v *evidence) clean(version *version, node string, entry *datav3.HTTPAccessLogEntry, count func(*signals.Row, time.Duration, signals.Place)) {
	common := entry.GetCommonProperties()
	if common.GetTimeToLastUpstreamRxByte() != nil && !isCut(entry) {
		return
	}
	if b := version.breaker; b != nil {
		if permit, ok := b.Allow(); ok {
			permit.Done(breaker.Success, 0)
		}
	}
	took := time.Duration(saidOf(common)[policy.MetadataTook].GetNumberValue() * float64(time.Millisecond))
	count(version.rows.Of(node), took, callerOf(common))
}

// saidOf is what the exchange told Envoy.
func saidOf(common *datav3.AccessLogCommon) map[string]*structpb.Value {
	return common.GetMetadata().GetFilterMetadata()[policy.MetadataNamespace].GetFields()
}

func isCut(entry *datav3.HTTPAccessLogEntry) bool {
	return strings.HasPrefix(entry.GetResponse().GetResponseCodeDetails(), policy.DetailsCut)
}

func callerOf(common *datav3.AccessLogCommon) signals.Place {
	return signals.PlaceOf(common.GetDownstreamRemoteAddress().GetSocketAddress().GetAddress())
}

// cut counts an answer to an inference that the model broke off.
func (v *evidence) cut(r *route, version *version, node string, entry *datav3.HTTPAccessLogEntry) {
	common, request := entry.GetCommonProperties(), entry.GetRequest()
	path := cmp.Or(request.GetOriginalPath(), request.GetPath()) // as the exchange saw it
	if r.policy.Detect.Broken == nil || !isCut(entry) ||
		!r.detector.Inference(request.GetRequestMethod().String(), path) || !v.server.lately.claim(request.GetRequestId(), time.Now()) {
		return
	}
	f := verdict.Finding{Code: verdict.BrokenReset, Detail: entry.GetResponse().GetResponseCodeDetails(), Enforced: r.policy.Detect.Broken.Mode.Enforces()}
	r.metrics.Detection(version.Model, version.Name, f.Detector(), f.Enforced && r.policy.Mode.Enforces())
	if b := version.breaker; b != nil && f.Enforced {
		if permit, ok := b.Allow(); ok {
			permit.Done(breaker.Failure, 0)
		}
	}
	if f.Enforced {
		version.rows.Of(node).Bad(f.Detector(), common.GetTimeToLastUpstreamRxByte().AsDuration(), callerOf(common))
	}
	v.server.log.FailedAnswer(telemetry.Failure{
		Route: r.policy.Route, Model: version.Model, Version: version.Name,
		Reason: f.Reason(), Detector: string(f.Detector()), Source: telemetry.SourceCut,
		Status: int(entry.GetResponse().GetResponseCode().GetValue()), RequestID: request.GetRequestId(),
	})
}
