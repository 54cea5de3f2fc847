package serve

import "testing"

func TestOnlyLocal(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:18000": true, "127.8.8.8:1": true, "[::1]:18000": true, "localhost:18000": true,
		"unix:/run/s.sock": true, "unix:///run/s.sock": true,
		"0.0.0.0:18000": false, ":18000": false, "[::]:18000": false, "10.0.0.1:18000": false, "example.com:1": false, "18000": false,
	} {
		if err := onlyLocal("--grpc", address); (err == nil) != want {
			t.Errorf("%s: %v", address, err)
		}
	}
}
