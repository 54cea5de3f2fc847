package policy

import (
	"strconv"

	"github.com/safestate/safestate/internal/scan"
)

// Every struct reads its fields, in the order in which it has them. A test fills
// all of them: one that is forgotten here fails it.

func (p *Policy) read(o *object) {
	o.count("format", &p.Format)
	word(o, "name", &p.Name)
	word(o, "route", &p.Route)
	word(o, "host", &p.Host)
	word(o, "mode", &p.Mode)
	o.float("enforcePercent", &p.EnforcePercent)
	word(o, "protocol", &p.Protocol)
	word(o, "model", &p.Model)
	word(o, "servedName", &p.ServedName)
	word(o, "stable", &p.Stable)
	if v, ok := o.object("versions"); ok {
		p.readVersions(v)
	}
	o.duration("deadline", &p.Deadline)
	o.duration("reserve", &p.Reserve)
	if v, ok := o.object("stream"); ok {
		p.Stream = new(Stream)
		p.Stream.read(v)
	}
	if v, ok := o.object("limits"); ok {
		p.Limits.read(v)
	}
	if v, ok := o.object("detect"); ok {
		p.Detect.read(v)
	}
	if list, ok := o.objects("ladder"); ok {
		p.Ladder = make([]Rung, len(list))
		for i := range list {
			p.Ladder[i].read(list[i])
		}
	}
	if v, ok := o.object("breaker"); ok {
		p.Breaker = new(Breaker)
		p.Breaker.read(v)
	}
	o.count("maxConcurrent", &p.MaxConcurrent)
	if v, ok := o.object("budget"); ok {
		p.Budget = new(Budget)
		p.Budget.read(v)
	}
	word(o, "whenProcessorAway", &p.WhenProcessorAway)
	word(o, "grpcLastRung", &p.GRPCLastRung)
	if v, ok := o.object("needs"); ok {
		p.Needs.read(v)
	}
	o.flag("logPayloads", &p.LogPayloads)
}

func (p *Policy) readVersions(o *object) {
	p.Versions = make(map[string]Version, o.n.Len())
	for it := o.n.Children(); it.Next(); {
		cluster := string(it.Key())
		in := &object{n: it.Value(), outer: o, name: strconv.Quote(cluster), index: -1, err: o.err}
		var v Version
		if _, twice := p.Versions[cluster]; twice {
			in.fail("it is there more than once")
		}
		if scan.Present(in.n) && in.is(scan.Object, "an object") {
			v.read(in)
		}
		p.Versions[cluster] = v
	}
}

func (x *Version) read(o *object) {
	word(o, "model", &x.Model)
	word(o, "name", &x.Name)
	word(o, "reportedVersion", &x.ReportedVersion)
}

func (x *Limits) read(o *object) {
	o.integer("bodyBytes", &x.BodyBytes)
	word(o, "responseOver", &x.ResponseOver)
	word(o, "requestOver", &x.RequestOver)
}

func (x *Needs) read(o *object) {
	o.flag("requestBody", &x.RequestBody)
	o.flag("duplex", &x.Duplex)
}

func (x *Detect) read(o *object) {
	if v, ok := o.object("nonFinite"); ok {
		x.NonFinite = new(NonFinite)
		x.NonFinite.read(v)
	}
	if v, ok := o.object("broken"); ok {
		x.Broken = new(Broken)
		x.Broken.read(v)
	}
	if v, ok := o.object("late"); ok {
		x.Late = new(Late)
		x.Late.read(v)
	}
	if list, ok := o.objects("confidence"); ok {
		x.Confidence = make([]Confidence, len(list))
		for i := range list {
			x.Confidence[i].read(list[i])
		}
	}
	if v, ok := o.object("contract"); ok {
		x.Contract = new(Contract)
		x.Contract.read(v)
	}
	if v, ok := o.object("constant"); ok {
		x.Constant = new(Constant)
		x.Constant.read(v)
	}
	if v, ok := o.object("chat"); ok {
		x.Chat = new(Chat)
		x.Chat.read(v)
	}
	if list, ok := o.objects("cel"); ok {
		x.CEL = make([]Expression, len(list))
		for i := range list {
			x.CEL[i].read(list[i])
		}
	}
	if list, ok := o.objects("dependencies"); ok {
		x.Dependencies = make([]Dependency, len(list))
		for i := range list {
			x.Dependencies[i].read(list[i])
		}
	}
	if list, ok := o.objects("request"); ok {
		x.Request = make([]RequestCheck, len(list))
		for i := range list {
			x.Request[i].read(list[i])
		}
	}
}

