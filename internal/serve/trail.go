package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/audit"
	"github.com/safestate/safestate/internal/signing"
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
	if err == nil {
		pl.p.metrics.Audit(func() float64 { return float64(len(trailTroubles(pl.trail.Status()))) })
	}
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
	if err := pl.note(ctx, audit.Entry{
		Kind: audit.KindConfiguration, Actor: audit.Actor{Name: "safestate"}, Target: "configuration",
		Reason: "the files in " + pl.p.options.ConfigDir + " are in use", Before: quoted(before), After: quoted(after),
	}); err != nil {
		pl.p.log.Error().Err(err).Msg("a change of the configuration is not in the audit trail")
	}
}

// trailPatience is how long the trail has for one entry: its disk may hang.
const trailPatience = 3 * time.Second

func (pl *plane) note(ctx context.Context, e audit.Entry) error {
	ctx, cancel := context.WithTimeout(ctx, trailPatience)
	defer cancel()
	_, err := pl.trail.Append(ctx, e)
	return err
}

// rotated notes in the trail what was done to the keys that sign policies.
func (pl *plane) rotated(ctx context.Context, r signing.Record) error {
	return pl.note(ctx, audit.Entry{
		Kind: audit.KindKey, ID: fmt.Sprintf("key/%d/%s/%s/%d", r.Sequence, r.Step, r.Key, r.At.UnixNano()), Happened: r.At,
		Actor: audit.Actor{Name: r.By, How: r.How, Address: r.Address}, Target: "key/" + r.Key, Reason: string(r.Step) + ": " + r.Reason,
	})
}

// backup gives out the store's content, the private keys in it included: not
// without an entry that says to whom.
func (pl *plane) backup(ctx context.Context, to audit.Actor, w io.Writer) error {
	if err := pl.note(ctx, audit.Entry{
		Kind: audit.KindBackup, Actor: to, Target: "store", Reason: "all of the store's content, with the keys that sign policies", Outcome: audit.OutcomeBegun,
	}); err != nil {
		return admin.Unavailable("the audit trail does not take it, and without its entry nothing is given out: %s", err)
	}
	return pl.store.backup(ctx, w)
}

// attempted notes in the trail what somebody was refused.
func (pl *plane) attempted(a admin.Attempt) {
	if a.LeftOut > 0 {
		pl.p.log.Warn().Int("count", a.LeftOut).Msg(a.Why)
	}
	if err := pl.note(context.Background(), audit.Entry{
		Kind: audit.KindRefused, Actor: audit.Actor{Name: a.By, How: a.How, Address: a.Address}, Target: a.Target,
		Reason: a.Why, Outcome: audit.OutcomeRefused,
	}); err != nil {
		pl.p.log.Error().Err(err).Msg("a refused attempt is not in the audit trail")
	}
}
