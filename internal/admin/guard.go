package admin

import (
	"mime"
	"net"
	"net/http"
	"slices"
	"strings"
)

// The header by which a client makes a repeated request safe.
const idempotencyHeader = "Idempotency-Key"

// hostAllowed holds the Host header against the names under which the API is
// known: a page whose own name was made to resolve to this machine (DNS
// rebinding) would otherwise be of the API's origin to a browser.
func hostAllowed(r *http.Request, known []string) error {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() || slices.Contains(known, host) {
		return nil
	}
	return &Problem{Status: http.StatusMisdirectedRequest, Field: "Host",
		Message: "is no name of this server", Hint: "ask by localhost or a loopback address, or by a name that the server was given"}
}

// changeAllowed checks what a request that changes something must carry. A
// browser cannot send it from another page without asking first, and is then
// told nothing: there is no CORS here.
func changeAllowed(r *http.Request, crossOrigin *http.CrossOriginProtection) error {
	if err := crossOrigin.Check(r); err != nil {
		return forbidden("the request comes from a page of another origin", "use the command line")
	}
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := params["charset"]
	delete(params, "charset")
	if err != nil || media != "application/json" || len(params) > 0 || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return &Problem{Status: http.StatusUnsupportedMediaType, Field: "Content-Type", Message: "is not application/json"}
	}
	if r.Header.Get("Content-Encoding") != "" {
		return &Problem{Status: http.StatusUnsupportedMediaType, Field: "Content-Encoding", Message: "is not supported", Hint: "send the body as it is"}
	}
	return nil
}

// notEmbedded refuses what a page that a person looks at has asked for: a browser
// sends a GET without a question, and says for which page.
func notEmbedded(r *http.Request) error {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return nil
	}
	return forbidden("the request comes from a page of another origin", "use the command line")
}