func (x *NonFinite) read(o *object) {
	word(o, "mode", &x.Mode)
	o.words("paths", &x.Paths)
}

func (x *Broken) read(o *object) {
	word(o, "mode", &x.Mode)
	o.counts("statuses", &x.Statuses)
}

func (x *Late) read(o *object) {
	word(o, "mode", &x.Mode)
}

func (x *Confidence) read(o *object) {
	word(o, "mode", &x.Mode)
	word(o, "value", &x.Value)
	word(o, "aggregate", &x.Aggregate)
	o.float("min", &x.Min)
}

func (x *Contract) read(o *object) {
	word(o, "mode", &x.Mode)
	if list, ok := o.objects("outputs"); ok {
		x.Outputs = make([]Output, len(list))
		for i := range list {
			x.Outputs[i].read(list[i])
		}
	}
	o.flag("unknownOutputs", &x.UnknownOutputs)
	o.flag("idEcho", &x.IDEcho)
	o.flag("modelName", &x.ModelName)
	o.flag("modelVersion", &x.ModelVersion)
}

func (x *Output) read(o *object) {
	word(o, "name", &x.Name)
	word(o, "datatype", &x.Datatype)
	o.integers("shape", &x.Shape)
	o.bound("min", &x.Min)
	o.bound("max", &x.Max)
	o.words("labels", &x.Labels)
	o.flag("optional", &x.Optional)
}

func (x *Constant) read(o *object) {
	word(o, "mode", &x.Mode)
	o.duration("window", &x.Window)
	o.count("minRequests", &x.MinRequests)
	o.count("minInputs", &x.MinInputs)
}

func (x *Expression) read(o *object) {
	word(o, "mode", &x.Mode)
	word(o, "name", &x.Name)
	o.program("program", &x.Program)
}

func (x *Dependency) read(o *object) {
	word(o, "mode", &x.Mode)
	word(o, "name", &x.Name)
	o.program("program", &x.Program)
	if v, ok := o.object("breaker"); ok {
		x.Breaker.read(v)
	}
}

func (x *RequestCheck) read(o *object) {
	word(o, "mode", &x.Mode)
	word(o, "field", &x.Field)
	o.flag("required", &x.Required)
	word(o, "type", &x.Type)
	o.flag("nullable", &x.Nullable)
	o.bound("min", &x.Min)
	o.bound("max", &x.Max)
	o.words("values", &x.Values)
	word(o, "onFail", &x.OnFail)
}

func (x *Rung) read(o *object) {
	if v, ok := o.object("cache"); ok {
		x.Cache = new(Cache)
		x.Cache.read(v)
	}
	if v, ok := o.object("fallback"); ok {
		x.Fallback = new(Fallback)
		x.Fallback.read(v)
	}
	if v, ok := o.object("rules"); ok {
		x.Rules = new(Rules)
		x.Rules.read(v)
	}
	if v, ok := o.object("safeDefault"); ok {
		x.SafeDefault = new(SafeDefault)
		x.SafeDefault.read(v)
	}
}

func (x *Cache) read(o *object) {
	o.duration("ttl", &x.TTL)
	o.duration("staleWhileRevalidate", &x.StaleWhileRevalidate)
	o.words("tenantHeaders", &x.TenantHeaders)
	word(o, "when", &x.When)
	if v, ok := o.object("origin"); ok {
		x.Origin = new(Fallback)
		x.Origin.read(v)
	}
}

