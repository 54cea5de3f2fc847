package config

import (
	"fmt"

	"github.com/safestate/safestate/internal/api/v1alpha1"
)

// host refuses what the WASM filter cannot carry out. With host Both the
// processor does that part; only calls over gRPC the filter cannot read at all.
func (c *checker) host(p *Object[v1alpha1.FailSafePolicy]) {
	spec := &p.Value.Spec
	if spec.Host != v1alpha1.HostWASM && spec.Host != v1alpha1.HostBoth {
		return
	}
	for i := range spec.TargetRefs {
		if ref := &spec.TargetRefs[i]; ref.Kind == KindGRPCRoute {
			c.fail(fmt.Sprintf("spec.targetRefs[%d].kind", i), "is GRPCRoute, which host: %s does not read; want a policy of its own with host: Processor for it", spec.Host)
		}
	}
	if spec.Host != v1alpha1.HostWASM {
		return
	}
	if k := spec.Detect.Constant; k != nil && k.Mode != v1alpha1.Disabled {
		c.fail("spec.detect.constant", "compares many requests, of which one worker's filter sees a few; want host: Processor or Both for it, or remove it")
	}
	if spec.MaxConcurrent != nil {
		c.fail("spec.maxConcurrent", "counts in the processor, which host: WASM has none of; want limits.maxRequests of the Model, which the proxy counts, or host: Processor or Both")
	}
	if spec.LogPayloads {
		c.fail("spec.logPayloads", "writes to the processor's log, and the filter has none of its own; want host: Processor or Both for it, or remove it")
	}
	if spec.WhenProcessorAway == v1alpha1.AwayPass {
		c.warn("spec.whenProcessorAway", "is Pass, which has no effect with host: WASM: no processor judges there")
	}
	for i := range spec.Ladder {
		c.hostRung(fmt.Sprintf("spec.ladder[%d]", i), &spec.Ladder[i])
	}
}

// hostRung: the filter sends a request on to be answered only once it has failed,
// and reads neither files nor addresses.
func (c *checker) hostRung(field string, r *v1alpha1.Rung) {
	if k := r.Cache; k != nil && k.When == v1alpha1.First {
		c.fail(field+".cache.when", "is First, and the filter asks a cache only once the model failed; want when: OnFailure, or host: Processor or Both")
	}
	if k := r.Cache; k != nil && k.When != v1alpha1.First {
		c.warn(field+".cache", "is filled by processors only: the filter sends no clean answer anywhere; it finds what routes of host: Processor or Both have put there for the same model")
	}
	if d := r.SafeDefault; d != nil && d.Refresh != nil {
		c.fail(field+".safeDefault.refresh", "reads a file or a URL, which the filter cannot; want body or template alone, or host: Processor or Both")
	}
}

// Hosts lists what can judge answers.
func Hosts() []v1alpha1.Host {
	var out []v1alpha1.Host
	for _, name := range v1alpha1.Host("").Values() {
		out = append(out, v1alpha1.Host(name))
	}
	return out
}

// SetHost makes h the host of every policy, whatever the files say, and returns
// what it refuses. It is for a world that nobody else uses yet.
func SetHost(w *World, h v1alpha1.Host) Problems {
	var problems Problems
	for _, p := range w.Policies {
		p.Value.Spec.Host = h
		(&checker{w, p.Source, &problems}).host(p)
	}
	return problems
}
