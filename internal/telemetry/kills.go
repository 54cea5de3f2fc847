package telemetry

// Kills lets what a processor enforces be read at each scrape: how many targets are
// killed, the generation of all, and for how many seconds nobody has told it. Call it
// once.
func (m *Metrics) Kills(now func() (killed, generation, unheard float64)) {
	m.gaugeFunc(killsInForce, func() float64 { killed, _, _ := now(); return killed })
	m.gaugeFunc(killsGeneration, func() float64 { _, generation, _ := now(); return generation })
	m.gaugeFunc(killsUnheard, func() float64 { _, _, unheard := now(); return unheard })
}

// KillProofs lets what a control plane has killed be read at each scrape, and how many
// expected proxies and processors have not shown it. Call it once.
func (m *Metrics) KillProofs(now func() (killed, unproven float64)) {
	m.gaugeFunc(killTargets, func() float64 { killed, _ := now(); return killed })
	m.gaugeFunc(killUnproven, func() float64 { _, unproven := now(); return unproven })
}

// Processors lets the number of processors that are told what is killed be read at
// every scrape. Call it once.
func (m *Metrics) Processors(count func() float64) { m.gaugeFunc(xdsProcessors, count) }
