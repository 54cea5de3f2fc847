package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Kind is Prometheus's type of a metric.
type Kind string

// The kinds.
const (
	Counter   Kind = "counter"
	Gauge     Kind = "gauge"
	Histogram Kind = "histogram"
)

// Metric describes one metric; docs/metrics.md is made from these.
type Metric struct {
	Name    string
	Kind    Kind
	Labels  []string
	Help    string
	Buckets []float64 // of a histogram, in seconds
}

// Buckets, in seconds. Answers live around model deadlines, tens to hundreds
// of milliseconds; the processor's own work lives around tens of microseconds;
// a rung is either of both.
var (
	answerBuckets    = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	processorBuckets = []float64{10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, .001, .0025, .005, .01, .025, .1}
	rungBuckets      = []float64{10e-6, 50e-6, 100e-6, 500e-6, .001, .0025, .005, .01, .025, .05, .1, .25, 1}
)

// The metrics.
var (
	predictionServed = Metric{
		Name: "safestate_prediction_served_total", Kind: Counter,
		Labels: []string{"route", "model", "model_version", "source"},
		Help:   "Inspected answers that went to callers. model and model_version are what answered, empty for rules, safe_default and refused; source cut is a stream that failed after its first content and was ended with an error event.",
	}
	detections = Metric{
		Name: "safestate_detections_total", Kind: Counter,
		Labels: []string{"route", "model", "model_version", "detector", "mode"},
		Help:   "Findings of detectors, in the answers of model and model_version or in requests for it. mode is enforce where the finding changed the answer, observe where it was only counted.",
	}
	uninspected = Metric{
		Name: "safestate_uninspected_total", Kind: Counter,
		Labels: []string{"route", "cause"},
		Help:   "Requests that went through the processor without a judged answer, by cause. What passed while no processor was there is in Envoy's own counters.",
	}
	rejected = Metric{
		Name: "safestate_requests_rejected_total", Kind: Counter,
		Labels: []string{"route"},
		Help:   "Requests answered 400 because a request check of the policy rejects them.",
	}
	cacheFirst = Metric{
		Name: "safestate_cache_first_total", Kind: Counter,
		Labels: []string{"route"},
		Help:   "Answers of a cache that is asked before the model: they are in safestate_prediction_served_total with source cache, and are no failure.",
	}
	tokens = Metric{
		Name: "safestate_tokens_total", Kind: Counter,
		Labels: []string{"route", "model", "model_version", "kind", "outcome"},
		Help:   "Tokens that models say their answers took, on OpenAI routes. kind is prompt or completion; outcome is served, or wasted where the answer failed: what the failed attempt cost is kept apart from what answered.",
	}
	answerSeconds = Metric{
		Name: "safestate_answer_seconds", Kind: Histogram,
		Labels:  []string{"route", "source"},
		Help:    "Time from the request's headers to the answer, or to the first content of a streamed one, the model's time included.",
		Buckets: answerBuckets,
	}
	processorSeconds = Metric{
		Name: "safestate_processor_seconds", Kind: Histogram,
		Help:    "Time that safestate itself took for one answer: all its messages together, without waiting for the model or a networked rung.",
		Buckets: processorBuckets,
	}
	rungSeconds = Metric{
		Name: "safestate_rung_seconds", Kind: Histogram,
		Labels:  []string{"rung", "outcome"},
		Help:    "Time that one rung of a ladder took. outcome is answered, missed (nothing for this request), failed, or skipped (breaker open, bulkhead full, no time left).",
		Buckets: rungBuckets,
	}
	extprocMessages = Metric{
		Name: "safestate_extproc_messages_total", Kind: Counter,
		Labels: []string{"phase"},
		Help:   "Messages that Envoy sent to the processor, by phase. A route asks only for the phases that its policy needs.",
	}
	extprocStreams = Metric{
		Name: "safestate_extproc_streams", Kind: Gauge,
		Help: "Requests that Envoy has open at the processor.",
	}
	bodiesBytes = Metric{
		Name: "safestate_bodies_bytes", Kind: Gauge,
		Help: "Bytes of bodies that the processor holds, counted against its budget.",
	}
	breakerState = Metric{
		Name: "safestate_breaker_state", Kind: Gauge,
		Labels: []string{"name", "kind"},
		Help:   "State of a breaker: 0 closed, 1 ramping up, 2 half open, 3 open; by hand 4 held closed, 5 observing, 6 held open. kind is version, rung or dependency.",
	}
	breakerTransitions = Metric{
		Name: "safestate_breaker_transitions_total", Kind: Counter,
		Labels: []string{"name", "kind", "to"},
		Help:   "Changes of a breaker's state, by the new state.",
	}
	bulkheadInFlight = Metric{
		Name: "safestate_bulkhead_in_flight", Kind: Gauge,
		Labels: []string{"name"},
		Help:   "Requests inside a model's concurrency limit.",
	}
	bulkheadRejected = Metric{
		Name: "safestate_bulkhead_rejected_total", Kind: Counter,
		Labels: []string{"name"},
		Help:   "Requests that a model's concurrency limit sent to the ladder.",
	}
	budgetExhausted = Metric{
		Name: "safestate_budget_exhausted_total", Kind: Counter,
		Labels: []string{"route", "over"},
		Help:   "Failed answers past the route's fallback budget: over is refuse (503) or answer (the ladder answered all the same).",
	}
	cacheLookups = Metric{
		Name: "safestate_cache_lookups_total", Kind: Counter,
		Labels: []string{"store", "outcome"},
		Help:   "Lookups of the cache rung. store is memory or redis; outcome is hit, stale, miss, error, or skipped (its breaker is open).",
	}
	cacheWrites = Metric{
		Name: "safestate_cache_writes_total", Kind: Counter,
		Labels: []string{"store", "outcome"},
		Help:   "Clean answers offered to the cache. outcome is ok, error, skipped (its breaker is open), or dropped (too large, or the queue is full).",
	}
	cacheBytes = Metric{
		Name: "safestate_cache_bytes", Kind: Gauge,
		Help: "Bytes held by the in-process cache.",
	}
	cacheEntries = Metric{
		Name: "safestate_cache_entries", Kind: Gauge,
		Help: "Entries held by the in-process cache.",
	}
	refreshes = Metric{
		Name: "safestate_default_refreshes_total", Kind: Counter,
		Labels: []string{"outcome"},
		Help:   "Out-of-band refreshes of safe defaults; on an error the last good body stays.",
	}
	configReloads = Metric{
		Name: "safestate_config_reloads_total", Kind: Counter,
		Labels: []string{"outcome"},
		Help:   "Loads of the configuration folder; on an error the last good state stays.",
	}
	configLastSuccess = Metric{
		Name: "safestate_config_last_success_timestamp_seconds", Kind: Gauge,
		Help: "Unix time of the last load that was applied; 0 before the first.",
	}
	configErrors = Metric{
		Name: "safestate_config_errors", Kind: Gauge,
		Help: "Mistakes in the configuration folder as it is now; 0 when what is on disk is what runs.",
	}
	xdsResponses = Metric{
		Name: "safestate_xds_responses_total", Kind: Counter,
		Labels: []string{"type", "outcome"},
		Help:   "What Envoys said to configuration they were given: ack or nack, by the kind of resource (listener, route, cluster, endpoint, other).",
	}
	xdsProxies = Metric{
		Name: "safestate_xds_proxies", Kind: Gauge,
		Help: "Envoys that are subscribed to configuration.",
	}
	xdsProcessors = Metric{
		Name: "safestate_xds_processors", Kind: Gauge,
		Help: "Processors that run apart and are told what is killed.",
	}
	killTargets = Metric{
		Name: "safestate_kill_targets", Kind: Gauge,
		Help: "Targets (a version, a model, a rule, everything) that are killed as far as this control plane knows.",
	}
	killUnproven = Metric{
		Name: "safestate_kill_unproven", Kind: Gauge,
		Help: "Expected proxies and processors that have not shown the newest kill or revive.",
	}
	killsInForce = Metric{
		Name: "safestate_kills_in_force", Kind: Gauge,
		Help: "Targets (a version, a model, a rule, everything) that are killed as far as this processor was told.",
	}
	killsGeneration = Metric{
		Name: "safestate_kills_generation", Kind: Gauge,
		Help: "Kills and revives that this processor was told of so far: one that is behind the others enforces less.",
	}
	killsUnheard = Metric{
		Name: "safestate_kills_unheard_seconds", Kind: Gauge,
		Help: "For how long no control plane has told this processor what is killed; 0 while one does. What was told last stays in force.",
	}
	xdsDenied = Metric{
		Name: "safestate_xds_denied_total", Kind: Counter,
		Help: "Proxies that were turned away: their node id is no name in their certificate.",
	}
	policiesRefused = Metric{
		Name: "safestate_policies_refused_total", Kind: Counter,
		Labels: []string{"cause"},
		Help:   "Requests whose policy was refused, by cause: unsigned, malformed, unknown_key, other_route, wrong_signature, no_keys, files (it names files that are not its namespace's). Envoy then does what the route says for a processor that is away.",
	}
	reportsRefused = Metric{
		Name: "safestate_reports_refused_total", Kind: Counter,
		Help: "Requests, access logs and reports of filters that count for nothing, because they name a proxy of another namespace than the certificate of whoever sent them.",
	}
	policyKeyAge = Metric{
		Name: "safestate_policy_key_age_seconds", Kind: Gauge,
		Help: "For how long the key that signs policies has signed.",
	}
	policyKeyRotation = Metric{
		Name: "safestate_policy_key_rotation_seconds", Kind: Gauge,
		Help: "For how long a rotation of the keys that sign policies is under way; 0: none is. safestate keys list says what it waits for.",
	}
	auditTroubles = Metric{
		Name: "safestate_audit_troubles", Kind: Gauge,
		Help: "What is not well with the audit trail: its disk, its chain, each anchor that does not keep its heads, the store's copy; 0: nothing. safestate status says what.",
	}
	notifications = Metric{
		Name: "safestate_notifications_total", Kind: Counter,
		Labels: []string{"receiver", "outcome"},
		Help:   "What became of notifications: messages that were delivered, tries that failed and are made again (retried), and events that are lost: overflowed (too much waited), refused (the receiver will never take it), gave-up (tried for too long).",
	}
	releaseWeight = Metric{
		Name: "safestate_release_weight_percent", Kind: Gauge,
		Labels: []string{"model", "model_version"},
		Help:   "A version's share of its model's traffic, as releases have decided; without any, as the files say.",
	}
	releaseGeneration = Metric{
		Name: "safestate_release_generation", Kind: Gauge,
		Labels: []string{"model"},
		Help:   "Changes of a model's weights so far.",
	}
	releaseDegraded = Metric{
		Name: "safestate_release_degraded", Kind: Gauge,
		Labels: []string{"model"},
		Help:   "1 while no version of a model gets traffic, because none is good: the ladder answers.",
	}
	releaseStuck = Metric{
		Name: "safestate_release_stuck", Kind: Gauge,
		Labels: []string{"model", "why"},
		Help:   "1 while a model waits for a person, absent otherwise: bound (a version fails, and a limit keeps safestate from rolling it back), common-cause (a version and its control fail alike), not-helped (a rollback did not), refused (a proxy refuses the weights), paused (safestate paused a rollout).",
	}
	releaseUnproven = Metric{
		Name: "safestate_release_unproven_proxies", Kind: Gauge,
		Labels: []string{"model"},
		Help:   "Proxies that are expected to have a model's weights and have not accepted them: silent, late, or refusing.",
	}
	releaseRecords = Metric{
		Name: "safestate_release_records_total", Kind: Counter,
		Labels: []string{"model", "kind"},
		Help:   "What happened to a model's releases, by the kind of record: rollback, promoted, common-cause and so on. Counted by the replica that decided it.",
	}
	releaseLeading = Metric{
		Name: "safestate_release_leading", Kind: Gauge,
		Help: "1 at the replica that decides releases.",
	}
	logDropped = Metric{
		Name: "safestate_log_lines_dropped_total", Kind: Counter,
		Help: "Lines about failed answers that sampling left out.",
	}
	traceExportFailures = Metric{
		Name: "safestate_trace_export_failures_total", Kind: Counter,
		Help: "Batches of spans that the collector did not take.",
	}
	buildInfo = Metric{
		Name: "safestate_build_info", Kind: Gauge,
		Labels: []string{"version", "go_version"},
		Help:   "Always 1; the labels say what runs.",
	}
)

