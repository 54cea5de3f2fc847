package keyring

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/signing"
	"github.com/safestate/safestate/internal/store"
)

// holdersPrefix is where each replica says how far it is, as long as it lives.
const holdersPrefix = "/safestate/v1/key-holders/"

// statement is what a replica says.
type statement struct {
	Keys   []string `json:"keys"`             // ids that its hosts trust
	Signed string   `json:"signed,omitempty"` // the key that signed what its proxies were given last
	// Lacking are proxies that may not have that, at most mostNamed of them; More
	// are not named.
	Lacking []string `json:"lacking,omitempty"`
	More    int      `json:"more,omitempty"`

	gone time.Time // since when it says nothing any more; zero: it is there
}

// silence is how long a replica that is gone is waited for: it may be cut off from
// the store alone, with a host that judges on.
const silence = 10 * time.Minute

// mostNamed is how many proxies a statement names.
const mostNamed = 20

func (k *Keyring) statement() statement {
	k.mu.Lock()
	published := k.hooks.Published
	k.mu.Unlock()
	var p Published
	if published != nil {
		p = published()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	n := min(len(p.Lacking), mostNamed)
	return statement{Keys: idsOf(k.ring.Public()), Signed: p.KeyID, Lacking: p.Lacking[:n], More: len(p.Lacking) - n}
}

func (k *Keyring) said() []byte {
	text, _ := json.Marshal(k.statement()) // of text and numbers: it cannot fail
	return text
}

// hear takes in what the other replicas say.
func (k *Keyring) hear(events []store.Event) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.heard = true
	for i := range events {
		replica := strings.TrimPrefix(events[i].Key, holdersPrefix)
		var said statement
		switch {
		case replica == k.o.Replica:
		case events[i].Deleted:
			if said, known := k.others[replica]; known {
				said.gone = time.Now()
				k.others[replica] = said
			}
		case json.Unmarshal(events[i].Value, &said) != nil:
			k.others[replica] = statement{} // it has nothing that is known of
		default:
			k.others[replica] = said
		}
	}
}

// progress is how far all replicas, hosts and proxies are with a ring.
func (k *Keyring) progress(r signing.Ring) signing.Progress {
	own := k.statement() // before the lock
	k.mu.Lock()
	defer k.mu.Unlock()
	var p signing.Progress
	if !k.heard {
		unknown := []string{"other replicas: what they have is not known yet"}
		return signing.Progress{LackKey: unknown, LackPolicy: unknown}
	}
	all := map[string]statement{k.o.Replica: own}
	for replica, said := range k.others {
		if !said.gone.IsZero() && time.Since(said.gone) > silence {
			delete(k.others, replica)
			continue
		}
		all[replica] = said
	}
	current, next := r.Current.Public().ID, ""
	if r.Next != nil {
		next = r.Next.Public().ID
	}
	for _, replica := range sorted(all) {
		said, name := all[replica], "replica "+replica
		if !said.gone.IsZero() {
			name += " (gone since " + said.gone.UTC().Format(time.TimeOnly) + ")"
		}
		if next != "" && !slices.Contains(said.Keys, next) {
			p.LackKey = append(p.LackKey, name)
		}
		if said.Signed != current {
			p.LackPolicy = append(p.LackPolicy, name+": has not published them yet")
			continue
		}
		p.LackPolicy = append(p.LackPolicy, said.Lacking...)
		if said.More > 0 {
			p.LackPolicy = append(p.LackPolicy, fmt.Sprintf("%d more of %s", said.More, name))
		}
	}
	if next != "" && k.o.Hosts != nil {
		p.LackKey = append(p.LackKey, k.o.Hosts(next)...)
	}
	return p
}

func sorted[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
