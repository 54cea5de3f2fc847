package sequential

// FailureRate is the share of bad answers, 0 to 1, since the strongest run of
// evidence began; 0 where there is none.
func (m *Monitor) FailureRate() float64 {
	best := -1
	for i := range m.Runs {
		if h := m.Runs[i].Height[all]; h > 0 && (best < 0 || h > m.Runs[best].Height[all]) {
			best = i
		}
	}
	if best < 0 {
		return 0
	}
	return m.Runs[best].Own.rate()
}
