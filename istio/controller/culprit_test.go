package controller

import (
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/config"
)

// TestCulprit: of two objects that cannot both be, the one that changed is at fault.
func TestCulprit(t *testing.T) {
	const other = "Model models/aaa"
	// Both name one Service: the mistake is told of the second by name, whichever that is.
	compiled := func(files map[string][]byte) (out config.Problems) {
		if strings.Contains(string(files[fraud]), "fraud-v2") && strings.Contains(string(files[other]), "fraud-v2") {
			out = append(out, config.Problem{File: fraud, Message: "has the Service of aaa"})
		}
		return out
	}
	good, takes := modelOf(v1+","+v2), []byte(`{"metadata": {"name": "aaa"}, "spec": {"versions": [`+v2+`]}}`)
	for name, c := range map[string]struct {
		kept, now map[string][]byte
		want      string
	}{
		"a new one":        {map[string][]byte{fraud: good}, map[string][]byte{fraud: good, other: takes, "Model models/new": modelOf(v1)}, other},
		"an edited one":    {map[string][]byte{fraud: good, other: modelOf(v1)}, map[string][]byte{fraud: good, other: takes}, other},
		"itself":           {map[string][]byte{fraud: modelOf(v1), other: takes}, map[string][]byte{fraud: good, other: takes}, ""},
		"nobody was good":  {nil, map[string][]byte{fraud: good, other: takes}, ""},
		"not by an object": {map[string][]byte{fraud: good, other: takes}, map[string][]byte{fraud: good, other: takes}, ""},
	} {
		l := &lastGood{}
		for file, text := range c.kept {
			l.keep(file, text, time.Time{})
		}
		mistakes := compiled(c.now)
		got := l.culprit(c.now, mistakes, compiled)
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if got != "" && because(got, mistakes)[0].File != got {
			t.Errorf("%s: %v", name, because(got, mistakes))
		}
		if kills := l.kills(c.now, mistakes, map[string][]string{"models/fraud": nil}); kills != (string(c.kept[fraud]) == string(good)) {
			t.Errorf("%s: a kill would be lost: %v", name, kills)
		}
	}
}
