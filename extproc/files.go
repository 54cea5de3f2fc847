package extproc

import (
	"fmt"
	"strings"

	"github.com/safestate/safestate/internal/policy"
	"github.com/safestate/safestate/internal/telemetry"
	"github.com/safestate/safestate/internal/tenant"
)

// refuseFiles refuses a policy that names a file which is not of the namespace of the
// object that it comes from: a rung's model, or the policy itself. Who made the policy
// has held it to that, and this process has the files. nil: all may be named.
func refuseFiles(below tenant.Files, p *policy.Policy) error {
	foreign := func(object string, names ...string) error {
		namespace, _, _ := strings.Cut(object, "/")
		for _, name := range names {
			if name != "" && !below.Allows(namespace, name) {
				return &refusedError{telemetry.RefusedFiles, fmt.Sprintf("the policy %s, on route %s, names %q for %s: want a file below %s", p.Name, p.Route, name, object, below.Folder(namespace))}
			}
		}
		return nil
	}
	of := func(m *policy.Fallback) error {
		if m == nil {
			return nil
		}
		names := []string{m.Credentials}
		if m.TLS != nil {
			names = append(names, m.TLS.CAFile, m.TLS.CertFile, m.TLS.KeyFile)
		}
		return foreign(m.Model, names...)
	}
	for i := range p.Ladder {
		r := &p.Ladder[i]
		err := of(r.Fallback)
		if err == nil && r.Cache != nil {
			err = of(r.Cache.Origin)
		}
		if err == nil && r.SafeDefault != nil && r.SafeDefault.Refresh != nil {
			err = foreign(p.Name, r.SafeDefault.Refresh.File)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
