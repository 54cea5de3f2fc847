package admin

import (
	"reflect"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/release"
)

func TestWhatAForcedDecisionAndASecondTryCarry(t *testing.T) {
	const rollout, rollback = "/v1/models/default/fraud/rollout", "/v1/models/default/fraud/rollback"
	lasting := func(d time.Duration) *release.Duration { v := release.Duration(d); return &v }
	for _, c := range []struct {
		path, body string
		want       release.Command // zero: refused
		says       string
	}{
		{rollout, `{"action":"start","version":"v2","reason":"x","again":true}`, release.Command{Do: release.Start, Version: "v2", Again: true}, ""},
		{rollout, `{"action":"start","version":"v2","reason":"x","force":true,"hold":"0s"}`, release.Command{Do: release.Start, Version: "v2", Force: true, Hold: lasting(0)}, ""},
		{rollout, `{"action":"promote","reason":"x","force":true,"hold":"2h"}`, release.Command{Do: release.Promote, Force: true, Hold: lasting(2 * time.Hour)}, ""},
		{rollback, `{"to":"v1","reason":"x","force":true,"hold":"1m"}`, release.Command{Do: release.Rollback, Version: "v1", Force: true, Hold: lasting(time.Minute)}, ""},
		{rollout, `{"action":"promote","reason":"x","again":true}`, release.Command{}, "goes with start only"},
		{rollout, `{"action":"start","version":"v2","reason":"x","hold":"0s"}`, release.Command{}, "goes with force only"},
		{rollout, `{"action":"start","version":"v2","reason":"x","force":true,"hold":"-1s"}`, release.Command{}, "is -1s; want 0s to"},
		{rollback, `{"to":"v1","reason":"x","hold":"1m"}`, release.Command{}, "goes with force only"},
	} {
		f := &fakeControl{}
		w := send(serve(f), request("POST", c.path, c.body))
		if c.says != "" {
			wants(t, w, 400, c.says)
			continue
		}
		if wants(t, w, 200); len(f.commands) != 1 {
			t.Errorf("%s: %d commands", c.body, len(f.commands))
			continue
		}
		if c.want.By, c.want.Reason = f.commands[0].By, "x"; !reflect.DeepEqual(f.commands[0], c.want) {
			t.Errorf("%s: %+v, want %+v", c.body, f.commands[0], c.want)
		}
	}
}
