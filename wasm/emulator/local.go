package emulator

import (
	"net/url"
	"strconv"
)

// local is a reply that Envoy makes itself, or has the filter make.
type local struct {
	status  int
	headers [][2]string
	body    string
	details string
	grpc    int32 // -1: from the status
}

// local answers the caller. What comes of the model no longer matters. Before
// there are response headers the reply passes the filter; until they have left
// it goes to the caller; after that all that Envoy can do is to break off.
func (s *Stream) local(r local) {
	if s.done {
		return
	}
	s.request.aborted = true
	s.details, s.answered = r.details, true
	headers, body := s.written(r)
	switch {
	case !s.response.seen:
		s.headersSeen(&s.response, headers, body == "")
		if body != "" {
			s.bodySeen(&s.response, []byte(body), true)
		}
	case !s.response.left:
		s.response.aborted = true
		out := (*downstream)(s)
		out.sendHeaders(headers, body == "")
		if body != "" {
			out.sendBody([]byte(body), true)
		}
	default:
		s.finish(true)
	}
}

// written is the reply as Envoy writes it.
func (s *Stream) written(r local) (headers [][2]string, body string) {
	headers = append(headers, [2]string{":status", strconv.Itoa(r.status)})
	for _, h := range r.headers {
		if h[0] != "content-length" {
			headers = append(headers, h)
		}
	}
	if s.isGRPC {
		headers[0][1] = "200"
		headers = set(headers, "content-type", "application/grpc")
		if r.grpc < 0 || r.grpc > 16 {
			r.grpc = grpcStatus(r.status)
		}
		headers = set(headers, "grpc-status", strconv.Itoa(int(r.grpc)))
		if r.body != "" {
			headers = set(headers, "grpc-message", url.PathEscape(r.body))
		}
		return headers, ""
	}
	if r.body == "" {
		return remove(headers, "content-type"), ""
	}
	headers = append(headers, [2]string{"content-length", strconv.Itoa(len(r.body))})
	if first(headers, "content-type") == "" {
		headers = append(headers, [2]string{"content-type", "text/plain"})
	}
	if s.isHEAD {
		return headers, ""
	}
	return headers, r.body
}

func set(headers [][2]string, name, value string) [][2]string {
	return append(remove(headers, name), [2]string{name, value})
}

func remove(headers [][2]string, name string) [][2]string {
	var out [][2]string
	for _, h := range headers {
		if h[0] != name {
			out = append(out, h)
		}
	}
	return out
}

// grpcStatus is the status of a call that got an HTTP status, by gRPC's table.
func grpcStatus(status int) int32 {
	switch status {
	case 400:
		return 13
	case 401:
		return 16
	case 403:
		return 7
	case 404:
		return 12
	case 429, 502, 503, 504:
		return 14
	}
	return 2
}
