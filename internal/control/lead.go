package control

import "github.com/safestate/safestate/internal/release"

// Led returns how a model stands, and whether this replica leads: who does not
// tells nobody of it.
func (c *Control) Led(model string) (s release.State, leads bool) {
	return c.book.get(model).state, c.leads()
}