func (x *Fallback) read(o *object) {
	word(o, "model", &x.Model)
	word(o, "version", &x.Version)
	word(o, "servedName", &x.ServedName)
	word(o, "protocol", &x.Protocol)
	if list, ok := o.objects("endpoints"); ok {
		x.Endpoints = make([]Endpoint, len(list))
		for i := range list {
			x.Endpoints[i].read(list[i])
		}
	}
	word(o, "path", &x.Path)
	o.duration("deadline", &x.Deadline)
	o.integer("maxBytes", &x.MaxBytes)
	o.count("maxConcurrent", &x.MaxConcurrent)
	if v, ok := o.object("breaker"); ok {
		x.Breaker = new(Breaker)
		x.Breaker.read(v)
	}
	if v, ok := o.object("tls"); ok {
		x.TLS = new(TLS)
		x.TLS.read(v)
	}
	word(o, "credentials", &x.Credentials)
	if v, ok := o.object("probe"); ok {
		x.Probe = new(Probe)
		x.Probe.read(v)
	}
}

func (x *Endpoint) read(o *object) {
	word(o, "address", &x.Address)
	o.count("port", &x.Port)
}

func (x *TLS) read(o *object) {
	word(o, "serverName", &x.ServerName)
	word(o, "caFile", &x.CAFile)
	word(o, "certFile", &x.CertFile)
	word(o, "keyFile", &x.KeyFile)
}

func (x *Probe) read(o *object) {
	word(o, "path", &x.Path)
	o.duration("interval", &x.Interval)
}

func (x *Rules) read(o *object) {
	if list, ok := o.objects("score"); ok {
		x.Score = make([]ScoreRule, len(list))
		for i := range list {
			x.Score[i].read(list[i])
		}
	}
	o.float("maxScore", &x.MaxScore)
	o.float("confidence", &x.Confidence)
	word(o, "template", &x.Template)
	o.count("status", &x.Status)
}

func (x *ScoreRule) read(o *object) {
	o.program("when", &x.When)
	o.float("add", &x.Add)
	word(o, "reason", &x.Reason)
}

func (x *SafeDefault) read(o *object) {
	o.count("status", &x.Status)
	word(o, "contentType", &x.ContentType)
	word(o, "body", &x.Body)
	word(o, "template", &x.Template)
	if v, ok := o.object("refresh"); ok {
		x.Refresh = new(Refresh)
		x.Refresh.read(v)
	}
}

func (x *Refresh) read(o *object) {
	word(o, "file", &x.File)
	word(o, "url", &x.URL)
	o.duration("interval", &x.Interval)
}

func (x *Breaker) read(o *object) {
	word(o, "hold", &x.Hold)
	o.count("failures", &x.Failures)
	o.duration("recovery", &x.Recovery)
	o.count("halfOpenRequests", &x.HalfOpenRequests)
	o.duration("ramp", &x.Ramp)
	o.count("windowRequests", &x.WindowRequests)
	o.duration("window", &x.Window)
	o.count("minRequests", &x.MinRequests)
	o.float("failurePercent", &x.FailurePercent)
	o.duration("slowCall", &x.SlowCall)
	o.float("slowCallPercent", &x.SlowCallPercent)
}

func (x *Budget) read(o *object) {
	o.float("fallbackPercent", &x.FallbackPercent)
	o.duration("window", &x.Window)
	o.count("minRequests", &x.MinRequests)
	o.flag("refuse", &x.Refuse)
}

func (x *Stream) read(o *object) {
	o.duration("firstToken", &x.FirstToken)
	o.duration("betweenTokens", &x.BetweenTokens)
	o.duration("maxDuration", &x.MaxDuration)
	o.integer("holdBytes", &x.HoldBytes)
}

func (x *Chat) read(o *object) {
	word(o, "refusal", &x.Refusal)
	word(o, "contentFilter", &x.ContentFilter)
	word(o, "choices", &x.Choices)
	word(o, "format", &x.Format)
}
