package compile

import "github.com/safestate/safestate/internal/config"

// DirWith is Dir for a folder whose world edit changes before it is compiled: it
// puts other content in the place of what a file says. A world with mistakes is
// not edited.
func DirWith(dir string, edit func(*config.World) config.Problems) (*Snapshot, config.Problems) {
	w, problems := config.Load(dir)
	return World(w, problems, edit)
}

// World is DirWith for a world that was read elsewhere, with what is wrong with it.
func World(w *config.World, problems config.Problems, edit func(*config.World) config.Problems) (*Snapshot, config.Problems) {
	if !problems.Failed() {
		problems = append(problems, edit(w)...)
	}
	return finish(w, problems)
}
