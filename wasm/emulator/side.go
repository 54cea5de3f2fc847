package emulator

import "slices"

// side is one direction of a stream, as Envoy's filter manager and the wasm
// filter keep it.
type side struct {
	headers  [][2]string
	readable bool // the filter has the headers
	seen     bool // headers have come to the filter
	left     bool // and have gone on from it
	stopped  stopped
	end      bool // the last piece has come
	aborted  bool // nobody waits for it any more

	buffer    []byte  // held by pauses
	held      bool    // there is a buffer, if an empty one
	buffering bool    // the filter sees the buffer
	piece     *[]byte // else what has just come

	trailers         [][2]string
	hasTrailers      bool
	trailersReadable bool

	callbacks callbacks
	out       sink
}

// callbacks are the names of a direction's callbacks.
type callbacks struct{ headers, body, trailers string }

// sink is where a direction goes on from the filter.
type sink interface {
	sendHeaders(headers [][2]string, end bool)
	sendBody(piece []byte, end bool)
	sendTrailers(trailers [][2]string)
}

type stopped int

const (
	going   stopped = iota
	single          // held, but the filter sees what comes
	all             // held, and so is what comes
	dropped         // a piece is not kept
)

// visible returns where the bytes are that the filter sees, or nil.
func (d *side) visible() *[]byte {
	if d.buffering {
		return &d.buffer
	}
	return d.piece
}

// headersSeen hands headers to the filter.
func (s *Stream) headersSeen(d *side, headers [][2]string, end bool) {
	d.headers, d.seen, d.readable, d.end = slices.Clone(headers), true, true, end
	result, ok := s.callback(d, d.callbacks.headers, uint32(len(headers)), truth(end))
	if !ok {
		return
	}
	if d.stopped = s.vm.headersResult(result); d.stopped == going {
		d.readable = false
		s.goOn(d)
	}
}

func (r result) over(most uint32) bool { return r.stop || r.value > most }

func (m *machine) headersResult(r result) stopped {
	switch {
	case r.over(1) || r.value == 1 && m.host.options.StopAll:
		return all
	case r.value == 1:
		return single
	}
	return going
}

// bodySeen hands a piece of a body to the filter.
func (s *Stream) bodySeen(d *side, piece []byte, end bool) {
	if s.done || d.aborted {
		return
	}
	d.end = end
	if d.stopped == all {
		d.buffer, d.held = append(d.buffer, piece...), true
		return
	}
	piece = slices.Clone(piece)
	if d.buffering {
		if !s.hold(d, piece) {
			return
		}
		piece = nil
	}
	d.piece = &piece
	r, ok := s.callback(d, d.callbacks.body, uint32(len(*d.visible())), truth(end))
	if !ok {
		return
	}
	d.buffering = false
	switch {
	case r.over(2):
		d.stopped, d.piece = single, nil
	case r.value != 0:
		d.stopped, d.buffering = single, true
		s.hold(d, piece)
	case d.stopped == single:
		d.buffer, d.held, d.piece = append(d.buffer, piece...), true, nil
		s.goOn(d)
	default:
		d.piece = nil
		d.out.sendBody(piece, end)
	}
}

// hold keeps a piece. Past the limit of the buffer Envoy answers itself, and
// hold reports false.
func (s *Stream) hold(d *side, piece []byte) bool {
	d.buffer, d.held = append(d.buffer, piece...), true
	if len(d.buffer) <= s.vm.host.options.BufferLimit {
		return true
	}
	if d == &s.request {
		s.local(local{status: 413, body: "Payload Too Large", details: "request_payload_too_large", grpc: -1})
	} else {
		s.local(local{status: 500, body: "Internal Server Error", details: "response_payload_too_large", grpc: -1})
	}
	return false
}

// trailersSeen hands trailers to the filter.
func (s *Stream) trailersSeen(d *side, trailers [][2]string) {
	if s.done || d.aborted {
		return
	}
	d.trailers, d.hasTrailers, d.end = slices.Clone(trailers), true, true
	if d.stopped == all {
		return
	}
	d.trailersReadable = true
	r, ok := s.callback(d, d.callbacks.trailers, uint32(len(trailers)))
	if !ok {
		return
	}
	switch {
	case r.over(0):
		d.stopped = single
	case d.stopped == single:
		s.goOn(d)
	default:
		d.out.sendTrailers(d.trailers)
	}
}

// goOn sends what was held, and lets the rest through.
func (s *Stream) goOn(d *side) {
	again := d.stopped == all
	d.stopped = going
	if !d.left {
		d.left = true
		d.out.sendHeaders(slices.Clone(d.headers), d.end && !d.held && !d.hasTrailers)
	}
	if d.held && !s.done {
		piece := d.buffer
		d.buffer, d.held = nil, false
		if again { // the filter has not seen it
			s.bodySeen(d, piece, d.end && !d.hasTrailers)
		} else {
			d.out.sendBody(piece, d.end && !d.hasTrailers)
		}
	}
	if d.hasTrailers && !s.done {
		if again {
			s.trailersSeen(d, d.trailers)
		} else {
			d.out.sendTrailers(d.trailers)
		}
	}
}

func truth(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}
