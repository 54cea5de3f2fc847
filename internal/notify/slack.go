package notify

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Slack's bounds: characters of a section's text, and blocks of a message
// (docs.slack.dev/reference/block-kit/blocks).
const (
	maxSection = 3000
	maxBlocks  = 50
)

type slackBody struct {
	Text   string       `json:"text"`
	Blocks []slackBlock `json:"blocks"`
	// Links in what people wrote are not fetched.
	UnfurlLinks bool `json:"unfurl_links"`
	UnfurlMedia bool `json:"unfurl_media"`
}

type slackBlock struct {
	Type     string      `json:"type"`
	Text     *slackText  `json:"text,omitempty"`
	Elements []slackText `json:"elements,omitempty"`
}

type slackText struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// fitted escapes a stranger's text and cuts it where it would be longer than most
// bytes, never within what stands for one character.
func fitted(text string, most int) string {
	var b strings.Builder
	for _, r := range text {
		one := escaped.Replace(string(r))
		if b.Len()+len(one) > most-len("…") {
			return b.String() + "…"
		}
		b.WriteString(one)
	}
	return b.String()
}

// escaped makes a stranger's text one that Slack shows as it is: & < > carry its
// links and its calls to everybody, the others its marks for bold and code.
var escaped = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "*", "∗", "_", "_\u200b", "`", "ˋ", "~", "∼", "@", "@\u200b")

var marks = map[Severity]string{Info: ":information_source:", Warning: ":warning:", Critical: ":rotating_light:"}

func slackOf(m message) ([]byte, error) {
	var body slackBody
	first := fitted(m.Events[0].Summary, maxSection-50)
	if n := len(m.Events); n > 1 {
		first += fmt.Sprintf(" (and %d more)", n-1)
	}
	body.Text = first
	for i, e := range m.Events {
		if i == maxBlocks/2-1 && len(m.Events) > maxBlocks/2 {
			body.Blocks = append(body.Blocks, section(fmt.Sprintf("and %d more", len(m.Events)-i)))
			break
		}
		mark := marks[e.Severity]
		if e.Phase == Resolved {
			mark = ":white_check_mark:"
		}
		text := mark + " " + fitted(e.Summary, maxSection/2-50)
		if e.Reason != "" {
			text += "\n&gt; " + fitted(e.Reason, maxSection/2-50)
		}
		context := e.At.Format("2006-01-02 15:04:05 MST")
		if e.By != "" {
			context += " · " + fitted(e.By, 300)
		}
		body.Blocks = append(body.Blocks, section(text),
			slackBlock{Type: "context", Elements: []slackText{{"mrkdwn", context}}})
	}
	return json.Marshal(body)
}

func section(text string) slackBlock {
	return slackBlock{Type: "section", Text: &slackText{"mrkdwn", text}}
}
