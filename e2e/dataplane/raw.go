package dataplane

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"
)

// RawAnswer is an answer as the bytes on the wire had it.
type RawAnswer struct {
	StatusLine string
	Header     []string // lines, in order
	Body       []byte   // as transferred: chunks are not joined
}

// Raw sends a request over a connection of its own and reads to its end, with
// no HTTP library in between that could tidy the answer up.
func Raw(addr string, q Request) (RawAnswer, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return RawAnswer{}, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(giveUp)); err != nil {
		return RawAnswer{}, err
	}
	var b bytes.Buffer
	method := q.Method
	if method == "" {
		method = "POST"
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: %d\r\n", method, q.Path, len(q.Body))
	if len(q.Body) > 0 {
		b.WriteString("Content-Type: application/json\r\n")
	}
	keys := make([]string, 0, len(q.Header))
	for k := range q.Header {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		for _, v := range q.Header[k] {
			fmt.Fprintf(&b, "%s: %s\r\n", k, v)
		}
	}
	b.WriteString("\r\n")
	b.Write(q.Body)
	if _, err := conn.Write(b.Bytes()); err != nil {
		return RawAnswer{}, err
	}
	all, err := io.ReadAll(conn)
	if err != nil {
		return RawAnswer{}, err
	}
	head, body, ok := bytes.Cut(all, []byte("\r\n\r\n"))
	if !ok {
		return RawAnswer{}, fmt.Errorf("no end of headers in %.200q", all)
	}
	lines := strings.Split(string(head), "\r\n")
	return RawAnswer{StatusLine: lines[0], Header: lines[1:], Body: body}, nil
}

// Without returns the header lines whose names do not start with any of the
// given prefixes, in lower case.
func (a RawAnswer) Without(prefixes ...string) []string {
	var out []string
	for _, line := range a.Header {
		lower := strings.ToLower(line)
		if !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(lower, p) }) {
			out = append(out, line)
		}
	}
	return out
}
