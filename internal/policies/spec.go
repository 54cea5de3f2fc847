package policies

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
)

// Canonical returns a spec with sorted keys and without spaces, and its digest,
// "sha256:" and 64 hexadecimal digits. Numbers keep the digits that they were
// written with.
func Canonical(spec json.RawMessage) (canonical json.RawMessage, digest string, err error) {
	decoder := json.NewDecoder(bytes.NewReader(spec))
	decoder.UseNumber()
	var content map[string]any
	err = decoder.Decode(&content)
	if err == nil && content == nil {
		err = fmt.Errorf("it is null")
	}
	if err == nil {
		if _, more := decoder.Token(); more != io.EOF {
			err = fmt.Errorf("something follows it")
		}
	}
	if err != nil {
		return nil, "", fmt.Errorf("a policy's spec is no JSON object: %w", err)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(content); err != nil { // maps are written with sorted keys
		return nil, "", fmt.Errorf("a policy's spec cannot be written: %w", err)
	}
	canonical = bytes.TrimSuffix(out.Bytes(), []byte("\n"))
	return canonical, fmt.Sprintf("sha256:%x", sha256.Sum256(canonical)), nil
}

// enforcement reads how much of a policy is enforced; v1alpha1 has the
// defaults.
func enforcement(spec json.RawMessage) (mode string, percent float64, err error) {
	var fields struct {
		Mode           string   `json:"mode"`
		EnforcePercent *float64 `json:"enforcePercent"`
	}
	if err := json.Unmarshal(spec, &fields); err != nil {
		return "", 0, fmt.Errorf("a policy's spec: %w", err)
	}
	switch {
	case fields.Mode != "Enforce":
		return "Observe", 0, nil
	case fields.EnforcePercent == nil:
		return fields.Mode, 100, nil
	}
	return fields.Mode, *fields.EnforcePercent, nil
}
