package fallback

import (
	"errors"
	"fmt"
	"strings"

	"github.com/safestate/safestate/internal/scan"
)

var (
	errNoObject  = errors.New("fallback: the request is no JSON object")
	errAmbiguous = errors.New("fallback: the request says something twice, or in another case")
)

// chatBody returns the body of a request of the OpenAI API with another model's
// name, a JSON string (nil: its own stays), added where it has none. With whole
// a request for a stream becomes one for a whole answer. All else stays byte
// for byte. A name that occurs twice or in another case is refused: servers
// differ on which of them counts, and the policy says which model is asked.
func chatBody(body, name []byte, whole bool) ([]byte, error) {
	var doc scan.Document
	if err := doc.Parse(body, scan.Limits{NumberChars: len(body), Nodes: 1 << 19}); err != nil {
		return nil, fmt.Errorf("fallback: the request: %w", err)
	}
	root := doc.Root()
	if root.Kind() != scan.Object {
		return nil, errNoObject
	}
	values := []value{{name: "model", to: name}, {name: "stream"}, {name: "stream_options"}}
	if whole {
		values[1].to, values[2].to = []byte("false"), []byte("null")
	}
	out := make([]byte, 0, len(body)+len(name)+len(`"model":,`))
	from := root.Offset() + len("{")
	out = append(out, body[:from]...)
	if found, _ := root.Get("model"); !found.Exists() && name != nil {
		out = append(append(out, `"model":`...), name...)
		if root.Len() > 0 {
			out = append(out, ',')
		}
	}
	for it := root.Children(); it.Next(); {
		v, err := valueOf(values, string(it.Key()))
		if err != nil {
			return nil, err
		}
		if v == nil || v.to == nil {
			continue
		}
		node := it.Value()
		out = append(append(out, body[from:node.Offset()]...), v.to...)
		from = node.Offset() + len(node.Raw())
	}
	return append(out, body[from:]...), nil
}

// value is a member that gets another value; to is its JSON, nil: its own.
type value struct {
	name string
	to   []byte
	seen bool
}

func valueOf(list []value, key string) (*value, error) {
	for i := range list {
		v := &list[i]
		if !strings.EqualFold(v.name, key) {
			continue
		}
		if v.name != key || v.seen {
			return nil, fmt.Errorf("%w: %s", errAmbiguous, v.name)
		}
		v.seen = true
		return v, nil
	}
	return nil, nil
}
