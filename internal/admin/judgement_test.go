package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/release"
)

// judging is a control plane with one model that a test makes.
type judging struct {
	fakeControl
	model  Model
	kills  []kill.State
	status func(*Status) // what is not well; nil: nothing
	broken error         // of Status
}

func (j *judging) Model(_ context.Context, model string) (Model, error) {
	if model != j.model.Model {
		return Model{}, NotFound("there is no model %s", model).Hinted("want one of default/fraud")
	}
	return j.model, nil
}

func (j *judging) Status(ctx context.Context) (Status, error) {
	s, _ := j.fakeControl.Status(ctx)
	if j.status != nil {
		j.status(&s)
	}
	return s, j.broken
}

func (j *judging) Kills() []kill.State { return j.kills }

// observing is a model with v1, of which nothing was seen, and v2.
func observing(edit func(*Version)) *judging {
	v2 := Version{Name: "v2", Weight: 5, Role: "candidate"}
	edit(&v2)
	return &judging{model: Model{Model: "default/fraud", Now: now, Generation: 7, Versions: []Version{{Name: "v1", Weight: 95}, v2}}}
}

func evident(v release.Verdict, requests, bad uint64, why string) func(*Version) {
	return func(x *Version) {
		x.Evidence = &release.Evidence{Verdict: v, Requests: requests, Bad: bad, Why: why}
	}
}

func killed(t kill.Target) kill.State {
	return kill.Kill(kill.New(t), kill.Order{ID: "1", At: now, By: "anna", Reason: "wrong", Mode: kill.Degrade})
}

var judgements = map[string]struct {
	control func() *judging
	want    Judgement
	says    string
}{
	"nothing was seen":         {func() *judging { return observing(func(*Version) {}) }, Unknown, "no answer of it was judged"},
	"too little was seen":      {func() *judging { return observing(evident(release.Inconclusive, 12, 0, "not enough was seen")) }, Unknown, "0 of 12 answers bad: not enough was seen"},
	"no worse than normal":     {func() *judging { return observing(evident(release.Success, 500, 0, "no worse than normal")) }, Good, "no worse than normal"},
	"it fails":                 {func() *judging { return observing(evident(release.Failure, 9, 5, "5 of 9 answers bad")) }, Bad, "5 of 9 answers bad"},
	"a failure of no request":  {func() *judging { return observing(evident(release.Failure, 0, 0, "a failure")) }, Unknown, "no answer of it was judged"},
	"its control fails alike":  {func() *judging { return observing(evident(release.CommonCause, 9, 5, "it fails alike")) }, Unknown, "it fails alike"},
	"the counts make no sense": {func() *judging { return observing(evident(release.Error, 9, 5, "10 bad of 9")) }, Unknown, "10 bad of 9"},
	"no word yet":              {func() *judging { return observing(evident("", 9, 0, "")) }, Unknown, "0 of 9 answers bad"},
	"a common cause is looked for": {func() *judging {
		j := observing(evident(release.Success, 500, 0, "no worse than normal"))
		j.model.Incident = &release.Incident{Why: "the feed"}
		return j
	}, Unknown, "the feed"},
	"it was rolled back": {func() *judging {
		return observing(func(v *Version) { v.Condemned = &release.Condemned{By: "safestate", Reason: "5 of 5 bad"} })
	}, Bad, "rolled back by safestate: 5 of 5 bad"},
	"a person holds it": {func() *judging {
		j := observing(evident(release.Failure, 9, 5, "5 of 9"))
		j.model.Versions[1].Hold = &release.Hold{Until: now.Add(time.Minute), By: "ann"}
		return j
	}, Unknown, "ann has decided for it until 2026-10-02T03:05:05Z"},
	"a person held it": {func() *judging {
		j := observing(evident(release.Failure, 9, 5, "5 of 9"))
		j.model.Versions[1].Hold = &release.Hold{Until: now, By: "ann"}
		return j
	}, Bad, "5 of 9"},
	"it is killed": {func() *judging {
		j := observing(evident(release.Success, 500, 0, "well"))
		j.kills = []kill.State{killed(kill.ForModel("default/fraud")), killed(kill.ForVersion("default/fraud", "v2"))}
		return j
	}, Bad, "killed by anna: wrong"},
	"another is killed": {func() *judging {
		j := observing(evident(release.Success, 500, 0, "well"))
		j.kills = []kill.State{killed(kill.ForVersion("default/fraud", "v1")), killed(kill.ForModel("default/other")), killed(kill.ForVersion("other/fraud", "v2"))}
		return j
	}, Good, "well"},
	"it was revived": {func() *judging {
		j := observing(evident(release.Success, 500, 0, "well"))
		k, _ := kill.Revive(killed(kill.ForVersion("default/fraud", "v2")), kill.Request{At: now, By: "bert", Reason: "mended", Generation: 1})
		j.kills = []kill.State{k}
		return j
	}, Good, "well"},
	"the model is killed": {func() *judging {
		j := observing(evident(release.Success, 500, 0, "well"))
		j.kills = []kill.State{killed(kill.ForModel("default/fraud"))}
		return j
	}, Unknown, "model/default/fraud is killed by anna"},
	"everything is killed": {func() *judging {
		j := observing(evident(release.Failure, 9, 5, "5 of 9"))
		j.kills = []kill.State{killed(kill.Target{Scope: kill.All})}
		return j
	}, Unknown, "all is killed by anna"},
	"it left the files": {func() *judging {
		j := observing(evident(release.Success, 500, 0, "well"))
		j.model.Versions[1].Gone = true
		return j
	}, Unknown, "not in the configuration any more"},
	"the model left the files": {func() *judging {
		j := observing(evident(release.Failure, 9, 5, "5 of 9"))
		j.model.Gone = true
		return j
	}, Unknown, "not in the configuration any more"},
	"well, by a replica that may not know": {func() *judging {
		j := observing(evident(release.Success, 500, 0, "well"))
		j.status = func(s *Status) { s.Store = Store{Problem: "does not answer"} }
		return j
	}, Unknown, "may be old, the store does not answer"},
	"well, and nobody leads": {func() *judging {
		j := observing(evident(release.Success, 500, 0, "well"))
		j.status = func(s *Status) { s.Leader.Replica = "" }
		return j
	}, Unknown, "may be old, no replica leads"},
	"bad, by a replica that may not know": {func() *judging {
		j := observing(evident(release.Failure, 9, 5, "5 of 9"))
		j.status = func(s *Status) { s.Store = Store{Problem: "does not answer"} }
		return j
	}, Bad, "5 of 9"},
}

