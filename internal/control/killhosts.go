package control

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/feed"
)

// killHosts is what is known of processors and kills: those that run apart by what
// they made of the configuration, and all by what they report.
type killHosts struct {
	Processors []processor `json:"processors,omitempty"`
	Words      []hostWord  `json:"words,omitempty"`
	More       int         `json:"more,omitempty"` // of both, that a statement had no room for
}

// processor is one that runs apart, as the ledger of a replica knows it.
type processor struct {
	Node    string         `json:"node"`
	Replica string         `json:"replica"`
	State   admin.KillStep `json:"state"` // acked: it has taken the kills
	How     string         `json:"how"`
	Streams int            `json:"streams"` // that are open: several are several with one name
}

// hostWord is what a reporter says of kills. What a host says of a set is true as
// long as the set is in force: nothing more is let go to what it stops.
type hostWord struct {
	Name     string `json:"name"`
	Set      string `json:"set,omitempty"` // that is in force there; empty: it does not say
	InFlight uint64 `json:"inFlight,omitempty"`
	Silent   bool   `json:"silent,omitempty"` // it should have said something since
	Lost     bool   `json:"lost,omitempty"`   // for so long that it has died more likely than not
}

// mostWords bounds what a statement says of hosts.
const mostWords = 2000

// killHosts is what this replica knows.
func (c *Control) killHosts() killHosts {
	var out killHosts
	c.publishing.Lock()
	version, published := c.rendered.version, c.rendered.kills == c.kills.set()
	c.publishing.Unlock()
	missing := map[string]xds.Missing{}
	proof := c.o.XDS.ProcessorProof(version)
	for _, m := range proof.Missing {
		missing[m.Node] = m
	}
	elsewhere := c.proofs.elsewhere()
	for _, x := range c.o.XDS.Proxies() {
		m, behind := missing[x.Node]
		if !x.Processor || m.Reason == xds.Unsubscribed || elsewhere[x.Node] && !x.Connected {
			continue
		}
		p := processor{Node: x.Node, Replica: c.o.Replica}
		for _, s := range x.Streams {
			if s.Connected {
				p.Streams++
			}
		}
		switch {
		case !published || !proof.Known:
			p.State, p.How = admin.StepPushed, "the kills are not published yet"
		case behind:
			p.State, p.How = stepOf(m.Reason), strings.TrimPrefix(m.At(time.Now()), x.Node+": ")
		case !x.Connected:
			p.State, p.How = admin.StepAcked, "ACKed, and cut off since "+x.Since.UTC().Format(time.TimeOnly)
		default:
			p.State, p.How = admin.StepAcked, "ACKed"
		}
		out.Processors = append(out.Processors, p)
	}
	now := time.Now()
	hosts, _ := c.o.Hub.Reporting()
	for i := range hosts {
		h := &hosts[i]
		if h.InProxy {
			continue // its proxy's row tells
		}
		silence := now.Sub(h.Heard)
		out.Words = append(out.Words, hostWord{h.Name, h.Kills, h.InFlight, silence >= silentHost, silence >= lostHost})
	}
	return out
}

// short is what a statement says: without ages, and bounded. What is left out cannot
// be proven elsewhere, and is counted.
func (k killHosts) short(most int) killHosts {
	k.More += max(0, len(k.Processors)-most) + max(0, len(k.Words)-most)
	k.Processors = slices.Clone(k.Processors[:min(len(k.Processors), most)])
	for i := range k.Processors {
		if p := &k.Processors[i]; p.State != admin.StepAcked && p.State != admin.StepRefused {
			p.How = string(p.State)
		}
	}
	k.Words = k.Words[:min(len(k.Words), most)]
	return k
}

