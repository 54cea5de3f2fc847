package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// report is bench/out/release.json.
type report struct {
	Seed      uint64  `json:"seed"`
	Quick     bool    `json:"quick"`
	Fresh     *curve  `json:"new_version,omitempty"`
	Late      []curve `json:"old_version,omitempty"`
	Stop      []stop  `json:"every_answer_bad,omitempty"`
	Healthy   *health `json:"healthy,omitempty"`
	Incidents *corpus `json:"incidents,omitempty"`
}

// key is the published figure: the worst ratio of the requests that a rollback of
// a new version needs to the information bound, down to 1 % bad.
const key = "rollback_requests_over_bound"

// write saves the report, and adds the published figure to the ratios that are
// there. A short form publishes nothing.
func (r *report) write(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "release.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	if r.Fresh == nil || r.Quick {
		return nil
	}
	return publish(filepath.Join(folder, "ratios.json"), r.Fresh.worst())
}

func publish(file string, worst float64) error {
	all := map[string]float64{}
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(text, &all); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	all[key] = worst
	if text, err = json.MarshalIndent(all, "", "  "); err != nil {
		return err
	}
	fmt.Printf("\n%-36s %8.3f\n", key, worst)
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
