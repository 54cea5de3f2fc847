package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/audit"
)

// trailFolder is the audit trail's place in the data folder.
const trailFolder = "audit"

// replicaFile keeps a replica's name in its data folder: the audit trail is by
// name, and what one process has left undone the next goes on with.
const replicaFile = "replica"

var replicaWord = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// keepName gives a replica that was not named the name that it had before.
func (o *Options) keepName() error {
	if o.Replica != replicaName() || o.DataDir == "" {
		return nil
	}
	path := filepath.Join(o.DataDir, replicaFile)
	text, err := os.ReadFile(path)
	if name := strings.TrimSpace(string(text)); err == nil && name != "" {
		o.Replica = name
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("--data-dir: %w", err)
	}
	if err := os.WriteFile(path, []byte(o.Replica+"\n"), 0o600); err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	return nil
}

// openTrail opens the audit trail of this replica.
func (pl *plane) openTrail() error {
	o := &pl.p.options
	anchors, err := anchorsOf(o.AuditAnchors)
	if err != nil {
		return err
	}
	about, err := json.Marshal(map[string]string{"version": o.Version, "role": string(o.Role), "config": o.ConfigDir})
	if err != nil {
		return err
	}
	name := replicaWord.ReplaceAllString(o.Replica, "-")
	pl.trail, err = audit.Open(audit.Options{
		Dir: filepath.Join(o.DataDir, trailFolder), Name: name[:min(len(name), 63)], About: about, Store: pl.store, Anchors: anchors,
		Warn: func(text string) { pl.p.log.Warn().Msg(text) },
	})
	return err
}

// anchorsOf reads --audit-anchor.
func anchorsOf(texts []string) (out []audit.Anchor, err error) {
	for _, text := range texts {
		switch scheme, rest, _ := strings.Cut(text, ":"); {
		case scheme == "file" && rest != "":
			out = append(out, audit.FileAnchor{Path: strings.TrimPrefix(rest, "//")})
		case scheme == "https" || scheme == "http":
			out = append(out, audit.WebhookAnchor{URL: text})
		default:
			return nil, fmt.Errorf("--audit-anchor %q: want file:PATH, https://… or http://…", text)
		}
	}
	return out, nil
}

// configured notes in the trail that other files are in use.
func (pl *plane) configured(ctx context.Context, before, after string) {
	if pl.trail == nil || before == after {
		return
	}
	quoted := func(version string) json.RawMessage {
		text, _ := json.Marshal(map[string]string{"version": version}) // of text: it cannot fail
		return text
	}
	if _, err := pl.trail.Append(ctx, audit.Entry{
		Kind: audit.KindConfiguration, Actor: audit.Actor{Name: "safestate"}, Target: "configuration",
		Reason: "the files in " + pl.p.options.ConfigDir + " are in use", Before: quoted(before), After: quoted(after),
	}); err != nil {
		pl.p.log.Error().Err(err).Msg("a change of the configuration is not in the audit trail")
	}
}

// attempted notes in the trail what somebody was refused.
func (pl *plane) attempted(a admin.Attempt) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := pl.trail.Append(ctx, audit.Entry{
		Kind: audit.KindRefused, Actor: audit.Actor{Name: a.By, How: a.How, Address: a.Address}, Target: a.Target,
		Reason: a.Why, Outcome: audit.OutcomeRefused,
	}); err != nil {
		pl.p.log.Error().Err(err).Msg("a refused attempt is not in the audit trail")
	}
}
