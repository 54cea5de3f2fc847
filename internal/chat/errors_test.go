package chat

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestErrors(t *testing.T) {
	for _, message := range []string{"The model did not answer in time.", "a \"quote\", a \\ and a\nline\x01", "é\xff"} {
		var got struct {
			Error struct {
				Message, Type, Code string
				Param               *string
			}
		}
		body := AppendErrorBody([]byte("x"), "safestate_late", message)
		if err := json.Unmarshal(body[1:], &got); err != nil || body[0] != 'x' {
			t.Fatalf("%s: %v", body, err)
		}
		if e := got.Error; e.Message != strings.ToValidUTF8(message, "\uFFFD") || e.Type != "server_error" || e.Code != "safestate_late" || e.Param != nil {
			t.Fatalf("%+v", e)
		}
		event := string(AppendErrorEvent(nil, "safestate_late", message))
		if event != "data: "+string(body[1:])+"\n\n" || strings.Count(event, "\n") != 2 {
			t.Fatalf("%q", event)
		}
	}
}
