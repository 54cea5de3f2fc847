package main

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// wire is one gRPC call with messages both ways on a connection of its own, as
// a proxy has to its control plane: HTTP/2 by frames, one goroutine. A whole
// gRPC client would cost the machine more than the server that is measured,
// and memory that 5,000 of them do not have.
type wire struct {
	conn   net.Conn
	first  [256]byte // what waits for the next message
	unread uint32    // bytes of the window used since it was last raised
	out    []byte    // what is to be said, and was not written yet
}

const (
	// window is what Envoy grants its control plane, in bytes.
	window    = 16 << 20
	oneStream = 1
	header    = 9 // of a frame
	prefix    = 5 // of a gRPC message: not compressed, length
)

// buffers are lent for the time of one message.
var buffers = sync.Pool{New: func() any { return &buffer{bytes: make([]byte, 128<<10)} }}

// buffer holds what was read: messages, put together from their frames, at its
// beginning.
type buffer struct {
	bytes   []byte
	message int // the end of what is put together
	at, end int // what is not looked at yet
}

// dialWire connects, over TLS where there are settings of it, and begins the call.
func dialWire(address, path string, secure *tls.Config) (_ *wire, err error) {
	var conn net.Conn
	dialer, scheme := &net.Dialer{KeepAlive: -1}, "http" // as at the servers
	if secure == nil {
		conn, err = dialer.Dial("tcp", address)
	} else {
		scheme = "https"
		conn, err = tls.DialWithDialer(dialer, "tcp", address, secure)
	}
	if err != nil {
		return nil, err
	}
	var out, block bytes.Buffer
	fields := hpack.NewEncoder(&block)
	for _, h := range [][2]string{
		{":method", "POST"}, {":scheme", scheme}, {":path", path}, {":authority", address},
		{"te", "trailers"}, {"content-type", "application/grpc"},
	} {
		if err := fields.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
			return nil, err
		}
	}
	out.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&out, nil)
	err = errors.Join(
		f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}),
		f.WriteWindowUpdate(0, window-(64<<10-1)),
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: oneStream, BlockFragment: block.Bytes(), EndHeaders: true}),
	)
	if err != nil {
		return nil, err
	}
	_, err = conn.Write(out.Bytes())
	return &wire{conn: conn}, err
}

// send says one message, with the next flush.
func (w *wire) send(message []byte) {
	var head [header + prefix]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(message)+prefix)<<8) // the length, and type 0: DATA
	binary.BigEndian.PutUint32(head[5:], oneStream)
	binary.BigEndian.PutUint32(head[10:], uint32(len(message)))
	w.out = append(append(w.out, head[:]...), message...)
}

// flush writes what was said. As a proxy does, a client writes once it has read
// what there was: what came together is answered together.
func (w *wire) flush() error {
	if len(w.out) == 0 {
		return nil
	}
	_, err := w.conn.Write(w.out)
	w.out = w.out[:0]
	return err
}

// receive waits for the next message and calls f with it, and with those that
// came along with it; f must not keep them. It answers what the connection
// itself asks for on the way.
func (w *wire) receive(f func(message []byte) error) error {
	if err := w.flush(); err != nil {
		return err
	}
	n, err := w.conn.Read(w.first[:])
	if err != nil {
		return err
	}
	b, _ := buffers.Get().(*buffer)
	defer buffers.Put(b)
	b.message, b.at = 0, 0
	b.end = copy(b.bytes, w.first[:n])
	for {
		if err := w.frames(b, f); err != nil {
			return err
		}
		if b.message == 0 && b.at == b.end {
			return nil
		}
		if err := w.flush(); err != nil {
			return err
		}
		if b.end == len(b.bytes) {
			b.bytes = append(b.bytes, make([]byte, len(b.bytes))...)
		}
		n, err := w.conn.Read(b.bytes[b.end:])
		if err != nil {
			return err
		}
		b.end += n
	}
}

// frames takes in every whole frame of b and calls f with every whole message.
func (w *wire) frames(b *buffer, f func(message []byte) error) error {
	for b.end-b.at >= header {
		h := b.bytes[b.at:]
		size := int(binary.BigEndian.Uint32(h) >> 8)
		if b.end-b.at < header+size {
			break
		}
		b.at += header + size
		if err := w.frame(http2.FrameType(h[3]), http2.Flags(h[4]), h[header:header+size], b); err != nil {
			return err
		}
		for b.message >= prefix {
			whole := prefix + int(binary.BigEndian.Uint32(b.bytes[1:]))
			if b.message < whole {
				break
			}
			if err := f(b.bytes[prefix:whole]); err != nil {
				return err
			}
			b.message = copy(b.bytes, b.bytes[whole:b.message])
		}
	}
	return nil
}

func (w *wire) frame(kind http2.FrameType, flags http2.Flags, payload []byte, b *buffer) error {
	switch kind {
	case http2.FrameData:
		b.message += copy(b.bytes[b.message:], payload)
		if flags.Has(http2.FlagDataEndStream) {
			return io.EOF
		}
		return w.raise(uint32(len(payload)))
	case http2.FrameHeaders:
		if flags.Has(http2.FlagHeadersEndStream) {
			return io.EOF
		}
	case http2.FramePing:
		if !flags.Has(http2.FlagPingAck) {
			return w.answer(func(f *http2.Framer) error { return f.WritePing(true, [8]byte(payload)) })
		}
	case http2.FrameSettings:
		if !flags.Has(http2.FlagSettingsAck) {
			return w.answer((*http2.Framer).WriteSettingsAck)
		}
	case http2.FrameRSTStream, http2.FrameGoAway:
		return fmt.Errorf("the server ends the call: %s", kind)
	}
	return nil
}

// raise gives the window back once half of it is used.
func (w *wire) raise(n uint32) error {
	if w.unread += n; w.unread < window/2 {
		return nil
	}
	n, w.unread = w.unread, 0
	return w.answer(func(f *http2.Framer) error {
		return errors.Join(f.WriteWindowUpdate(0, n), f.WriteWindowUpdate(oneStream, n))
	})
}

func (w *wire) answer(write func(*http2.Framer) error) error {
	var frame bytes.Buffer
	err := write(http2.NewFramer(&frame, nil))
	w.out = append(w.out, frame.Bytes()...)
	return err
}