// rows puts together what all replicas know. A processor is proven when it has taken
// the set, reports that it is in force, and waits for nothing that it stops.
func (k killHosts) rows(set string) (out []admin.KillRow) {
	words := wordsByHost(k.Words, set)
	for _, p := range processorsByNode(k.Processors) {
		name, _ := feed.Replica(p.Node)
		row := admin.KillRow{Node: p.Node, Kind: kindProcessor, Replica: p.Replica, State: p.State, How: p.How}
		said, enforce := words[name], 0
		delete(words, name)
		for _, w := range said {
			if w.Set == set {
				enforce++
				row.InFlight += int(w.InFlight)
			}
		}
		switch {
		case p.State != admin.StepAcked:
		case enforce < max(p.Streams, 1):
			row.How += "; it has not reported since that it enforces them"
		case row.InFlight > 0:
			row.How += "; requests that it let go before are not over"
		default:
			row.State = admin.StepProven
			row.How += "; it reports them in force, and nothing in flight"
		}
		if row.State == admin.StepAcked && p.Streams == 0 {
			row.State = admin.StepSilent
		}
		out = append(out, row)
	}
	if k.More > 0 {
		out = append(out, admin.KillRow{
			Node: "(processors not named)", Kind: kindProcessor, State: admin.StepPushed, How: fmt.Sprintf("other replicas have %d more than they can tell of", k.More),
		})
	}
	for _, name := range sortedKeys(words) {
		for _, w := range words[name] {
			if !w.Lost {
				out = append(out, w.row(name, set))
			}
		}
	}
	return out
}

const (
	kindProxy     = "proxy"
	kindProcessor = "processor"
)

// row is that of a processor which is known by its reports alone: one in the process
// of a control plane.
func (w *hostWord) row(name, set string) admin.KillRow {
	row := admin.KillRow{Node: name, Kind: kindProcessor, State: admin.StepPushed, InFlight: int(w.InFlight)}
	switch {
	case w.Set == set && w.InFlight == 0:
		row.State, row.How = admin.StepProven, "it reports them in force, and nothing in flight"
	case w.Set == set:
		row.State, row.How = admin.StepAcked, "it enforces them; requests that it let go before are not over"
	case w.Silent:
		row.State, row.How = admin.StepSilent, "it does not report any more"
	case w.Set == "":
		row.How = "it reports, and does not say what it enforces: it is not told what is killed"
	default:
		row.How = "it does not enforce them yet"
	}
	return row
}

// wordsByHost has the best word of each reporter, by the host's name: two replicas
// may have heard of one.
func wordsByHost(words []hostWord, set string) map[string][]hostWord {
	best := map[string]hostWord{}
	for _, w := range words {
		old, known := best[w.Name]
		if !known || w.better(&old, set) {
			best[w.Name] = w
		}
	}
	out := map[string][]hostWord{}
	for _, name := range sortedKeys(best) {
		host := name
		if i := strings.LastIndexByte(name, '/'); i >= 0 { // what follows is the process'
			host = name[:i]
		}
		out[host] = append(out[host], best[name])
	}
	return out
}

// better reports whether a word tells more of a set than another of the same
// reporter.
func (w *hostWord) better(than *hostWord, set string) bool {
	switch {
	case (w.Set == set) != (than.Set == set):
		return w.Set == set
	case w.Set == set && w.InFlight != than.InFlight:
		return w.InFlight < than.InFlight
	default:
		return than.Silent && !w.Silent
	}
}

// processorsByNode has one entry of each node: of one that two replicas know, that of
// the replica which it is connected to.
func processorsByNode(all []processor) []processor {
	best := map[string]processor{}
	for _, p := range all {
		old, known := best[p.Node]
		if !known || p.Streams > old.Streams {
			best[p.Node] = p
		}
	}
	return slices.SortedFunc(maps.Values(best), func(x, y processor) int { return cmp.Compare(x.Node, y.Node) })
}

// addTo adds what another replica says, of the set that is in force here.
func (k killHosts) addTo(all *killHosts, current bool) {
	all.Words = append(all.Words, k.Words...)
	all.More += k.More
	if current {
		all.Processors = append(all.Processors, k.Processors...)
	}
}
