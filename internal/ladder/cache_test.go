package ladder

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/safestate/safestate/internal/cache"
	"github.com/safestate/safestate/internal/policy"
)

func cached(when policy.When, tenants ...string) policy.Rung {
	return policy.Rung{Cache: &policy.Cache{
		TTL: policy.Duration(time.Minute), StaleWhileRevalidate: policy.Duration(time.Hour), TenantHeaders: tenants, When: when,
	}}
}

const cleanAnswer = `{"id":"1","model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"data":[0.25]}]}`

func withID(id string) string {
	return `{"id":` + id + `,` + askBody[1:]
}

func TestTheCacheAnswersTheSameQuestion(t *testing.T) {
	s, _ := newState(t)
	l, rec := newLadder(t, s, fraud(cached(policy.OnFailure)))
	wantAnswer(t, l.Answer(t.Context(), asking(askBody, nil)), SafeDefault, defaultBody)
	if got := rec.took(); got != "cache missed, safe_default answered" {
		t.Fatalf("rungs: %s", got)
	}
	first := answered(withID(`"1"`), nil, cleanAnswer, nil)
	l.Clean(first.Exchange, first.Version, true)
	for id, want := range map[string]string{
		`"2"`:       strings.Replace(cleanAnswer, `"1"`, `"2"`, 1),
		`7`:         strings.Replace(cleanAnswer, `"1"`, `7`, 1),
		`""`:        strings.Replace(cleanAnswer, `"1"`, `""`, 1),
		`null`:      strings.Replace(cleanAnswer, `"1"`, `""`, 1), // no id is not the id null
		`"a\"b\\é"`: strings.Replace(cleanAnswer, `"1"`, `"a\"b\\é"`, 1),
	} {
		a := l.Answer(t.Context(), asking(withID(id), nil))
		wantAnswer(t, a, Cache, want)
		if a.Model != "default/fraud" || a.Version != "v1" || a.Status != 200 || !slices.Contains(a.Extra, Header{Name: "age", Value: "0"}) {
			t.Errorf("id %s: %+v", id, a)
		}
	}
	rec.looked()
	wantAnswer(t, l.Answer(t.Context(), asking(strings.Replace(askBody, "[1]}", "[2]}", 1), nil)), SafeDefault, defaultBody)
	if got := rec.looked(); !slices.Equal(got, []Lookup{LookupMiss}) {
		t.Errorf("another question: %v", got)
	}
}

func TestTheCacheKeepsTenantsApart(t *testing.T) {
	s, _ := newState(t)
	l, _ := newLadder(t, s, fraud(cached(policy.OnFailure, "x-tenant")))
	keep := answered(askBody, headers{"x-tenant": "a"}, cleanAnswer, nil)
	l.Clean(keep.Exchange, keep.Version, true)
	for tenant, want := range map[string]Source{"a": Cache, "b": SafeDefault} {
		if a := l.Answer(t.Context(), asking(askBody, headers{"x-tenant": tenant})); a.Source != want {
			t.Errorf("tenant %s got %s, want %s", tenant, a.Source, want)
		}
	}
	if a := l.Answer(t.Context(), asking(askBody, nil)); a.Source != SafeDefault {
		t.Errorf("a request without the tenant's header got %s", a.Source)
	}
}

func TestWhatTheCacheKeeps(t *testing.T) {
	for name, c := range map[string]struct {
		remember bool
		request  headers
		respond  headers
		change   func(*Ask)
		want     Source
	}{
		"clean":                            {true, nil, nil, nil, Cache},
		"not spotless":                     {false, nil, nil, nil, SafeDefault},
		"credentials without a tenant":     {true, headers{"authorization": "Bearer x"}, nil, nil, SafeDefault},
		"the model forbids it":             {true, nil, headers{"cache-control": "private"}, nil, SafeDefault},
		"not 200":                          {true, nil, nil, func(a *Ask) { a.Exchange.Status = 203 }, SafeDefault},
		"a request that was not read":      {true, nil, nil, func(a *Ask) { a.Exchange.RequestBodySeen = false }, SafeDefault},
		"an answer without headers":        {true, nil, nil, func(a *Ask) { a.Exchange.ResponseHeaders = nil }, SafeDefault},
		"of the version that was asked":    {true, nil, nil, func(a *Ask) { a.Version.Name = "v2" }, Cache},
		"of a version that nobody asks":    {true, nil, nil, func(a *Ask) { a.Version.Name = "v3" }, SafeDefault},
		"a body that is no JSON":           {true, nil, nil, func(a *Ask) { a.Exchange.ResponseBody = []byte("<html>") }, SafeDefault},
		"a request with two ids":           {true, nil, nil, func(a *Ask) { a.Exchange.RequestBody = []byte(`{"id":"1","id":"2","inputs":[]}`) }, SafeDefault},
		"a body over what the cache keeps": {true, nil, nil, func(a *Ask) { a.Exchange.ResponseBody = huge() }, SafeDefault},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newState(t)
			l, rec := newLadder(t, s, fraud(cached(policy.OnFailure)))
			keep := answered(askBody, c.request, cleanAnswer, c.respond)
			if c.change != nil {
				c.change(keep)
			}
			l.Clean(keep.Exchange, keep.Version, c.remember)
			again := asking(string(keep.Exchange.RequestBody), c.request)
			again.Version.Name = "v2"
			if a := l.Answer(t.Context(), again); a.Source != c.want {
				t.Fatalf("%s answered, want %s (%s)", a.Source, c.want, rec.took())
			}
		})
	}
}

