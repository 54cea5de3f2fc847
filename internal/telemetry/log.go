package telemetry

import (
	"io"
	"time"

	"github.com/rs/zerolog"
)

// LogOptions says how lines look and how many there are.
type LogOptions struct {
	Console bool          // for people; the default is one JSON object a line
	Level   zerolog.Level // the least that is written; the zero value is debug
	// PerSecond is how many lines about failed answers a route may write a
	// second, with a burst of the same size: 0 means 10, less than 0 no limit.
	PerSecond float64
}

// DefaultLinesPerSecond is LogOptions.PerSecond where it is 0.
const DefaultLinesPerSecond = 10

// Log writes the process's lines. The embedded logger is for everything but
// failed answers.
type Log struct {
	zerolog.Logger
	sampler *sampler
	metrics *Metrics
	now     func() time.Time
}

// NewLog makes a log that writes to w, which must take concurrent writes one
// at a time, as os.Stderr does. m counts what sampling leaves out; it may be
// nil.
func NewLog(w io.Writer, o LogOptions, m *Metrics) *Log {
	if o.Console {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: "15:04:05.000"}
	}
	if o.PerSecond == 0 {
		o.PerSecond = DefaultLinesPerSecond
	}
	return &Log{
		Logger:  zerolog.New(w).Level(o.Level).Hook(stamp{}),
		sampler: newSampler(o.PerSecond),
		metrics: m,
		now:     time.Now,
	}
}

// NopLog writes nothing.
func NopLog() *Log {
	return &Log{Logger: zerolog.Nop(), sampler: newSampler(-1), now: time.Now}
}

// stamp adds the time in UTC with milliseconds, without zerolog's global
// settings.
type stamp struct{}

// Run implements zerolog.Hook.
func (stamp) Run(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(zerolog.TimestampFieldName, time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00"))
}

// Failure is what a line about a failed answer says. Empty fields are left out.
type Failure struct {
	Route         string
	Model         string // what was asked, namespace/name
	Version       string
	Reason        string // as in x-safestate-reason
	Detector      string
	Source        string // what answered instead
	AnswerModel   string // its model and version, of a cache or fallback
	AnswerVersion string
	Status        int    // of the answer that failed; 0: there was none
	Node          string // the Envoy
	RequestID     string
	Took          time.Duration // from the request's headers to the answer
	// Request and Response are bodies; set them only where the policy asks
	// for payloads. At most MaxLoggedPayload bytes of each are written.
	Request  []byte
	Response []byte
}

// MaxLoggedPayload bounds a payload in a line, in bytes.
const MaxLoggedPayload = 4 << 10

// FailedAnswer writes one line, unless its route has used up its rate; the
// route's next line then says how many were left out.
func (l *Log) FailedAnswer(f Failure) {
	dropped, ok := l.sampler.allow(f.Route, l.now())
	if !ok {
		if l.metrics != nil {
			l.metrics.linesDropped.Inc()
		}
		return
	}
	e := l.Warn()
	if e == nil {
		return
	}
	text := func(key, value string) {
		if value != "" {
			e.Str(key, value)
		}
	}
	text("route", f.Route)
	text("model", f.Model)
	text("version", f.Version)
	text("reason", f.Reason)
	text("detector", f.Detector)
	text("source", f.Source)
	text("answer_model", f.AnswerModel)
	text("answer_version", f.AnswerVersion)
	if f.Status != 0 {
		e.Int("status", f.Status)
	}
	text("node", f.Node)
	text("request_id", f.RequestID)
	e.Float64("took_ms", float64(f.Took.Microseconds())/1e3)
	payload(e, "request", f.Request)
	payload(e, "response", f.Response)
	if dropped > 0 {
		e.Uint64("dropped", dropped)
	}
	e.Msg("answer failed")
}

// BadPolicy says that a route's policy could not be used: at the rate of one
// route's failed answers, because every request may bring it again.
func (l *Log) BadPolicy(err error) {
	dropped, ok := l.sampler.allow("", l.now())
	if !ok {
		if l.metrics != nil {
			l.metrics.linesDropped.Inc()
		}
		return
	}
	e := l.Error().Err(err)
	if dropped > 0 {
		e.Uint64("dropped", dropped)
	}
	e.Msg("a route's policy cannot be used: its requests are as if no processor were there")
}

// Flush writes one line for each route that has left-out lines to report; call
// it at shutdown.
func (l *Log) Flush() {
	for route, n := range l.sampler.drain() {
		l.Warn().Str("route", route).Uint64("dropped", n).Msg("answers failed")
	}
}

func payload(e *zerolog.Event, key string, body []byte) {
	if len(body) == 0 {
		return
	}
	if len(body) > MaxLoggedPayload {
		e.Int(key+"_bytes", len(body))
		body = body[:MaxLoggedPayload]
	}
	e.Bytes(key, body)
}
