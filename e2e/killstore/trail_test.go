package killstore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/safestate/safestate/internal/audit"
	"github.com/safestate/safestate/internal/kill"
)

// lacking verifies trails, and names what was acknowledged, or stood in the store as
// done, and is in none of them.
func lacking(dirs []string, ops []operation, changes map[string][]change) (problems []string) {
	entries, problems := entriesOf(dirs)
	reasons, records := map[string]bool{}, map[kill.RecordKey]bool{}
	for i := range entries {
		e := &entries[i]
		reasons[reasonOf(e)] = true
		var r kill.Record
		if strings.HasPrefix(e.ID, "kill/") && json.Unmarshal(e.After, &r) == nil {
			records[r.Key()] = true
		}
	}
	for _, op := range ops {
		done := op.Do != doLook && (op.Outcome == inStore || op.Outcome == inCopy)
		if done && !op.Warned && !reasons[op.Reason] {
			problems = append(problems, fmt.Sprintf("acknowledged, and without an entry: %s", op))
		}
	}
	told := map[kill.RecordKey]bool{}
	for target := range changes {
		for i := range changes[target] {
			for _, r := range changes[target][i].State.Outbox {
				if !records[r.Key()] && !told[r.Key()] {
					problems = append(problems, fmt.Sprintf("in the store, and without an entry: %+v", r))
				}
				told[r.Key()] = true
			}
		}
	}
	return problems
}

// entriesOf verifies trails and returns what they have. A process may be writing to
// them.
func entriesOf(dirs []string) (entries []audit.Entry, problems []string) {
	for _, dir := range dirs {
		report, err := audit.Verify(audit.VerifyOptions{}, audit.Folder(dir))
		if err != nil || !report.OK() {
			problems = append(problems, fmt.Sprintf("%s: %v\n%s", dir, err, report.Text()))
		}
		var text bytes.Buffer
		if err := audit.ExportFolder(dir, &text, false); err != nil {
			problems = append(problems, err.Error())
		}
		for line := range bytes.Lines(text.Bytes()) {
			if e, err := audit.Parse(bytes.TrimSuffix(line, []byte("\n"))); err == nil { // else a head, or a title
				entries = append(entries, e)
			}
		}
	}
	return entries, problems
}

// reasonOf is why a client did what an entry tells: a release's has the kind before
// it.
func reasonOf(e *audit.Entry) string {
	if _, reason, ok := strings.Cut(e.Reason, ": "); ok {
		return reason
	}
	return e.Reason
}