func huge() []byte {
	return []byte(`{"outputs":[{"name":"score","datatype":"FP32","shape":[400000],"data":[` + strings.Repeat("0.5,", 399_999) + `0.5]}]}`)
}

func TestABinaryAnswerFromTheCache(t *testing.T) {
	const json = `{"id":"1","model_name":"fraud","outputs":[{"name":"score","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}]}`
	tail := "\x00\x00\x80\x3e"
	s, _ := newState(t)
	l, _ := newLadder(t, s, fraud(cached(policy.OnFailure)))
	keep := answered(askBody, nil, json+tail, headers{"content-type": "application/octet-stream", headerLength: itoa(len(json))})
	l.Clean(keep.Exchange, keep.Version, true)

	echo := strings.Replace(json, `"1"`, `"a longer one"`, 1)
	a := l.Answer(t.Context(), asking(withID(`"a longer one"`), nil))
	wantAnswer(t, a, Cache, echo+tail)
	if a.ContentType != "application/octet-stream" || !slices.Contains(a.Extra, Header{Name: headerLength, Value: itoa(len(echo))}) {
		t.Fatalf("%s %v, want the length of the JSON with its new id, %d", a.ContentType, a.Extra, len(echo))
	}
	if a := l.Answer(t.Context(), asking(askBody, nil)); !slices.Contains(a.Extra, Header{Name: headerLength, Value: itoa(len(json) - 1)}) || !bytes.HasSuffix(a.Body, []byte(tail)) {
		t.Fatalf("without an id: %v %q", a.Extra, a.Body)
	}
}

func TestACompressedAnswerIsKeptAsIdentity(t *testing.T) {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write([]byte(cleanAnswer))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s, _ := newState(t)
	l, _ := newLadder(t, s, fraud(cached(policy.OnFailure)))
	keep := answered(askBody, nil, zipped.String(), headers{"content-encoding": "gzip"})
	l.Clean(keep.Exchange, keep.Version, true)
	a := l.Answer(t.Context(), asking(withID(`"1"`), nil))
	wantAnswer(t, a, Cache, cleanAnswer)
	for _, h := range a.Extra {
		if h.Name == "content-encoding" {
			t.Errorf("an answer in identity says %s", h.Value)
		}
	}
}

func TestTheCacheIsAskedFirstUnderTheStableVersion(t *testing.T) {
	s, _ := newState(t)
	l, rec := newLadder(t, s, fraud(cached(policy.First)))
	if _, ok := l.First(t.Context(), asking(askBody, nil)); ok {
		t.Fatal("an empty cache answered")
	}
	v2 := answered(askBody, nil, cleanAnswer, nil)
	v2.Version.Name = "v2"
	l.Clean(v2.Exchange, v2.Version, true)
	if _, ok := l.First(t.Context(), asking(askBody, nil)); ok {
		t.Fatal("an answer of a version that is not stable was given before the model was asked")
	}
	rec.looked()
	if a := l.Answer(t.Context(), v2); a.Source != Cache || a.Version != "v2" {
		t.Fatalf("%s %s answered, want v2's cached answer now that v2 failed", a.Source, a.Version)
	}
	if got := rec.looked(); !slices.Equal(got, []Lookup{LookupMiss, LookupHit}) {
		t.Errorf("lookups %v", got)
	}
	stable := answered(askBody, nil, cleanAnswer, nil)
	l.Clean(stable.Exchange, stable.Version, true)
	if a, ok := l.First(t.Context(), asking(askBody, nil)); !ok || a.Version != "v1" {
		t.Fatalf("got %+v, want the stable version's answer", a)
	}
	onFailure, _ := newLadder(t, s, fraud(cached(policy.OnFailure)))
	if _, ok := onFailure.First(t.Context(), asking(askBody, nil)); ok {
		t.Fatal("a cache that is for failures answered first")
	}
}

