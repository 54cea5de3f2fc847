package signals

import "github.com/safestate/safestate/internal/signals/slot"

// Place is one of Places places, in one of which every caller is.
type Place = slot.Place

// PlaceOf returns the place of who asks: see slot.OfCaller.
func PlaceOf(source string) Place { return slot.OfCaller(source) }
