package policy

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

// filler fills a policy with random values.
type filler struct {
	t   *testing.T
	rnd *rand.Rand
	// skip is how many of ten fields that may be missing are.
	skip int
}

var programs = []string{`true`, `null`, `1.50`, `["==",["status"],503]`, `["in","a\u0000\"b",["list",1,-2.5e-3,null]]`, `"<é>"`, strings.Repeat("[", 70) + strings.Repeat("]", 70)}

func (f *filler) text() string {
	out := []string{"a", "Ab", "\"", "\\", "é", "<", "\u2028", "\x00", "\U0001f600", "/", " "}
	s := "x"
	for range f.rnd.IntN(5) {
		s += out[f.rnd.IntN(len(out))]
	}
	return s
}

func (f *filler) fill(v reflect.Value) {
	switch v.Interface().(type) {
	case Duration:
		v.SetInt(1 + f.rnd.Int64N(int64(time.Hour)))
		return
	case Program:
		v.SetBytes([]byte(programs[f.rnd.IntN(len(programs))]))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			optional := strings.Contains(v.Type().Field(i).Tag.Get("json"), ",omitempty")
			if !optional || f.rnd.IntN(10) >= f.skip {
				f.fill(v.Field(i))
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1+f.rnd.IntN(2), 2))
		for i := range v.Len() {
			f.fill(v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 1 + f.rnd.IntN(2) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			f.fill(key)
			f.fill(value)
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		v.SetString(f.text())
	case reflect.Int, reflect.Int64:
		v.SetInt((1 + f.rnd.Int64N(1<<62)>>f.rnd.IntN(61)) * int64(1-2*f.rnd.IntN(2)))
	case reflect.Float64:
		v.SetFloat((f.rnd.Float64() - 0.5) * 1e9)
	case reflect.Bool:
		v.SetBool(true)
	default:
		f.t.Fatalf("a %s is no kind of field that a policy is read by", v.Type())
	}
}

// filled is a random policy that Parse takes; with skip 0 every field is set.
func filled(t *testing.T, rnd *rand.Rand, skip int) (*Policy, string) {
	for {
		p := &Policy{}
		(&filler{t, rnd, skip}).fill(reflect.ValueOf(p).Elem())
		p.Format, p.Reserve = FormatVersion, p.Deadline/2
		p.Limits.BodyBytes = max(p.Limits.BodyBytes, -p.Limits.BodyBytes)
		p.Ladder[len(p.Ladder)-1].SafeDefault = &SafeDefault{Body: "{}"}
		if skip == 0 {
			p.Ladder = append(p.Ladder[:0:0], p.Ladder...)
			(&filler{t, rnd, skip}).fill(reflect.ValueOf(&p.Ladder[len(p.Ladder)-1]).Elem())
		}
		text, err := p.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if len(text) <= MaxBytes {
			return p, string(text)
		}
	}
}

func TestEveryFieldIsRead(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		want, text := filled(t, rnd, i%5*2)
		got, err := Parse(text)
		if err != nil {
			t.Fatalf("%v, of %s", err, text)
		}
		if !reflect.DeepEqual(got, want) {
			again, _ := got.Marshal()
			t.Fatalf("got\n%s\nwant\n%s", again, text)
		}
	}
}

// bend changes one value somewhere below v, or a member.
func bend(v any, rnd *rand.Rand) any {
	others := []any{nil, true, false, 0, -1, 1.5, json.Number("1e3"), json.Number("1e999"), json.Number("9223372036854775808"), "", "x", "5s", []any{}, []any{nil}, []any{1}, []any{"a"}, []any{map[string]any{}}, map[string]any{}, map[string]any{"a": nil}, map[string]any{"a": 1}}
	if rnd.IntN(4) > 0 {
		switch v := v.(type) {
		case map[string]any:
			keys := reflect.ValueOf(v).MapKeys()
			if len(keys) == 0 {
				break
			}
			key := keys[rnd.IntN(len(keys))].String()
			switch rnd.IntN(8) {
			case 0:
				delete(v, key)
			case 1:
				v["another "+key] = others[rnd.IntN(len(others))]
			default:
				v[key] = bend(v[key], rnd)
			}
			return v
		case []any:
			if len(v) > 0 {
				i := rnd.IntN(len(v))
				v[i] = bend(v[i], rnd)
				return v
			}
		}
	}
	return others[rnd.IntN(len(others))]
}

func TestPoliciesAreReadAsEncodingJSONReadsThem(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	taken := 0
	for i := range 1500 {
		_, text := filled(t, rnd, i%5*2)
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var tree any
		if err := d.Decode(&tree); err != nil {
			t.Fatal(err)
		}
		bent, err := json.Marshal(bend(tree, rnd))
		if err != nil {
			t.Fatal(err)
		}
		var got, want Policy
		err, wantErr := read(string(bent), got.read), json.Unmarshal(bent, &want)
		if string(bent) == "null" {
			continue // no policy, and nothing to encoding/json
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%v, want %v, of %s", err, wantErr, bent)
		}
		if err == nil {
			taken++
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("got\n%+v\nwant\n%+v\nof %s", got, want, bent)
			}
		}
	}
	if taken < 150 || taken > 1350 {
		t.Errorf("%d of the texts were taken: too few or too many to tell", taken)
	}
}

func TestParseNamesWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		`[]`:                                             "policy: want an object",
		`{"name":"a","name":"b"}`:                        "policy: name: it is there more than once",
		`{"name":"a","Name":"b"}`:                        "policy: name: it is there more than once",
		`{"name":5}`:                                     "policy: name: want a string",
		`{"deadline":80}`:                                "policy: deadline: want a duration such as 80ms",
		`{"deadline":"80"}`:                              `policy: deadline: want a duration such as 80ms, not "80"`,
		`{"limits":{"bodyBytes":1.5}}`:                   "policy: limits.bodyBytes: want a whole number",
		`{"enforcePercent":NaN}`:                         "policy: enforcePercent: want a number",
		`{"enforcePercent":1e999}`:                       "policy: enforcePercent: want a number that a double holds",
		`{"needs":{"duplex":"yes"}}`:                     "policy: needs.duplex: want true or false",
		`{"ladder":{}}`:                                  "policy: ladder: want a list",
		`{"ladder":[{},{"cache":[]}]}`:                   "policy: ladder[1].cache: want an object",
		`{"ladder":[7]}`:                                 "policy: ladder[0]: want an object",
		`{"versions":{"a":{"name":1}}}`:                  `policy: versions."a".name: want a string`,
		`{"versions":{"a":{},"\u0061":{}}}`:              `policy: versions."a": it is there more than once`,
		`{"detect":{"confidence":[{"min":"1"}]}}`:        "policy: detect.confidence[0].min: want a number",
		`{"detect":{"cel":[{"program":1,"program":2}]}}`: "policy: detect.cel[0].program: it is there more than once",
		`{"ladder":[{"fallback":{"endpoints":[{"port":80},{"port":"81"}]}}]}`:            "policy: ladder[0].fallback.endpoints[1].port: want a whole number",
		`{"detect":{"request":[{"max":true}]}}`:                                          "policy: detect.request[0].max: want a number",
		`{"detect":{"contract":{"outputs":[{"shape":[1,"2"],"labels":[1],"min":"3"}]}}}`: "policy: detect.contract.outputs[0].shape[1]: want a whole number",
		`{"name":`: "policy: ends inside a value at byte 8",
	} {
		if _, err := Parse(text); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// What no host of this build knows is passed over: also a name in another case.
func TestParsePassesOverWhatItDoesNotKnow(t *testing.T) {
	text, err := valid().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Parse(strings.Replace(string(text), "{", `{"MODEL":[1],"later":{"a":[NaN]},"later":2,"stable":null,`, 1))
	if err == nil {
		t.Fatalf("taken although a name is there in two cases: %+v", p)
	}
	p, err = Parse(strings.Replace(string(text), "{", `{"Stable":"v1","later":{"a":[1]},"later":2,"stream":null,`, 1))
	if err != nil || p.Stable != "" || !reflect.DeepEqual(p, valid()) {
		t.Errorf("read as %+v (%v)", p, err)
	}
}

func TestPassesUnread(t *testing.T) {
	for text, want := range map[string]bool{
		`{"format":9}`:       true, // it enforces nothing
		`{"mode":"observe"}`: true,
		`{"mode":"enforce"}`: false,
		`{"mode":"enforce","ladder":"of another format"}`:        false,
		`{"mode":"enforce","enforcePercent":50}`:                 true,
		`{"mode":"enforce","enforcePercent":100}`:                false,
		`{"mode":"enforce","whenProcessorAway":"pass"}`:          true,
		`{"mode":"enforce","whenProcessorAway":"pass","mode":1}`: false,
		`{"mode":["enforce"]}`:                                   false,
		`{"mode":"enforce"`:                                      false,
		`[]`:                                                     false,
		``:                                                       false,
	} {
		if got := PassesUnread(text); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	text, err := valid().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add(`{"format":1,"ladder":[{"safeDefault":{}}],"deadline":"1s","limits":{"bodyBytes":1},"detect":{"cel":[{"program":[1,null]}]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		again, err := p.Marshal()
		if err != nil {
			return // a program with a bare NaN is no JSON, and no program
		}
		if len(again) > MaxBytes {
			return
		}
		q, err := Parse(string(again))
		if err != nil {
			t.Fatalf("%s is written as %s: %v", text, again, err)
		}
		if once, err := q.Marshal(); err != nil || string(once) != string(again) {
			t.Errorf("%s is written as %s, and that as %s (%v)", text, again, once, err)
		}
	})
}
