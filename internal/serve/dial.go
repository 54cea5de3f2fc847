package serve

import (
	"context"
	"crypto/tls"
	"net"

	"google.golang.org/grpc/credentials"
)

// client are the credentials of one who dials a server that has files of the same
// authorities. The files are read at each handshake, the authorities as well, so
// that renewed ones count.
func (f TLSFiles) client() (credentials.TransportCredentials, error) {
	f.ProxyCA = "" // a mesh vouches for who dials, and not for who is dialled
	if _, err := f.read(); err != nil {
		return nil, err
	}
	return &renewing{TransportCredentials: credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12}), files: f}, nil
}

// renewing is TLS with a configuration of its own for each connection.
type renewing struct {
	credentials.TransportCredentials // for what is not a handshake
	files                            TLSFiles
}

// ClientHandshake implements credentials.TransportCredentials.
func (r *renewing) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	now, err := r.files.read()
	if err != nil {
		return nil, nil, err
	}
	once := credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: now.ClientCAs, Certificates: now.Certificates})
	return once.ClientHandshake(ctx, authority, conn)
}

// Clone implements credentials.TransportCredentials.
func (r *renewing) Clone() credentials.TransportCredentials {
	return &renewing{TransportCredentials: r.TransportCredentials.Clone(), files: r.files}
}
