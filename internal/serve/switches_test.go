package serve

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/safestate/safestate/envoy/xds"
	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/control"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/signals"
	"github.com/safestate/safestate/internal/store/etcd"
	"github.com/safestate/safestate/internal/telemetry"
)

// TestReviveByAnObject: where the access file asks for a second person an object revives
// nothing and asks for nothing, since nobody knows who wrote it; elsewhere it does.
func TestReviveByAnObject(t *testing.T) {
	dir := t.TempDir()
	digest, err := access.Digest(access.NewToken())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "access.yaml")
	write(t, file, fmt.Sprintf("tokens:\n- {name: ann, sha256: %q}\nrevive:\n- {approvals: 1, models: [\"models/fraud\"]}\n", digest))
	gate, err := access.Open(file, access.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := etcd.Open(t.Context(), etcd.Options{Dir: filepath.Join(dir, "store")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	served, hub := xds.New(xds.Options{}), signals.NewHub(signals.HubOptions{})
	defer served.Close()
	defer hub.Close()
	rules, err := control.New(control.Options{
		Store: s, XDS: served, Hub: hub, DataDir: dir, Replica: "one", Reload: func() {},
		Log: telemetry.NopLog(), Metrics: telemetry.NewMetrics("test", telemetry.Caps{}),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		rules.Run(ctx)
	}()
	defer func() {
		stop()
		<-ended
	}()
	k := switches{&plane{rules: rules, people: people{gate: gate}}}
	for target, second := range map[kill.Target]bool{kill.ForVersion("models/fraud", "v2"): true, kill.ForVersion("models/other", "v2"): false} {
		if _, err := k.Kill(t.Context(), target, kill.Order{ID: target.Key(), At: time.Now(), By: "KillSwitch models/x", Reason: "scores are wrong"}); err != nil {
			t.Fatal(err)
		}
		before := k.State(target)
		_, err := k.Revive(t.Context(), target, kill.Request{At: time.Now(), By: "KillSwitch models/x", Reason: "the feed is back", Generation: before.Generation})
		after := k.State(target)
		switch {
		case errors.Is(err, errSecond) != second:
			t.Errorf("%s: %v", target, err)
		case second && (!after.Killed || after.Asked != nil || after.Sequence != before.Sequence):
			t.Errorf("%s was %+v, and is %+v", target, before, after)
		case !second && after.Killed:
			t.Errorf("%s is killed still", target)
		}
	}
}
