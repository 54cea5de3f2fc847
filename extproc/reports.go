package extproc

import (
	"io"
	"net/http"

	"google.golang.org/protobuf/proto"

	"github.com/safestate/safestate/internal/signals/signalsv1"
)

// mostReport is the largest report that is read, in bytes: what a hub takes at the
// most.
const mostReport = 1 << 20

// takeReport takes a report of a filter inside Envoy, and hands it to whoever gathers
// them. It is answered 204; where nobody gathers 404, upon which the filter tries again
// seldom, and where it is refused 400 with the reason, or 403 where it is another's.
func (s *Server) takeReport(w http.ResponseWriter, r *http.Request) {
	if s.reports == nil {
		http.Error(w, "nobody gathers reports here: this safestate has no control plane", http.StatusNotFound)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, mostReport+1))
	if err != nil {
		http.Error(w, "the report did not come whole", http.StatusBadRequest)
		return
	}
	if len(body) > mostReport {
		http.Error(w, "the report is larger than 1 MiB", http.StatusRequestEntityTooLarge)
		return
	}
	m := &signalsv1.Report{}
	if err := proto.Unmarshal(body, m); err != nil {
		http.Error(w, "the report is no message of signals.proto", http.StatusBadRequest)
		return
	}
	if !s.reportsFor(r.TLS, m) {
		http.Error(w, "the report names a proxy that is not of your certificate's namespace", http.StatusForbidden)
		return
	}
	m.InProxy = true // whatever it says: no other reporter comes this way
	m.Kills, m.InFlight, m.Held = "", 0, 0
	if err := s.reports(m); err != nil {
		http.Error(w, "the report is refused: "+err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
