// Package release decides what share of a model's traffic each of its versions
// gets: rollouts by steps, rollbacks by evidence, and the story of both.
//
// It is a pure core. A [State] is all that is known of one model's releases
// and is kept as JSON; [Advance] is what safestate does by itself, [Apply] is
// what a person asks for. Both take the present time and everything that was
// seen as arguments, touch nothing, and return the next state. Whoever calls
// them writes that state by compare-and-swap and makes it true in Envoy.
//
//	files, evidence, checks, proof ─┐
//	             State ─── Advance ─┴─► State, with new Weights and Records
//	             State ─── Apply ─────► State, or why not, for a person
//
// # Words
//
// The stable version is the one that a new one is held against and goes back
// to. The candidate is the one that is being rolled out, or that was promoted
// and is watched. The holdback is the share that stays on the stable version
// after the promotion, as a control. A version is good once it carried the
// traffic and was judged, and condemned once it was rolled back.
//
// # What automation may do
//
// It goes forward only on evidence: a step passes when its time is over, its
// requests were judged, nothing failed, every check succeeds and, at a gate, a
// person promoted. It goes back from any state: at a gate, while a person
// paused (a pause is no decision to keep a bad version), fully promoted. What
// holds it back:
//
//   - A common cause (the stable version fails alike) rolls nothing back.
//   - Plan.RollbacksPerHour bounds all of a model's automatic rollbacks.
//   - Plan.CoolDown protects the version that the last automatic rollback went
//     to: where that one fails as well, the cause is likelier elsewhere. It does
//     not protect a version that a person started since.
//   - A person's decision starts the evidence of the version it favours anew
//     ([State.EvidenceSince]): what was seen before it never undoes it, what is
//     seen after it may.
//   - A forced decision is held for Plan.Hold, whatever is seen.
//
// Where no version is left to go back to, the model degrades: all weights are 0
// and the ladder answers, until a good version's endpoints are ready again or a
// person decides. A version that was once too ill to be gone back to is
// condemned as well: evidence that is lost makes nothing good again.
//
// Kills go ahead of releases: a killed version loses its weight and its rollout at
// once and is no target, with force neither; while the model is killed as a whole
// nothing goes on. What automation kills by itself, by [Plan.Kill], is ordered here
// ([State.Order]) and carried out by the caller: only what no rollback takes out, or
// what a criterion of safety says, within rails of its own, and never past a person's
// later decision.
//
// What a proxy refuses is taken back where it was a step forward, to the last
// weights that every proxy had, and never tried again by itself. What goes
// towards safe is never taken back.
package release
