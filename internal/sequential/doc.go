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
// needs 1/α from everybody and all but 1/CommonAlpha of that without any one of
// the groups, except of a group that has more than CallerShare of the requests:
// nobody else is there who could confirm it. Whatever one caller sends, the
// evidence without it does not move: that bound does not depend on how often or
// how cleverly it fails. The price for a version that is bad for everybody is
// small: the part of one group, which is made up for by the lower threshold.
//
// # A common cause
//
// When the control fails alike, the version is not the cause. Since the run
// began, the counts of both are held against each other: the likelihood with a
// rate each, by mixtures, over that with the best common rate, which is again
// an e-value whatever the common rate is (Wasserman, Ramdas, Balakrishnan,
// "Universal inference", PNAS 2020). It has to be as strong as 1/α for a weak
// fault, for which there is time, and 1/CommonAlpha where half or more of the
// answers are bad: there a breaker may stop the version's answers after five,
// and the control's next three good ones have to decide. Both levels grow with
// the number of times in the last day that both failed alike.
//
// A version that is bad since it got traffic, or since its share changed, while
// its control was well until then, needs less: that a feed broke in the same
// second is unlikely, and the less likely the shorter ago that was.
package sequential
