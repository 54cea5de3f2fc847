package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/safestate/safestate/internal/access"
	"github.com/safestate/safestate/internal/admin"
	"github.com/safestate/safestate/internal/kill"
	"github.com/safestate/safestate/internal/notify"
	"github.com/safestate/safestate/internal/release"
)

// checkPeople finds what contradicts who may ask and who is told.
func (o *Options) checkPeople() error {
	noAPI := !o.Role.controls() || o.NoReleases
	switch {
	case o.AccessFile != "" && noAPI:
		return errors.New("--access-file is for a control plane with releases: this process has no API")
	case o.NotifyFile != "" && noAPI:
		return errors.New("--notify-file is for a control plane with releases: this process has nothing to tell")
	case o.HTTPTLS && !o.TLS.set():
		return errors.New("--http-tls needs --tls-cert, --tls-key and --tls-client-ca")
	case noAPI || o.HTTPUnprotected || onlyLocal("--http", o.HTTP) == nil:
		return nil
	case o.AccessFile == "":
		return fmt.Errorf("--http %s can be dialled by other machines, and without --access-file all of them may read, and change what a proxy on this machine passes on: "+
			"want --access-file, a loopback address, or ask for it by --http-unprotected", o.HTTP)
	case !o.HTTPTLS:
		return fmt.Errorf("--http %s can be dialled by other machines, in plain text, and tokens would travel readably: "+
			"want --http-tls, a loopback address, or ask for it by --http-unprotected where something in front speaks TLS", o.HTTP)
	}
	return nil
}

// forPeople is the configuration of --http: the same certificates, and a peer
// may bring one of its own, which package access checks.
func forPeople(own *tls.Config) *tls.Config {
	protocols := []string{"h2", "http/1.1"}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: protocols,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			now, err := own.GetConfigForClient(hello)
			if err != nil {
				return nil, err
			}
			now = now.Clone()
			now.ClientAuth, now.ClientCAs, now.NextProtos = tls.RequestClientCert, nil, protocols
			return now, nil
		},
	}
}

// people are who may ask, and who is told.
type people struct {
	gate     *access.Gate     // nil: whoever is on this machine
	notifier *notify.Notifier // nil: nobody
}

// openPeople reads both files.
func (pl *plane) openPeople() error {
	o, log, metrics := &pl.p.options, pl.p.log, pl.p.metrics
	told := func(text string, bad bool) {
		if bad {
			log.Error().Msg(text)
			return
		}
		log.Info().Msg(text)
	}
	var err error
	if o.AccessFile != "" {
		if pl.people.gate, err = access.Open(o.AccessFile, access.Options{Told: told}); err != nil {
			return fmt.Errorf("--access-file: %w", err)
		}
		for _, warning := range pl.people.gate.Warnings() {
			log.Warn().Str("file", o.AccessFile).Msg(warning)
		}
	}
	if o.NotifyFile == "" {
		return nil
	}
	settings, err := notify.ReadSettings(o.NotifyFile)
	if err != nil {
		return fmt.Errorf("--notify-file: %w", err)
	}
	metrics.Receivers(settings.Receivers(), notify.Outcomes())
	pl.people.notifier = notify.New(settings, notify.Options{
		Path: filepath.Join(o.DataDir, "notify.json"), Holds: pl.holds, Observe: metrics.Notified, Told: told,
	})
	return nil
}

// runPeople follows the files and delivers until ctx ends.
func (pl *plane) runPeople(ctx context.Context) {
	if pl.people.gate != nil {
		pl.runs.Go(func() { pl.people.gate.Run(ctx) })
	}
	if pl.people.notifier != nil {
		pl.runs.Go(func() { pl.people.notifier.Run(ctx) })
	}
}

// authenticator says who asks; nil: the default.
func (pl *plane) authenticator() admin.Authenticator {
	if pl.people.gate == nil {
		return nil
	}
	return pl.people.gate
}

// recorded tells of what happened to a model.
func (pl *plane) recorded(r release.Record) {
	if e, ok := notify.FromRelease(r); ok {
		pl.people.notifier.Notify(e)
	}
	if pl.mesh != nil {
		pl.mesh.eventOf(context.Background(), r)
	}
}

// killed tells of what was killed or revived here.
func (pl *plane) killed(r kill.Record) {
	if pl.mesh != nil {
		pl.mesh.eventOfKill(context.Background(), r)
	}
	if e, ok := notify.FromKill(r); ok {
		pl.people.notifier.Notify(e)
	}
}

// holds says whether a condition that was told still holds, by its key. Of models
// it is the leader's to say: another lets go of what it told when it led.
func (pl *plane) holds(key string) bool {
	kind, model, _ := strings.Cut(key, "/")
	switch notify.Kind(kind) {
	case notify.Degraded:
		s, leads := pl.rules.Led(model)
		return leads && s.Degraded
	case notify.CommonCause:
		s, leads := pl.rules.Led(model)
		return leads && s.Incident != nil && s.Incident.Ended.IsZero()
	case notify.Kill:
		key, err := kill.ParseKey(model)
		return err != nil || pl.rules.Killed(key)
	default:
		return true
	}
}

// troubles are what is wrong with the access file as it is now.
func (p *people) troubles() []admin.Trouble {
	if p.gate == nil || p.gate.Problem() == nil {
		return nil
	}
	return []admin.Trouble{{
		Level: admin.LevelProblem, About: "access file",
		What: "it is not used as it is now, the last good one stays: " + p.gate.Problem().Error(),
	}}
}
