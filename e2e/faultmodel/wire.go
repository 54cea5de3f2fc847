package faultmodel

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// exchange is one request on its way to a fault that is about the connection.
type exchange struct {
	server *Server
	w      http.ResponseWriter
	r      *http.Request
	reply  *reply // the clean answer
	nth    int    // how many requests came before, since the fault was set

	completion *completion // of OA and SSE
	script     *script     // of SSE: the clean stream
}

// take gives the connection to the fault. The connection is closed by close.
func (x *exchange) take() (net.Conn, *bufio.ReadWriter, bool) {
	h, ok := x.w.(http.Hijacker)
	if !ok {
		return nil, nil, false
	}
	conn, buf, err := h.Hijack()
	if err != nil {
		return nil, nil, false
	}
	x.server.track(conn, true)
	return conn, buf, true
}

func (x *exchange) close(conn net.Conn) {
	x.server.track(conn, false)
	_ = conn.Close() // the fault is done with it whatever close says
}

// write sends the whole clean reply.
func (x *exchange) write() {
	if x.script != nil {
		x.server.play(x.w, x.r, x.script, None)
		return
	}
	x.reply.write(x.w)
}

func (r *reply) write(w http.ResponseWriter) {
	h := w.Header()
	for k, v := range r.header {
		h[k] = v
	}
	h.Set("Content-Length", strconv.Itoa(len(r.body)))
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body) // a caller that left is not the model's concern
}

// statusTimes answers with an error status: the first n requests only, or
// every one where n is 0. Pairs of header name and value may follow.
func statusTimes(status, n int, header ...string) func(*exchange) bool {
	return func(x *exchange) bool {
		if n > 0 && x.nth >= n {
			x.write()
			return false
		}
		for i := 0; i+1 < len(header); i += 2 {
			x.w.Header().Set(header[i], header[i+1])
		}
		x.w.Header().Set("Content-Type", "application/json")
		x.w.WriteHeader(status)
		_, _ = fmt.Fprintf(x.w, `{"error":"status %d from /opt/models/fraud/model.py"}`, status)
		return true
	}
}

// reset closes the connection with an RST before any byte.
func reset(x *exchange) bool {
	conn, _, ok := x.take()
	if !ok {
		return false
	}
	defer x.close(conn)
	if tcp, isTCP := conn.(*net.TCPConn); isTCP {
		return tcp.SetLinger(0) == nil
	}
	return false
}

// neverAnswer holds the connection until the other side gives up.
func neverAnswer(x *exchange) bool {
	conn, buf, ok := x.take()
	if !ok {
		return false
	}
	x.server.served(S06NeverAnswers)
	hold(conn, buf)
	x.server.left()
	x.close(conn)
	return false // counted already
}

// hold reads until the other side closes.
func hold(conn net.Conn, buf *bufio.ReadWriter) {
	_ = conn.SetReadDeadline(time.Time{})
	scratch := make([]byte, 512)
	for {
		if _, err := buf.Read(scratch); err != nil {
			return
		}
	}
}

// head writes the status line and headers of the clean reply. length is the
// promised content-length; -1 promises chunks, -2 nothing (the end is the
// connection's).
func (x *exchange) head(buf *bufio.ReadWriter, length int) {
	_, _ = fmt.Fprintf(buf, "HTTP/1.1 %d %s\r\n", x.reply.status, http.StatusText(x.reply.status))
	_ = x.reply.header.Write(buf)
	switch length {
	case -2:
		_, _ = buf.WriteString("Connection: close\r\n")
	case -1:
		_, _ = buf.WriteString("Transfer-Encoding: chunked\r\n")
	default:
		_, _ = fmt.Fprintf(buf, "Content-Length: %d\r\n", length)
	}
	_, _ = buf.WriteString("\r\n")
	_ = buf.Flush()
}

// slowBody sends the headers at once and then a byte every 50 ms.
func slowBody(x *exchange) bool {
	conn, buf, ok := x.take()
	if !ok {
		return false
	}
	defer x.close(conn)
	x.head(buf, len(x.reply.body))
	x.server.served(S07SlowBody)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, b := range x.reply.body {
		<-tick.C
		if buf.WriteByte(b) != nil || buf.Flush() != nil {
			return false
		}
	}
	return false // counted already
}

// bodyCut closes after half of the promised bytes.
func bodyCut(x *exchange) bool {
	conn, buf, ok := x.take()
	if !ok {
		return false
	}
	defer x.close(conn)
	x.head(buf, len(x.reply.body))
	_, err := buf.Write(x.reply.body[:len(x.reply.body)/2])
	return err == nil && buf.Flush() == nil
}

// bodyCutChunked closes after a chunk, without the last one.
func bodyCutChunked(x *exchange) bool {
	conn, buf, ok := x.take()
	if !ok {
		return false
	}
	defer x.close(conn)
	x.head(buf, -1)
	half := x.reply.body[:len(x.reply.body)/2]
	_, err := fmt.Fprintf(buf, "%x\r\n%s\r\n", len(half), half)
	return err == nil && buf.Flush() == nil
}

// bodyStalls sends half of the body and then holds the connection.
func bodyStalls(x *exchange) bool {
	conn, buf, ok := x.take()
	if !ok {
		return false
	}
	defer x.close(conn)
	x.head(buf, len(x.reply.body))
	if _, err := buf.Write(x.reply.body[:len(x.reply.body)/2]); err != nil || buf.Flush() != nil {
		return false
	}
	x.server.served(S09BodyStalls)
	hold(conn, buf)
	x.server.left()
	return false // counted already
}

// headerOnly ends after the headers, with no length promised. A binary answer
// keeps its JSON and loses its tensors.
func headerOnly(x *exchange) bool {
	conn, buf, ok := x.take()
	if !ok {
		return false
	}
	defer x.close(conn)
	if n, err := strconv.Atoi(x.reply.header.Get("Inference-Header-Content-Length")); err == nil {
		x.head(buf, n)
		_, werr := buf.Write(x.reply.body[:n])
		return werr == nil && buf.Flush() == nil
	}
	x.head(buf, -2)
	return true
}