// Table lists every metric of safestate's own, in documentation order. The
// registry also holds Go's and the process's standard ones (go_*, process_*).
var Table = []Metric{
	predictionServed, detections, uninspected, rejected, cacheFirst, tokens, budgetExhausted,
	answerSeconds, processorSeconds, rungSeconds,
	extprocMessages, extprocStreams, bodiesBytes,
	breakerState, breakerTransitions, bulkheadInFlight, bulkheadRejected,
	cacheLookups, cacheWrites, cacheBytes, cacheEntries, refreshes,
	configReloads, configLastSuccess, configErrors, policiesRefused, reportsRefused, policyKeyAge, policyKeyRotation, xdsResponses, xdsProxies, xdsProcessors, xdsDenied, killTargets, killUnproven, killsInForce, killsGeneration, killsUnheard, auditTroubles, notifications,
	releaseWeight, releaseGeneration, releaseDegraded, releaseStuck, releaseUnproven, releaseRecords, releaseLeading,
	logDropped, traceExportFailures, buildInfo,
}

func counterVec(r *prometheus.Registry, m Metric) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.Name, Help: m.Help}, m.Labels)
	r.MustRegister(v)
	return v
}

func gaugeVec(r *prometheus.Registry, m Metric) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: m.Name, Help: m.Help}, m.Labels)
	r.MustRegister(v)
	return v
}

func histogramVec(r *prometheus.Registry, m Metric) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: m.Name, Help: m.Help, Buckets: m.Buckets}, m.Labels)
	r.MustRegister(v)
	return v
}
