// Probe is the health check of container images that have no shell: it asks a
// URL and exits 0 when the status is 200.
//
//	probe http://127.0.0.1:8686/readyz
package main

import (
	"fmt"
	"net/http"
	"os"
	"time"
)

// timeout is under the health checks' own.
const timeout = 2 * time.Second

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: probe URL")
		os.Exit(2)
	}
	if err := probe(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func probe(url string) error {
	client := http.Client{Timeout: timeout}
	r, err := client.Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = r.Body.Close() }()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, r.Status)
	}
	return nil
}
