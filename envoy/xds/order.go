package xds

// Make before break, for each stream by itself.

// allowed returns the newest set of a kind that this proxy may be told now;
// nil: none, it first has to accept what that set needs. The Server's lock is
// held.
//
// Routes need the clusters that they name, and the internal listeners that
// those lead to. A listener may name any cluster. Endpoints and secrets are
// asked for by the clusters that have come.
func (c *stream) allowed(k kind) *set {
	w := c.server.world
	if w == nil {
		return nil
	}
	switch k {
	case routes:
		if !c.accepted(namedClusters) || !c.accepted(reachedListeners) {
			return nil
		}
	case listeners:
		if !c.accepted(allClusters) {
			return nil
		}
	}
	return w.sets[k]
}

// accepted reports whether the proxy has accepted what is needed, as far as it
// takes all of that kind from us. A proxy that asks for single ones, as
// gRPC's client does, learns their names from what needs them. One that asks
// for each kind on a stream of its own is looked at whole.
func (c *stream) accepted(n need) bool {
	w, k := c.server.world, n.of()
	if c.service == aggregated {
		sub := &c.subs[k]
		return !sub.wildcard || sub.holds(w, n)
	}
	for other := range c.node.streams {
		if sub := &other.subs[k]; other.service != aggregated && sub.wildcard && !sub.holds(w, n) {
			return false
		}
	}
	return true
}

// settled reports whether nothing that this proxy routes by can lead to what
// the world has no longer: only then is it taken away. A proxy that has just
// come may route by what it had before, and ask for its routes later than for
// its clusters.
func (c *stream) settled() bool {
	w := c.server.world
	if c.young() {
		return false
	}
	if c.service == aggregated {
		sub := &c.subs[routes]
		return !sub.wanted || sub.accepted == w.sets[routes]
	}
	for other := range c.node.streams {
		if sub := &other.subs[routes]; other.service != aggregated && sub.wanted && sub.accepted != w.sets[routes] {
			return false
		}
	}
	return true
}
