package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// unary is a connection on which one request over HTTP/1.1 is repeated.
type unary struct {
	conn    net.Conn
	reader  *bufio.Reader
	request []byte
	body    bytes.Buffer
	accept  func(*http.Response, []byte) bool
}

// dialUnary makes the connections of a target that is asked for whole answers.
func dialUnary(address, path string, body []byte, accept func(*http.Response, []byte) bool) func() (caller, error) {
	request := post(path, body)
	return func() (caller, error) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return nil, err
		}
		return &unary{conn: conn, reader: bufio.NewReaderSize(conn, 64<<10), request: request, accept: accept}, nil
	}
}

// post is a request as it goes over the wire.
func post(path string, body []byte) []byte {
	head := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n", path, len(body))
	return append(head, body...)
}

func (u *unary) call() (sample, error) {
	started := time.Now()
	if _, err := u.conn.Write(u.request); err != nil {
		return sample{}, err
	}
	resp, err := http.ReadResponse(u.reader, nil)
	if err != nil {
		return sample{}, err
	}
	u.body.Reset()
	if _, err := io.Copy(&u.body, resp.Body); err != nil {
		return sample{}, err
	}
	return sample{took: time.Since(started), good: u.accept(resp, u.body.Bytes())}, nil
}

func (u *unary) close() { _ = u.conn.Close() }
