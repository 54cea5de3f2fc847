package control

import (
	"encoding/json"
	"slices"

	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/store"
)

// statement is what a replica says of its proxies, as it stands in the store.
type statement struct {
	Replica string `json:"replica"`
	// Models are the generations that it has published, and which of Parts says
	// what became of them: many models share one.
	Models map[string]spoken `json:"models"`
	Parts  []part            `json:"parts"`
	// Connected are the proxies that are connected to it: one that another
	// replica misses may be here.
	Connected []string `json:"connected"`
	// Kills is what they show of what is killed.
	Kills killStatement `json:"kills,omitzero"`
}

type spoken struct {
	Generation uint64 `json:"generation"`
	Part       int    `json:"part"`
}

// part is what the proxies of a replica made of a configuration.
type part struct {
	Expected int       `json:"expected"`
	Acked    int       `json:"acked"`
	Missing  []absence `json:"missing,omitempty"`
	More     int       `json:"more,omitempty"` // that are missing and not named

	lines []string // of Missing, made once; nil: not made
}

// absence is a proxy that did not accept.
type absence struct {
	Node    string     `json:"node"`
	Reason  xds.Reason `json:"reason"`
	Message string     `json:"message,omitempty"`
	What    string     `json:"what"` // one line
}

// mostNamed is how many missing proxies a statement names, of one configuration.
const mostNamed = 50

// statement is this replica's.
func (p *proofs) statement() []byte {
	kills := p.kills() // it looks at proofs too
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.look()
	said := statement{Replica: p.replica, Models: map[string]spoken{}, Connected: v.nodes, Kills: kills}
	if !p.expects() { // whom, is not known yet
		text, _ := json.Marshal(said)
		return text
	}
	parts := map[string]int{}
	for _, model := range sortedKeys(p.carried) {
		c := p.carried[model]
		of := c.version
		if p.mesh != nil { // it is each model's own
			of = model
		}
		i, known := parts[of]
		if !known {
			i = len(said.Parts)
			said.Parts = append(said.Parts, p.own(model, c).short(mostNamed))
			parts[of] = i
		}
		said.Models[model] = spoken{c.generation, i}
	}
	said.share()
	text, _ := json.Marshal(said) // of text and numbers: it cannot fail
	if len(text) > store.MaxValue {
		for i := range said.Parts {
			said.Parts[i] = said.Parts[i].short(0)
		}
		text, _ = json.Marshal(said)
	}
	if len(text) > store.MaxValue {
		said.Kills.Hosts = said.Kills.Hosts.short(0)
		text, _ = json.Marshal(said)
	}
	if len(text) > store.MaxValue {
		said.Connected = nil // tens of thousands: one that moved is then missed
		text, _ = json.Marshal(said)
	}
	return text
}

// share has models whose parts are equal refer to one.
func (s *statement) share() {
	var kept []part
	to := make([]int, len(s.Parts))
	for i := range s.Parts {
		same := func(k part) bool {
			return k.Expected == s.Parts[i].Expected && k.Acked == s.Parts[i].Acked && k.More == s.Parts[i].More && slices.Equal(k.Missing, s.Parts[i].Missing)
		}
		if to[i] = slices.IndexFunc(kept, same); to[i] < 0 {
			to[i] = len(kept)
			kept = append(kept, s.Parts[i])
		}
	}
	for model, of := range s.Models {
		of.Part = to[of.Part]
		s.Models[model] = of
	}
	s.Parts = kept
}

// short names at most so many, and without an age: it would be written each time.
func (p part) short(most int) part {
	n := min(len(p.Missing), most)
	p.More += len(p.Missing) - n
	p.Missing, p.lines = slices.Clone(p.Missing[:n]), nil
	for i := range p.Missing {
		p.Missing[i].What = p.Missing[i].Node + ": " + string(p.Missing[i].Reason)
	}
	return p
}

// of is what a replica says of a model; false: it has not published this
// generation.
func (s *statement) of(model string, generation uint64) (part, bool) {
	said, known := s.Models[model]
	if !known || said.Generation < generation || said.Part < 0 || said.Part >= len(s.Parts) {
		return part{}, false
	}
	return s.Parts[said.Part], true
}

// merged adds what the other replicas say of a model's generation.
func (p *proofs) merged(model string, generation uint64, own part) part {
	if len(p.others) == 0 {
		return own
	}
	connected, silent := p.look().connected, map[string]bool{}
	out := part{Expected: own.Expected, Acked: own.Acked}
	add := func(missing []absence) {
		for _, m := range missing {
			// A proxy that went from one replica to another is missed by the first
			// alone, and one that all of them know is missed once.
			if m.Reason == xds.Silent && (connected[m.Node] || silent[m.Node]) {
				out.Expected--
				continue
			}
			silent[m.Node] = silent[m.Node] || m.Reason == xds.Silent
			out.Missing = append(out.Missing, m)
		}
	}
	add(own.Missing)
	for _, replica := range sortedKeys(p.others) {
		said := p.others[replica]
		of, published := said.of(model, generation)
		if !published {
			out.Missing = append(out.Missing, absence{Node: replica, Reason: xds.Held, What: "replica " + replica + ": has not published it yet"})
			continue
		}
		out.Expected += of.Expected
		out.Acked += of.Acked
		out.More += of.More
		add(of.Missing)
	}
	return out
}
