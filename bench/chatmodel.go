package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// pathChat is what the chat route takes.
const pathChat = "/v1/chat/completions"

// wanted is what the chat model reads of a request.
type wanted struct {
	Tokens int    `json:"max_tokens"`
	Pause  string `json:"pause"` // before every token but the first
}

// askFor is a request for a stream of so many tokens.
func askFor(tokens int, pause time.Duration) []byte {
	return fmt.Appendf(nil, `{"model":"chat","stream":true,"max_tokens":%d,"pause":%q,"messages":[`+
		`{"role":"system","content":"You are a terse assistant."},`+
		`{"role":"user","content":"Say something of the weather in as many words as you may."}]}`, tokens, pause)
}

// chunk is an event as vLLM sends it for every token.
const chunk = `data: {"id":"chatcmpl-5f0c6f1f1f9a4d3b8a2b0a9b1d2e3f40","object":"chat.completion.chunk","created":1760000000,` +
	`"model":"chat","choices":[{"index":0,"delta":%s,"logprobs":null,"finish_reason":%s}]}` + "\n\n"

// completionEvents are the events of a stream: the role, a token each, the
// finish_reason, [DONE].
func completionEvents(tokens int) [][]byte {
	events := [][]byte{fmt.Appendf(nil, chunk, `{"role":"assistant","content":""}`, "null")}
	for i := range tokens {
		events = append(events, fmt.Appendf(nil, chunk, `{"content":" w`+strconv.Itoa(i)+`"}`, "null"))
	}
	return append(events, fmt.Appendf(nil, chunk, `{}`, `"stop"`), []byte("data: [DONE]\n\n"))
}

// completion is a stream as one text, and how much of it has to be there for
// its first content to be.
func completion(tokens int) (whole []byte, content int) {
	events := completionEvents(tokens)
	return bytes.Join(events, nil), len(events[0]) + len(events[1])
}

// startChat serves streams as quickly as their pauses let it.
func (m *models) startChat() (port int, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	events := completionEvents(1000)
	ends := events[len(events)-2:]
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q wanted
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.Tokens+len(ends) >= len(events) {
			http.Error(w, "no request of this bench", http.StatusBadRequest)
			return
		}
		pause, _ := time.ParseDuration(q.Pause)
		w.Header().Set("Content-Type", "text/event-stream")
		sendStream(w, events[:1+q.Tokens], ends, pause)
	})}
	m.servers = append(m.servers, s)
	go func() { _ = s.Serve(l) }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// sendStream sends the role and the first token, every other token after its
// pause, and the ends with the last one. What a caller that left does not take is lost.
func sendStream(w http.ResponseWriter, events, ends [][]byte, pause time.Duration) {
	flusher := http.NewResponseController(w)
	var tick <-chan time.Time
	if pause > 0 {
		ticker := time.NewTicker(pause)
		defer ticker.Stop()
		tick = ticker.C
	}
	_, _ = w.Write(events[0])
	_ = flusher.Flush()
	for i, e := range events[1:] {
		if i > 0 && tick != nil {
			<-tick
		}
		_, _ = w.Write(e)
		if i < len(events)-2 {
			_ = flusher.Flush()
		}
	}
	for _, e := range ends {
		_, _ = w.Write(e)
	}
}
