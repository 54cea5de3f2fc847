package telemetry

import "time"

// Refusal says why a policy that a request brought is not used. The set is
// closed.
type Refusal int

// The refusals.
const (
	RefusedUnsigned   Refusal = iota // it has no signature, and others can dial this processor
	RefusedMalformed                 // its signature is none
	RefusedUnknownKey                // it is signed by a key that is not known here, or not any more
	RefusedOtherRoute                // it is signed for another route: somebody copied it
	RefusedWrong                     // it is not what was signed
	RefusedNoKeys                    // no key is known here yet
	RefusedFiles                     // it names files of the processor that are not its namespace's
	RefusalCount
)

var refusalNames = [RefusalCount]string{"unsigned", "malformed", "unknown_key", "other_route", "wrong_signature", "no_keys", "files"}

// String returns the label value.
func (r Refusal) String() string {
	if r < 0 || r >= RefusalCount {
		return other
	}
	return refusalNames[r]
}

// PolicyRefused counts a request whose policy was refused.
func (m *Metrics) PolicyRefused(r Refusal) {
	if r >= 0 && r < RefusalCount {
		m.refusals[r].Inc()
	}
}

// ReportRefused counts what counts for nothing: it names a proxy that whoever sent it is
// not.
func (m *Metrics) ReportRefused() { m.unheard.Inc() }

// Audit lets what is not well with the audit trail be counted at each scrape. Call it
// once.
func (m *Metrics) Audit(troubles func() float64) { m.gaugeFunc(auditTroubles, troubles) }

// PolicyKeys lets the age of the key that signs policies be read at each scrape,
// and for how long a rotation is under way. Call it once.
func (m *Metrics) PolicyKeys(ages func() (key, rotation time.Duration)) {
	m.gaugeFunc(policyKeyAge, func() float64 {
		key, _ := ages()
		return key.Seconds()
	})
	m.gaugeFunc(policyKeyRotation, func() float64 {
		_, rotation := ages()
		return rotation.Seconds()
	})
}
