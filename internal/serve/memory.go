package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/safestate/safestate/internal/store"
	"github.com/safestate/safestate/istio/controller"
)

// goodPrefix is where the store has what objects said when they were good: KIND/NS/NAME.
const goodPrefix = "/safestate/v1/good/"

// memory is a controller.Memory in the store, for who leads.
type memory struct{ in store.Store }

// All implements controller.Memory. A record that cannot be read is none.
func (m memory) All(ctx context.Context) (map[string]controller.Good, error) {
	entries, err := m.in.List(ctx, goodPrefix)
	if err != nil {
		return nil, err
	}
	out := make(map[string]controller.Good, len(entries))
	for _, e := range entries {
		var g controller.Good
		if json.Unmarshal(e.Value, &g) == nil {
			out[strings.Replace(strings.TrimPrefix(e.Key, goodPrefix), "/", " ", 1)] = g
		}
	}
	return out, nil
}

// Keep implements controller.Memory.
func (m memory) Keep(ctx context.Context, name string, good *controller.Good) error {
	key := goodPrefix + strings.Replace(name, " ", "/", 1)
	e, err := m.in.Get(ctx, key)
	there := err == nil
	switch {
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	case good == nil && !there:
		return nil
	case good == nil:
		return m.in.Delete(ctx, key, e.Revision)
	}
	value, err := json.Marshal(good)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	_, err = m.in.Put(ctx, key, value, e.Revision)
	return err
}
