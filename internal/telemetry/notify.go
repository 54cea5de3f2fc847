package telemetry

// Receivers opens the series of the receivers of notifications, so that a failure
// is seen from 0 on. Both sets are closed.
func (m *Metrics) Receivers(receivers, outcomes []string) {
	for _, receiver := range receivers {
		for _, outcome := range outcomes {
			m.notified.WithLabelValues(receiver, outcome)
		}
	}
}

// Notified counts what became of a notification: receiver and outcome are of
// Receivers.
func (m *Metrics) Notified(receiver, outcome string) {
	m.notified.WithLabelValues(receiver, outcome).Inc()
}
