package control

import "time"

// tellsLeftOut is how often the log says that rows of reports are left out, while
// more of them are.
const tellsLeftOut = time.Minute

// leftOut is what the log has said of rows that the hub does not take in.
type leftOut struct {
	rows uint64
	told time.Time
}

// tell says that there are more of them.
func (l *leftOut) tell(c *Control, now time.Time) {
	s := c.o.Hub.Stats()
	if s.LeftOut == l.rows || now.Sub(l.told) < tellsLeftOut {
		return
	}
	c.o.Log.Warn().Uint64("rows", s.LeftOut-l.rows).Str("last", s.LastLeftOut).Msg("rows of hosts' reports are left out: they are no evidence")
	l.rows, l.told = s.LeftOut, now
}
