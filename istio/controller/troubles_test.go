package controller

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestOnce: what goes on is told once, and again where it comes back.
func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		tell := once(func(err error) { told = append(told, err.Error()) })
		for range 200 {
			tell(errors.New("a"))
			time.Sleep(time.Second)
		}
		tell(errors.New("b"))
		tell(errors.New("a"))
		time.Sleep(forgetProblem)
		tell(errors.New("a"))
		if want := []string{"a", "b", "a"}; !slices.Equal(told, want) {
			t.Errorf("told %q", told)
		}
	})
}
