// Package killstore holds the tests of what becomes of kills and revives where
// replicas share an etcd, and where they die in the middle of things.
//
// An episode is three replicas of the real safestate before three members of a
// real etcd, each a process, with a TCP proxy on every way between them. Clients
// kill, revive and look while processes are killed and ways are cut, all of it by
// a seed. Then everything is mended, and what the clients were told is held
// against a model and against what the store has.
//
//	cluster_test.go, links_test.go, replica_test.go   what runs
//	faults_test.go                                    what breaks, and when
//	client_test.go, notes_test.go                     who asks, and what they note
//	model_test.go, invariants_test.go, trail_test.go  what has to hold
//	episode_test.go, histories_test.go                one run, and many
//	mutants_test.go                                   what has to be found
//	crash_test.go                                     the store and the audit trail together
package killstore

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/safestate/safestate/e2e/dataplane"
)

var (
	operations = flag.Int("operations", 1, "episodes are run until they have so many operations")
	firstSeed  = flag.Uint64("seed", 1, "of the first episode; the next one has the next")
	seeds      = flag.Int("mutant-seeds", 0, "episodes in which each mutant has to be found; 0: they are not run")
	crashes    = flag.Int("crashes", 20, "how often a replica is killed while it keeps its store and its audit trail")
	prebuilt   = flag.String("program", "", "a safestate to test in place of the one that is built from here")
)

func TestMain(m *testing.M) {
	if text := os.Getenv(memberVariable); text != "" {
		fmt.Println(beMember(text))
		os.Exit(1)
	}
	code := m.Run()
	dataplane.Cleanup()
	os.Exit(code)
}

// program is the safestate that is tested.
func program(t testing.TB) string {
	if *prebuilt != "" {
		return *prebuilt
	}
	return dataplane.Program(t, "safestate")
}
