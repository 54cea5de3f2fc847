package control

import (
	"fmt"

	"github.com/safestate/safestate/internal/kill"
)

// Keys of the store. Everything of ours is under root; what is under one of the
// prefixes has one writer at a time, by compare-and-swap.
const (
	root           = "/safestate/v1/"
	modelsPrefix   = root + "models/"   // NS/NAME: release.State
	historyPrefix  = root + "history/"  // NS/NAME/sequence: release.Record
	evidencePrefix = root + "evidence/" // NS/NAME: the tests of its versions
	policiesPrefix = root + "policies/" // NS/NAME: policies.State
	killsPrefix    = root + "kills/"    // a target's key: kill.State
	replicasPrefix = root + "replicas/" // a replica: what its proxies have applied
	proxiesKey     = root + "proxies"   // registered
	leaderName     = root + "leader"
)

func modelKey(model string) string { return modelsPrefix + model }

func killKey(t kill.Target) string { return killsPrefix + t.Key() }

func evidenceKey(model string) string { return evidencePrefix + model }

func replicaKey(id string) string { return replicasPrefix + id }

func historyOf(model string) string { return historyPrefix + model + "/" }

// historyKey sorts by sequence.
func historyKey(model string, sequence uint64) string {
	return fmt.Sprintf("%s%016d", historyOf(model), sequence)
}
