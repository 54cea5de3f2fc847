package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"
)

// message is what one request tells.
type message struct {
	ID     string  `json:"id"` // the same for each repetition
	Events []Event `json:"events"`
	// Queued is when it was made, Tries how often it was sent.
	Queued time.Time `json:"queued"`
	Tries  int       `json:"tries"`
}

func newMessage(events []Event, now time.Time) message {
	sum := sha256.New()
	for _, e := range events {
		sum.Write([]byte(e.ID + "\x00"))
	}
	return message{ID: hex.EncodeToString(sum.Sum(nil)[:16]), Events: events, Queued: now}
}

// severity is the highest of a message's events.
func (m message) severity() Severity {
	most := Info
	for _, e := range m.Events {
		if e.Severity.rank() > most.rank() {
			most = e.Severity
		}
	}
	return most
}

// webhookBody is our own form.
type webhookBody struct {
	Version  string    `json:"version"` // "1"
	ID       string    `json:"id"`      // of the message; a repetition has the same
	Severity Severity  `json:"severity"`
	At       time.Time `json:"at"` // of the first event
	Text     string    `json:"text"`
	Events   []Event   `json:"events"`
}

func webhookOf(m message) ([]byte, error) {
	var lines []string
	for _, e := range m.Events {
		lines = append(lines, sentence(e))
	}
	return json.Marshal(webhookBody{"1", m.ID, m.severity(), m.Events[0].At, strings.Join(lines, "\n"), m.Events})
}

// sentence is an event in one line of plain text.
func sentence(e Event) string {
	text := e.Summary
	if e.By != "" {
		text += " — by " + e.By
	}
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}