func TestAges(t *testing.T) {
	s, store := newState(t)
	l, rec := newLadder(t, s, fraud(cached(policy.First)))
	keep := answered(askBody, nil, cleanAnswer, nil)
	l.Clean(keep.Exchange, keep.Version, true)
	for _, c := range []struct {
		age     time.Duration
		answer  Source
		lookups []Lookup
		header  string
	}{
		{0, Cache, []Lookup{LookupHit}, "0"},
		{-time.Hour, Cache, []Lookup{LookupHit}, "0"}, // a replica whose clock is ahead
		{2 * time.Minute, Cache, []Lookup{LookupStale}, "120"},
		{2 * time.Hour, SafeDefault, []Lookup{LookupMiss}, ""},
	} {
		store.by.Store(int64(c.age))
		rec.looked()
		a := l.Answer(t.Context(), asking(askBody, nil))
		if got := rec.looked(); a.Source != c.answer || !slices.Equal(got, c.lookups) {
			t.Errorf("age %s: %s answered after %v, want %s after %v", c.age, a.Source, got, c.answer, c.lookups)
		}
		if c.header != "" && !slices.Contains(a.Extra, Header{Name: "age", Value: c.header}) {
			t.Errorf("age %s: headers %v, want age: %s", c.age, a.Extra, c.header)
		}
	}
	// Nobody asks anew in the background here: the model that is about to be
	// asked is the one who refreshes the entry.
	store.by.Store(int64(2 * time.Minute))
	if _, ok := l.First(t.Context(), asking(askBody, nil)); ok {
		t.Error("a stale entry that nobody refreshes was given in the model's place")
	}
}

// broken is a store that cannot say what it has.
type broken struct {
	cache.Store
	err error
}

func (b broken) Get(context.Context, cache.Key) (cache.Entry, bool, error) {
	return cache.Entry{}, false, b.err
}

func TestAStoreThatCannotAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		lookup Lookup
		rungs  string
	}{
		"away":  {cache.ErrAway, LookupSkipped, "cache skipped, safe_default answered"},
		"fails": {errors.New("reset"), LookupError, "cache failed, safe_default answered"},
	} {
		t.Run(name, func(t *testing.T) {
			s, store := newState(t)
			s.Cache, s.CacheRemote = broken{store, c.err}, true
			l, rec := newLadder(t, s, fraud(cached(policy.OnFailure)))
			wantAnswer(t, l.Answer(t.Context(), asking(askBody, nil)), SafeDefault, defaultBody)
			if got, looked := rec.took(), rec.looked(); got != c.rungs || !slices.Equal(looked, []Lookup{c.lookup}) {
				t.Errorf("rungs %s, lookups %v", got, looked)
			}
		})
	}
}

// foreign is a store with an entry that remember never wrote.
type foreign struct {
	cache.Store
	entry cache.Entry
}

func (f foreign) Get(context.Context, cache.Key) (cache.Entry, bool, error) {
	return f.entry, true, nil
}

func TestAnEntryThatCannotBeUsedIsAMiss(t *testing.T) {
	for name, e := range map[string]cache.Entry{
		"a length past the body":  {Body: []byte(cleanAnswer), Headers: []cache.Header{{Name: headerLength, Value: "9999"}}},
		"a length below 0":        {Body: []byte(cleanAnswer), Headers: []cache.Header{{Name: headerLength, Value: "-1"}}},
		"a length of words":       {Body: []byte(cleanAnswer), Headers: []cache.Header{{Name: headerLength, Value: "x"}}},
		"a body that is not JSON": {Body: []byte(`{"id":`)},
		"an empty body":           {},
	} {
		t.Run(name, func(t *testing.T) {
			s, store := newState(t)
			e.Status, e.ContentType, e.Stored = 200, "application/json", time.Now()
			s.Cache = foreign{store, e}
			l, rec := newLadder(t, s, fraud(cached(policy.OnFailure)))
			wantAnswer(t, l.Answer(t.Context(), asking(askBody, nil)), SafeDefault, defaultBody)
			if looked := rec.looked(); !slices.Equal(looked, []Lookup{LookupMiss}) {
				t.Errorf("lookups %v", looked)
			}
		})
	}
}
