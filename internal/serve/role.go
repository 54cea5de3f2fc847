package serve

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/safestate/safestate/internal/tenant"
)

// Role says which half of safestate a process is.
type Role string

// The roles. In production they run apart, so that one's restart does not touch
// the other.
const (
	RoleAll     Role = "all"
	RoleExtProc Role = "extproc" // judges and answers; needs no configuration of its own
	RoleControl Role = "control" // keeps releases and configures the proxies
)

// processes reports whether the role judges answers.
func (r Role) processes() bool { return r != RoleControl }

// controls reports whether the role configures proxies.
func (r Role) controls() bool { return r != RoleExtProc }

// check finds what contradicts the role.
func (o *Options) check() error {
	switch o.Role {
	case RoleAll, RoleExtProc, RoleControl:
	default:
		return fmt.Errorf("--role %q is none: want all, extproc or control", o.Role)
	}
	switch {
	case o.TLS.set() && (o.TLS.Cert == "" || o.TLS.Key == "" || o.TLS.ClientCA == ""):
		return errTLSFiles
	case o.TLS.ProxyCA != "" && o.Role != RoleExtProc:
		return fmt.Errorf("--tls-proxy-ca is for --role extproc: whoever may dial a control plane reports to it, and a mesh gives every workload a certificate")
	case o.SocketPlain && !o.onSocket():
		return fmt.Errorf("--socket-plain is for --role extproc with Unix sockets: want --grpc and --answers unix:PATH")
	case o.FilesBelow != "" && !o.Role.processes():
		return fmt.Errorf("--files-below is for a process that judges answers: --role %s opens no file of a policy", o.Role)
	case o.FilesBelow != "" && (!filepath.IsAbs(o.FilesBelow) || filepath.Clean(o.FilesBelow) != o.FilesBelow || o.FilesBelow == "/"):
		return fmt.Errorf("--files-below is %q: want a folder such as %s, without . and .. and a slash at its end", o.FilesBelow, tenant.MeshFiles)
	case o.Role.controls() && o.ConfigDir == "" && o.Mesh.Name == "":
		return fmt.Errorf("--role %s needs a configuration: name its folder by --config", o.Role)
	case !o.Role.controls() && o.ConfigDir != "":
		return fmt.Errorf("--role %s has no configuration of its own, it comes with each request: leave out --config", o.Role)
	case o.Role.controls() && len(o.Control) > 0:
		return fmt.Errorf("--control is for --role extproc: this process is the control plane")
	case o.NoReleases && len(o.Etcd) > 0:
		return fmt.Errorf("--etcd-endpoints and --no-releases exclude each other")
	}
	return o.checkMesh()
}

// onSocket reports whether only who is on this machine reaches the processor.
func (o *Options) onSocket() bool {
	_, grpc := cutUnix(o.GRPC)
	_, answers := cutUnix(o.Answers)
	return o.Role == RoleExtProc && grpc && answers
}

// replicaName is what this process is called among its like: names have no
// blanks.
func replicaName() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "safestate"
	}
	return fmt.Sprintf("%s-%d", host, os.Getpid())
}
