// Package sequential says, of the counts of one model version, whether it fails:
// a test that may be looked at after every answer, for weeks, without being
// wrong more often for it. It is pure: time is an argument, and there is no I/O.
//
// # The question
//
// Answers are bad or not. What is normal is a rate p0: a floor of 0.1 %, raised
// by what the version's control (the stable version, or the holdback) and the
// version's own past show. Is the version's rate over p0?
//
// # The evidence
//
// For each of ten alternatives q, log-spaced from 2 p0 to 99 %, the likelihood
// ratio of q against p0 is an e-process (Ramdas, Grünwald, Vovk, Shafer,
// "Game-theoretic statistics and safe anytime-valid inference", Statistical
// Science 2023): by Ville's inequality it ever passes 1/α with probability at
// most α while the rate is at most p0. Their mean is one too; it pays for not
// knowing q with ln 10 at most, and less as neighbours help each other.
//
// An e-process of a version that was healthy for a day is so small that it
// would need a day of failures. So each ratio is restarted where it falls to 1:
// the CUSUM form of an e-detector (Shin, Ramdas, Rinaldo, "E-detectors", New
// England Journal of Statistics in Data Science 2023). A restart is a new
// chance to be wrong, and it is paid for: a run begins with a bad answer, at
// q/p0, so that it passes h with probability at most (q/p0)/h; with k such runs
// in the last day the threshold is (1+k)(q/p0)/α. So α holds for the first
// minutes and, up to a small factor, for each day after; a version with few
// stray bad answers pays little, whatever its traffic, and day 30 is as day 1.
// A new version begins with that credit in hand: until a run of it has
// returned to 1 the test is the plain one against 1/α.
//
// # One caller
//
// A caller has one of 64 places, and places fall into 16 groups. The evidence
// is kept 17 times: with everybody, and without each of the groups. A failure
// needs 1/α from everybody, and some, e², without any one of the groups; a group
// that has more than CallerShare of the requests is not left out, as nobody else
// is there who could confirm it. Whatever one caller sends, the evidence without
// it does not move, however cleverly it fails. A version that is bad for
// everybody pays next to nothing for that: one more bad answer, if any.
//
// # A common cause
//
// When the control fails alike, the version is not the cause. The counts of both
// since the run began are held against each other: the likelihood with a rate
// for each, over that with the best common rate, which is near an e-value
// whatever the common rate is (after Wasserman, Ramdas, Balakrishnan, "Universal
// inference", PNAS 2020; the version's own rate is fitted on both sides, and
// what the control may show else is a mixture). The control's answers of before
// do not count, nor do those of long after the version has stopped to answer. A
// weak cause that both have is taken for the version's own once in 1,000 times;
// where the version has stopped, as it does when its breaker opens after five
// bad answers, CommonAlpha is enough, so that the next two or three good answers
// of a holdback decide. Both levels get stricter with each time that there was
// evidence without a failure in the last day. So a holdback of 1 % sets the pace:
// to rule a common cause of 5 % bad out takes 135 of its answers, however many
// the version gives.
//
// A version that is bad since it got traffic, or since its share changed, while
// its control was well until then, waits for less: that a feed broke in the same
// second is unlikely, and the less likely the shorter ago that was. So a new
// version is judged at the pace of its own answers at any share.
//
// Without a control the evidence waits for it, and then decides alone.
//
// # What is normal
//
// p0 is the upper 95 % bound of the control's rate over days, from which counts
// of an incident are clipped, times 1 and four coefficients of variation of the
// rate between minutes: a service that is noisy is given room, one that is calm
// is not. An alternative starts at twice p0, so that a version whose rate is up
// to 1.4 times p0 is left alone.
//
// The constants were set by simulation: see bench/release.
package sequential
