// Package notify tells people and programs what happened: kills and revives,
// rollbacks, models that are degraded or that wait for a person, changes that
// are not proven.
//
// [Notifier.Notify] takes an [Event] and returns at once; a worker of each
// receiver groups, repeats and delivers it, as a webhook, to Slack, or to an
// Alertmanager. What is delivered comes at least once and carries an id by which
// a repetition is known; what cannot be delivered is counted and logged.
package notify
