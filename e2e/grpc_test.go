package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/safestate/safestate/e2e/clients"
	"github.com/safestate/safestate/e2e/dataplane"
	fm "github.com/safestate/safestate/e2e/faultmodel"
)

// grpcDialect is what the policies have to know of gRPC: that of Open Inference
// V2 with raw bytes.
var grpcDialect = dialects[fm.V2B]

// grpcGroups are the groups of tensors that gRPC has routes of.
var grpcGroups = []string{"main", "breaker", "value", "maximum", "margin", "contract", "constant"}

// routeHeader says which route a call takes: the path of a gRPC call does not
// name a model.
const routeHeader = "x-route"

// grpcPlane is a data plane with a route of every group to every lane's model,
// all with the same fallback.
func grpcPlane(t *testing.T, in []*lane) (*dataplane.Plane, *fm.Server) {
	t.Helper()
	fallback, err := fm.Start(fm.Options{Version: "small"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fallback.Close)
	dir := t.TempDir()
	for _, l := range in {
		for _, name := range grpcGroups {
			writeGRPCRoute(t, dir, l, fallback, name, grpcRoute(l, name), "Unavailable")
		}
		writeGRPCRoute(t, dir, l, fallback, "main", grpcRoute(l, "answer"), "Answer")
	}
	return dataplane.Start(t, dataplane.Options{Config: dir}), fallback
}

func writeGRPCRoute(t *testing.T, dir string, l *lane, fallback *fm.Server, group, route, lastRung string) {
	t.Helper()
	for _, g := range groups {
		if g.name != group {
			continue
		}
		text := fill(t, "grpc-route.yaml.tmpl", map[string]any{
			"Route": route, "PrimaryPort": l.model.Port(), "FallbackPort": fallback.Port(), "Deadline": deadline,
			"Detect": g.detect(grpcDialect), "Default": grpcDialect.safe, "Breaker": orElse(g.breaker, patient), "LastRung": lastRung,
		})
		if err := os.WriteFile(filepath.Join(dir, route+".yaml"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// grpcRoute is the name of a route, and of the model that it leads to.
func grpcRoute(l *lane, group string) string { return "grpc-" + group + "-" + l.name }

// dialGRPC makes a grpc-go client of a data plane.
func dialGRPC(t *testing.T, plane *dataplane.Plane) *clients.GRPC {
	t.Helper()
	c, err := clients.DialGRPC(plane.Traffic)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// rows are different in every call: a constant answer, and a cached one, would
// show.
func rows(n int) [][]float32 {
	out := make([][]float32, n)
	for i := range out {
		k := serial.Add(1)
		out[i] = []float32{float32(100+k%9000) + 0.5, float32(k % 400), 0, 0}
	}
	return out
}

// infer makes one unary call by a route.
func infer(c *clients.GRPC, route string, m clients.Message) (clients.Reply, time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	m.Model = route
	begun := time.Now()
	r := c.Infer(metadata.AppendToOutgoingContext(ctx, routeHeader, route), m)
	return r, time.Since(begun)
}
