package controller

import (
	"fmt"
	"maps"
	"slices"

	"github.com/safestate/safestate/internal/config"
)

// mostSuspects bounds how many objects are tried for one mistake: each is a compilation.
const mostSuspects = 50

// culprit finds the object that has changed since it was good, or is new, without which
// objects that have not changed are good still: what somebody writes elsewhere takes
// nothing away that was in use. mistakes are those with files as they are, and compiled
// tells those of others. Empty: nobody alone is at fault.
func (l *lastGood) culprit(files map[string][]byte, mistakes config.Problems, compiled func(map[string][]byte) config.Problems) string {
	harmed := map[string]bool{}
	for _, p := range mistakes {
		if last := l.text[p.File]; last != nil && string(last) == string(files[p.File]) {
			harmed[p.File] = true
		}
	}
	if len(harmed) == 0 {
		return ""
	}
	var suspects []string
	for name, text := range files {
		if last := l.text[name]; last == nil || string(last) != string(text) {
			suspects = append(suspects, name)
		}
	}
	slices.Sort(suspects)
	for _, name := range suspects[:min(len(suspects), mostSuspects)] {
		trial := maps.Clone(files)
		l.revert(trial, name)
		if !slices.ContainsFunc(compiled(trial), func(p config.Problem) bool { return harmed[p.File] }) {
			return name
		}
	}
	return ""
}

// revert has an object say what it said when it was good, or nothing.
func (l *lastGood) revert(files map[string][]byte, name string) {
	if last := l.text[name]; last != nil && string(last) != string(files[name]) {
		files[name] = last
	} else {
		delete(files, name)
	}
}

// because refuses an object for what would become of others with it.
func because(name string, mistakes config.Problems) config.Problems {
	var out config.Problems
	for _, p := range mistakes {
		if p.File != name {
			out = append(out, config.Problem{File: name, Field: "spec", Message: fmt.Sprintf("with it %s", p)})
		}
	}
	return out
}
