package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one mistake or one warning, at the place where it is mended.
type Problem struct {
	File    string // as given to Load, with the folder; empty for objects that came from no file
	Line    int    // from 1; 0 where no line is to blame
	Object  string // "FailSafePolicy default/fraud"; empty where none could be read
	Field   string // spec.detect.confidence.min; empty for a whole document or file
	Message string // what is wrong; what would be right
	Warning bool   // true: the configuration is applied all the same
}

// String writes file:line: field: message. Without a file the object's name
// stands in its place.
func (p Problem) String() string {
	var b strings.Builder
	switch {
	case p.File == "" && p.Object != "":
		b.WriteString(p.Object + ": ")
	case p.Line > 0:
		fmt.Fprintf(&b, "%s:%d: ", p.File, p.Line)
	case p.File != "":
		b.WriteString(p.File + ": ")
	}
	if p.Warning {
		b.WriteString("warning: ")
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Problems is every mistake of one load, ordered by file, line and field.
type Problems []Problem

// Errors returns those that keep a configuration from being applied.
func (ps Problems) Errors() Problems { return ps.only(false) }

// Warnings returns those that do not.
func (ps Problems) Warnings() Problems { return ps.only(true) }

func (ps Problems) only(warning bool) Problems {
	var out Problems
	for _, p := range ps {
		if p.Warning == warning {
			out = append(out, p)
		}
	}
	return out
}

// Failed reports whether there is any error.
func (ps Problems) Failed() bool {
	return slices.ContainsFunc(ps, func(p Problem) bool { return !p.Warning })
}

// Err returns the errors as one error, nil where there is none. Its text has a
// line for each.
func (ps Problems) Err() error {
	errs := ps.Errors()
	if len(errs) == 0 {
		return nil
	}
	return problemsError(errs)
}

type problemsError Problems

func (e problemsError) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Sorted returns the problems in their order, each once.
func (ps Problems) Sorted() Problems {
	out := slices.Clone(ps)
	slices.SortStableFunc(out, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Object, b.Object),
			cmp.Compare(a.Field, b.Field),
			cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(out)
}
