package release

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Register notes versions that are seen first, and returns an error for each
// whose artifact's URI or digest is another than the one that its name was
// registered with: the caller then refuses the whole configuration. What a
// version did not say first it may say later, once.
func Register(s State, versions map[string]VersionInfo, now time.Time) (State, []error) {
	t, err := begin(s, Input{Versions: versions}, now)
	if err != nil {
		return s, []error{err}
	}
	errs := t.register()
	if t.s.Sequence != s.Sequence {
		t.fit()
	}
	return t.s, errs
}

func (t *turn) register() []error {
	if err := t.tooMany(); err != nil {
		return []error{err}
	}
	var errs []error
	for _, v := range slices.Sorted(maps.Keys(t.in.Versions)) {
		info, known := t.in.Versions[v], t.s.Versions[v]
		if err := known.conflict(t.s.Model, v, info); err != nil {
			errs = append(errs, err)
			continue
		}
		first := known.At.IsZero()
		next := known
		if first {
			next.At = t.now
		}
		next.URI, next.Digest = line(info.URI), line(info.Digest)
		if next == known {
			continue
		}
		put(&t.s.Versions, v, next)
		reason := "artifact " + next.URI + " " + next.Digest
		if next.URI == "" && next.Digest == "" {
			reason = "no artifact is named"
		}
		t.record(Record{Kind: KindRegistered, Version: v, Reason: reason})
	}
	return errs
}

// tooMany says that the files name more than can be kept.
func (t *turn) tooMany() error {
	size := 0
	for v, info := range t.in.Versions {
		size += len(v) + min(len(info.URI), maxLine) + min(len(info.Digest), maxLine)
	}
	if size <= mostArtifacts {
		return nil
	}
	return fmt.Errorf("%s: the names and artifacts of its %d versions have %d bytes, more than %d: take old ones out of the files",
		t.s.Model, len(t.in.Versions), size, mostArtifacts)
}

// conflict says why a version is not the one that has its name.
func (r Registered) conflict(model, version string, info VersionInfo) error {
	for _, part := range []struct{ what, known, said string }{
		{"digest", r.Digest, line(info.Digest)},
		{"artifact", r.URI, line(info.URI)},
	} {
		if part.known != "" && part.said != part.known {
			return fmt.Errorf("%s: version %s is registered with %s %s and now has %s: a version never changes, give the new one a name of its own",
				model, version, part.what, part.known, orNone(part.said))
		}
	}
	return nil
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

// Drift is a difference between the weights of the files and those that hold.
type Drift struct {
	Version string `json:"version"`
	Files   int    `json:"files"`   // percent
	Release int    `json:"release"` // percent
}

// Drifts are the differences, by name. There are none before the first release,
// nor where the files give the model no traffic at all.
func Drifts(s State, versions map[string]VersionInfo) []Drift {
	files := percent(versions, func(string) bool { return false })
	if !s.Released || files == nil {
		return nil
	}
	names := maps.Clone(files)
	maps.Copy(names, s.Weights)
	var out []Drift
	for _, v := range slices.Sorted(maps.Keys(names)) {
		if files[v] != s.Weights[v] {
			out = append(out, Drift{Version: v, Files: files[v], Release: s.Weights[v]})
		}
	}
	return out
}
