// Package integrations holds istio/integrations, and the webhooks behind it, by the
// code of the tools that use them: Flagger's and Argo Rollouts' own definitions of
// their kinds, their own rendering, webhooks and conditions, and Prometheus's own
// engine over what safestate's /metrics said. It is a module of its own, so that their
// dependencies are none of safestate's. Nothing of theirs is copied: the definitions
// are read from the modules that go.mod names.
package integrations
