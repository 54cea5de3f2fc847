package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// lengths are what the streams of a connection have in tokens, in turn.
var lengths = []int{60, 90, 130, 200}

// streamed is a connection on which one completion after another is asked for
// as a stream.
type streamed struct {
	conn   net.Conn
	reader *bufio.Reader
	asks   []ask
	next   int
	room   [32 << 10]byte
	source string // what the answer's source must be; empty: none is given
}

// ask is a request for a stream, and what its answer must be to the byte.
type ask struct {
	request []byte
	answer  []byte
	content int // the offset in the answer at which the first content is there
	tokens  int
}

// dialStreams makes the connections of a target that is asked for streams of the
// given lengths with a pause before every token but the first.
func dialStreams(address, source string, lengths []int, pause time.Duration) func() (caller, error) {
	asks := make([]ask, len(lengths))
	for i, n := range lengths {
		whole, content := completion(n)
		asks[i] = ask{request: post(pathChat, askFor(n, pause)), answer: whole, content: content, tokens: n}
	}
	return func() (caller, error) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return nil, err
		}
		return &streamed{conn: conn, reader: bufio.NewReaderSize(conn, 64<<10), asks: asks, source: source}, nil
	}
}

func (s *streamed) call() (sample, error) {
	a := &s.asks[s.next%len(s.asks)]
	s.next++
	started := time.Now()
	if _, err := s.conn.Write(a.request); err != nil {
		return sample{}, err
	}
	resp, err := http.ReadResponse(s.reader, nil)
	if err != nil {
		return sample{}, err
	}
	out := sample{tokens: a.tokens, good: resp.StatusCode == http.StatusOK && resp.Header.Get("X-Safestate-Source") == s.source}
	for at := 0; ; {
		n, err := resp.Body.Read(s.room[:])
		if at+n > len(a.answer) || !bytes.Equal(s.room[:n], a.answer[at:at+n]) {
			out.good = false
		}
		if at += n; out.first == 0 && at >= a.content {
			out.first = time.Since(started)
		}
		if errors.Is(err, io.EOF) {
			out.took = time.Since(started)
			out.good = out.good && at == len(a.answer)
			return out, nil
		}
		if err != nil {
			return sample{}, err
		}
	}
}

func (s *streamed) close() { _ = s.conn.Close() }
