package clients

import (
	"context"
	"math"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// score is the answer to the row that calls have unless they name others.
const score = 0.19154535233974457

func TestTritonClient(t *testing.T) {
	s := model(t)
	c := StartTriton(t, s.Addr())
	o := c.Ask(t, Infer{Op: OpAbout, Model: "fraud"})
	if o.Raised != nil || o.About == nil || !o.About.Live || !o.About.Ready || !slices.Contains(o.About.Metadata, "score") {
		t.Errorf("about: %+v %+v", o.About, o.Raised)
	}
	o = c.Ask(t, Infer{Model: "fraud", ID: "r1", Rows: [][]float32{{1200, 3, 0, 0}, {10, 900, 0, 0}}, Outputs: []string{"score", "label", "half", "none"}})
	if o.Raised != nil || len(o.Answers) != 1 {
		t.Fatalf("%+v", o)
	}
	a := o.Answers[0]
	if a.ID != "r1" || a.Model != "fraud" || a.Version != "v1" || a.Outputs["none"] != nil ||
		a.Outputs["score"].Values[0] != score || len(a.Outputs["score"].Values) != 2 || a.Outputs["label"].Values[1] != "allow" || a.Outputs["half"].Values[0] != 0.5 {
		t.Errorf("%+v %+v", a, a.Outputs["score"])
	}
	o = c.Ask(t, Infer{Op: OpStream, Model: "fraud", Messages: 3})
	if o.Raised != nil || len(o.Answers) != 3 || o.Answers[2].Outputs["score"].Values[0] != score {
		t.Errorf("a stream: %+v", o)
	}
}

// TestWhatTritonClientMakesOfAnswers: only a status raises. A call that is OK
// without a message is a None, typed contents cannot be read at all (an answer
// of ours has to be raw bytes), and NaN is a number like any other.
func TestWhatTritonClientMakesOfAnswers(t *testing.T) {
	s := model(t)
	c := StartTriton(t, s.Addr())
	const exception = "tritonclient.InferenceServerException"
	for f, want := range map[fm.Fault]struct {
		raised, status, output string
		value                  any
		held                   bool
	}{
		fm.S02RateLimitedForEver: {raised: exception, status: "StatusCode.RESOURCE_EXHAUSTED"},
		fm.S04UnavailableForEver: {raised: exception, status: "StatusCode.UNAVAILABLE"},
		fm.S04AfterHeaders:       {raised: exception, status: "StatusCode.UNAVAILABLE"},
		fm.S04HTTPStatus:         {raised: exception, status: "StatusCode.UNAVAILABLE"},
		fm.S05StreamReset:        {raised: exception, status: "StatusCode.INTERNAL"},
		fm.S06NeverAnswers:       {raised: exception, status: "StatusCode.DEADLINE_EXCEEDED", held: true},
		fm.S08BodyCut:            {raised: exception, status: "StatusCode.INTERNAL"},
		fm.S08FrameShort:         {raised: "builtins.AttributeError"},
		fm.C12EmptyBody:          {raised: "builtins.AttributeError"},
		fm.C12EmptyObject:        {}, // no outputs, no exception
		fm.C13TruncatedJSON:      {raised: exception, status: "StatusCode.INTERNAL"},
		fm.C13SecondMessage:      {raised: exception, status: "StatusCode.DEADLINE_EXCEEDED", held: true},
		fm.C04NaNBitsFP32:        {value: "nan"},
		fm.C07NegInfBitsFP32:     {value: "-inf"},
		fm.C04NaNTypedFP32:       {output: "builtins.ValueError"},
		fm.C10OverRange:          {value: 7.5},
	} {
		t.Run(f.String(), func(t *testing.T) {
			before := s.Count(f)
			s.Set(f, 0)
			q := Infer{Model: "fraud"}
			if want.held {
				q.Seconds = 5
			}
			o := c.Ask(t, q)
			switch {
			case want.raised != "":
				status := ""
				if o.Raised != nil {
					status, _ = o.Raised.Status.(string)
				}
				if o.Raised == nil || o.Raised.Type != want.raised || status != want.status {
					t.Errorf("raised %+v, want %s %s", o.Raised, want.raised, want.status)
				}
			case o.Raised != nil || len(o.Answers) != 1:
				t.Errorf("raised %+v, want an answer", o.Raised)
			case want.output != "":
				if out := o.Answers[0].Outputs["score"]; out == nil || out.Raised == nil || out.Raised.Type != want.output {
					t.Errorf("as_numpy: %+v, want %s", out, want.output)
				}
			case want.value == nil:
				if len(o.Answers[0].Outputs) != 0 {
					t.Errorf("outputs %v", o.Answers[0].Outputs)
				}
			default:
				if out := o.Answers[0].Outputs["score"]; out == nil || len(out.Values) != 1 || out.Values[0] != want.value {
					t.Errorf("score %+v, want %v", out, want.value)
				}
			}
			dataplane.Eventually(t, 30*time.Second, "the fault was there", func() bool { return s.Count(f) == before+1 })
		})
	}
}

func dialModel(t *testing.T, s *fm.Server) *GRPC {
	t.Helper()
	c, err := DialGRPC(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestGRPCGoClient(t *testing.T) {
	s := model(t)
	c := dialModel(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if ready, err := c.Ready(ctx, "fraud"); !ready || err != nil {
		t.Errorf("ready: %v %v", ready, err)
	}
	for _, typed := range []bool{false, true} {
		r := c.Infer(ctx, Message{Model: "fraud", ID: "r1", Typed: typed})
		out, _ := r.Output("score")
		label, _ := r.Output("label")
		if r.Code != codes.OK || r.ID != "r1" || r.Model != "fraud" || r.Raw == typed || len(out.Values) != 1 || out.Values[0] != score || label.Values[0] != "allow" {
			t.Errorf("typed %v: %+v", typed, r)
		}
		for _, name := range []string{"probs", "embedding", "double", "half", "brain"} {
			if out, found := r.Output(name); found == (typed && (name == "half" || name == "brain")) || found && out.Values == nil {
				t.Errorf("typed %v: %s is %+v", typed, name, out)
			}
		}
	}
	// Parameters reach the model.
	plain := c.Infer(ctx, Message{Model: "fraud"})
	more := c.Infer(ctx, Message{Model: "fraud", Parameters: map[string]any{"merchant_category": "crypto", "is_international": true, "amount": int64(3), "account_age_days": 2.0}})
	a, _ := plain.Output("score")
	b, _ := more.Output("score")
	if more.Code != codes.OK || a.Values[0].(float64) >= b.Values[0].(float64) {
		t.Errorf("a crypto merchant is %v, any other %v", b.Values, a.Values)
	}
	replies := c.Stream(ctx, Message{Model: "fraud", ID: "a"}, Message{Model: "fraud", ID: "b"})
	if len(replies) != 3 || replies[0].ID != "a" || replies[1].ID != "b" || replies[2].Code != codes.OK || replies[2].Model != "" {
		t.Errorf("a stream: %+v", replies)
	}
	s.SetAt(fm.S04UnavailableForEver, 1, 0)
	replies = c.Stream(ctx, Message{Model: "fraud", ID: "a"}, Message{Model: "fraud", ID: "b"})
	if len(replies) != 2 || replies[0].ID != "a" || replies[1].Code != codes.Unavailable {
		t.Errorf("a stream that fails at its second message: %+v", replies)
	}
}

func TestWhatGRPCGoMakesOfAnswers(t *testing.T) {
	s := model(t)
	for f, want := range map[fm.Fault]codes.Code{
		fm.S04UnavailableForEver: codes.Unavailable, fm.S04AfterHeaders: codes.Unavailable, fm.S04HTTPStatus: codes.Unavailable,
		fm.S05ResetBeforeHeaders: codes.Unavailable, fm.S05StreamReset: codes.Internal,
		fm.S08BodyCut: codes.Internal, fm.S08FrameShort: codes.Internal, fm.S08NoTrailers: codes.Internal,
		fm.C12EmptyBody: codes.Internal, fm.C12EmptyObject: codes.OK, fm.C13TruncatedJSON: codes.Internal, fm.C13TrailingBytes: codes.Internal,
		fm.C13SecondMessage: codes.Internal, fm.C04NaNBitsFP32: codes.OK, fm.C04NaNTypedFP32: codes.OK,
	} {
		t.Run(f.String(), func(t *testing.T) {
			s.Set(f, 0)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			r := dialModel(t, s).Infer(ctx, Message{Model: "fraud"})
			if r.Code != want {
				t.Fatalf("%s %q, want %s", r.Code, r.Message, want)
			}
			if f.Entry() == "C04" {
				out, _ := r.Output("score")
				if v, ok := out.Values[0].(float64); !ok || !math.IsNaN(v) {
					t.Errorf("score %v", out.Values)
				}
			}
		})
	}
}

func TestHalf(t *testing.T) {
	for bits, want := range map[uint16]float64{0x3c00: 1, 0xc000: -2, 0x7bff: 65504, 1: math.Ldexp(1, -24), 0x7c00: math.Inf(1), 0xfc00: math.Inf(-1), 0x3555: 0.333251953125} {
		if got := half(bits); got != want {
			t.Errorf("%04x is %v, want %v", bits, got, want)
		}
	}
	if !math.IsNaN(half(0x7e00)) {
		t.Error("7e00 is a number")
	}
}
