package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/safestate/safestate/envoy"
	"github.com/safestate/safestate/internal/compile"
	"github.com/safestate/safestate/internal/config"
	"github.com/safestate/safestate/internal/kill"
)

// world is a configuration as users write it: the sample of fraud scoring, with
// its policy, once for each model. A change is one of the first model and of
// nothing else.
type world struct {
	snapshot *compile.Snapshot
	options  envoy.Options
	kill     kill.State // of the first model
}

// modelName is the i-th model's.
func modelName(i int) string { return fmt.Sprintf("model%03d", i) }

// newWorld compiles the sample once for each model; the first model's versions
// are at the ports given, if any.
func newWorld(samples string, models int, ports []string) (*world, error) {
	var sample strings.Builder
	files, err := filepath.Glob(filepath.Join(samples, "fraud", "*.yaml"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no sample in %s/fraud", samples)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		sample.Write(text)
		sample.WriteString("\n---\n")
	}
	var texts []config.File
	for i := range models {
		text := strings.ReplaceAll(sample.String(), "fraud", modelName(i))
		if i == 0 && len(ports) == 2 {
			text = strings.NewReplacer("port: 9101", "port: "+ports[0], "port: 9102", "port: "+ports[1]).Replace(text)
		}
		texts = append(texts, config.File{Name: modelName(i) + ".yaml", Data: []byte(text)})
	}
	snapshot, problems := compile.Files(texts...)
	if snapshot == nil {
		return nil, fmt.Errorf("the sample does not compile: %v", problems)
	}
	return &world{snapshot: snapshot, options: envoy.Options{Listen: "127.0.0.1:0"}}, nil
}

// shareOf is the weight of the first model's second version after a flip: never
// what it was before, and never the 0 of the other models.
func shareOf(flip int) uint32 { return uint32(1 + flip*37%99) }

// with renders the world with a share, in percent, of the first model's second
// version.
func (w *world) with(share uint32) (*envoy.Resources, error) {
	s := *w.snapshot
	s.Routes = slices.Clone(s.Routes)
	for i := range s.Routes {
		r := &s.Routes[i]
		if !strings.Contains(r.Name, modelName(0)) {
			continue
		}
		r.Backends = slices.Clone(r.Backends)
		r.Backends[0].Weight, r.Backends[1].Weight = 100-share, share
	}
	return envoy.Render(&s, w.options)
}
