package conformance

import (
	"context"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/safestate/safestate/e2e/clients"
	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
	"github.com/safestate/safestate/istio"
)

// tensors are what a GRPCRoute's policy does.
var tensors = []feature{
	overGRPC("gRPC: a GRPCRoute", "grpc", nil, func(c *check, g *clients.GRPC) {
		c.wantReply(g, fm.C04NaNBitsFP32, "safe_default", "nonfinite")
	}),
	overGRPC("gRPC: a call that fails without a message", "grpc-status", nil, func(c *check, g *clients.GRPC) {
		for _, fault := range []fm.Fault{fm.S04UnavailableForEver, fm.S05StreamReset} {
			asked := c.s.v1.Requests()
			c.wantReply(g, fault, "safe_default", "broken")
			if n := c.s.v1.Requests() - asked; n != 1 {
				c.Errorf("%s: the model was asked %d times", fault, n)
			}
		}
	}),
	overGRPC("gRPC: a late call", "grpc-late", spec{"deadline": "1500ms", "reserve": "700ms"}, func(c *check, g *clients.GRPC) {
		c.wantReply(g, fm.S06NeverAnswers, "safe_default", "")
	}),
	overGRPC("gRPC: a stream of messages, each by itself", "grpc-stream", nil, func(c *check, g *clients.GRPC) {
		ctx := metadata.AppendToOutgoingContext(c.Context(), "x-sample-fault", fm.C04NaNBitsFP32.String()+"@1")
		replies := g.Stream(ctx, clients.Message{Model: "tensors"}, clients.Message{Model: "tensors"})
		if len(replies) != 3 || replies[2].Code != codes.OK || len(replies[0].Outputs) == 0 || len(replies[1].Outputs) != 0 || replies[1].Message == "" {
			c.Errorf("want an answer, and an error in the place of one that has a NaN; got %+v", replies)
		}
	}),
	overGRPC("gRPC: other methods are not touched", "grpc-other", nil, func(c *check, g *clients.GRPC) {
		if ready, err := g.Ready(c.Context(), "tensors"); !ready || err != nil {
			c.Errorf("ModelReady: %t, %v", ready, err)
		}
	}),
	overGRPC("gRPC: `grpcLastRung: Answer`", "grpc-answer", spec{"grpcLastRung": "Answer"}, func(c *check, _ *clients.GRPC) {
		if c.p.mesh {
			c.no("`grpcLastRung` " + istio.LastRungNote)
		}
	}),
}

// overGRPC is a feature of a GRPCRoute, which runs once the model answers there.
func overGRPC(name, route string, policy spec, run func(*check, *clients.GRPC)) feature {
	if policy == nil {
		policy = spec{}
	}
	return feature{name: name, route: route, model: "tensors", grpc: true, policy: policy, settles: "-", run: func(c *check) {
		authority := route + c.p.host
		if !c.p.hosts {
			authority += ":" + strconv.Itoa(c.s.port)
		}
		g, err := clients.DialGRPC(c.p.addr, grpc.WithAuthority(authority))
		if err != nil {
			c.Fatal(err)
		}
		defer g.Close()
		var last clients.Reply
		defer func() {
			if c.Failed() {
				c.Logf("the last reply: %+v", last)
			}
		}()
		dataplane.Eventually(c, patience, "the model answers", func() bool {
			last = c.call(g, fm.None)
			return last.Code == codes.OK && last.Meta("x-safestate-source") == "primary"
		})
		run(c, g)
	}}
}

func (c *check) call(g *clients.GRPC, fault fm.Fault) clients.Reply {
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	if fault != fm.None {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-sample-fault", fault.String())
	}
	return g.Infer(ctx, clients.Message{Model: "tensors"})
}

// wantReply calls, and fails the case unless the answer has a source, and a reason that
// begins so.
func (c *check) wantReply(g *clients.GRPC, fault fm.Fault, source, reason string) {
	c.Helper()
	r := c.call(g, fault)
	if r.Code != codes.OK || r.Meta("x-safestate-source") != source || !strings.HasPrefix(r.Meta("x-safestate-reason"), reason) {
		c.Errorf("%s: want an answer from %q because of %q; got %+v", fault, source, reason, r)
	}
}