const (
	versionPath   = "/v1/models/default/fraud/versions/v2"
	rollbackHook  = versionPath + "/flagger/rollback"
	promotionHook = versionPath + "/flagger/confirm-promotion"
	// What Flagger 1.44 sends; e2e/integrations has Flagger itself send it.
	ofFlagger = `{"name":"fraud","namespace":"default","phase":"Progressing","checksum":"5b4d","metadata":{"anything":"goes"}}`
)

// One judgement, in three ways of asking: the version's own page, and Flagger's two
// questions, of which each is answered yes for one judgement alone.
func TestJudgements(t *testing.T) {
	for name, c := range judgements {
		api := New(Options{Control: c.control(), Now: func() time.Time { return now }})
		w := send(api, request("GET", versionPath, ""))
		var j VersionJudgement
		if err := json.Unmarshal(w.Body.Bytes(), &j); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", name, w.Code, w.Body)
		}
		if j.Judgement != c.want || !strings.Contains(j.Reason, c.says) || j.Model != "default/fraud" || j.Version != "v2" || j.Weight != 5 || j.Generation != 7 {
			t.Errorf("%s: %+v; want %s, %q", name, j, c.want, c.says)
		}
		if err := valid(t, schemaOf(t, "VersionJudgement"), w.Body.Bytes()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for path, yes := range map[string]Judgement{rollbackHook: Bad, promotionHook: Good} {
			w := send(api, request("POST", path, ofFlagger))
			if c.want == yes {
				wants(t, w, 200, `"judgement": "`+string(yes)+`"`)
				continue
			}
			wants(t, w, 409, "version v2 of default/fraud is not known to be "+string(yes), "it is "+string(c.want), c.says, `"generation": 7`)
		}
	}
}
