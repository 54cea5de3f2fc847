package signals

import "slices"

// Models says which models (namespace/name) the configuration names, and which
// versions of each. Rows of other models are left out of reports, and versions that
// are named always have room: whoever makes names up takes it from nobody. nil is
// as before the first call: every model counts.
func (h *Hub) Models(models map[string][]string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.models = models
	for _, v := range h.versions {
		if !v.named {
			h.stray(v, -1)
		}
		if v.named = h.names(v.name); !v.named {
			h.stray(v, 1)
		}
	}
}

// configured reports whether rows of a model count.
func (h *Hub) configured(model string) bool {
	_, named := h.models[model]
	return named || h.models == nil
}

// names reports whether the configuration names a version.
func (h *Hub) names(v Version) bool { return slices.Contains(h.models[v.Model], v.Name) }

// stray books a version that the configuration does not name, or that is gone.
func (h *Hub) stray(v *version, n int) {
	h.strays += n
	h.charge(v.peer, share{strays: n})
}
