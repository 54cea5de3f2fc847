package notify

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/safestate/safestate/internal/strictyaml"
)

// Form is how a receiver is told.
type Form string

// The forms.
const (
	Webhook      Form = "webhook"      // our own JSON
	Slack        Form = "slack"        // what Slack's incoming webhooks take, and others that speak like them
	Alertmanager Form = "alertmanager" // its API v2
)

// UnmarshalText reads a form by its name.
func (f *Form) UnmarshalText(text []byte) error {
	if !slices.Contains([]Form{Webhook, Slack, Alertmanager}, Form(text)) {
		return fmt.Errorf("is %q; want webhook, slack or alertmanager", clean(string(text), 60))
	}
	*f = Form(text)
	return nil
}

// Defaults of a receiver.
const (
	defaultTimeout     = 10 * time.Second
	defaultWindow      = 30 * time.Second
	defaultGiveUpAfter = time.Hour
	defaultResend      = time.Minute
)

// settings are a receiver's row of the file.
type settings struct {
	Name        string        `yaml:"name"`
	Form        Form          `yaml:"form"`
	URL         string        `yaml:"url"`
	URLFile     string        `yaml:"urlFile"`
	TokenFile   string        `yaml:"tokenFile"`
	CA          string        `yaml:"ca"`
	Events      []Kind        `yaml:"events"`
	Severity    Severity      `yaml:"severity"`
	Models      []string      `yaml:"models"`
	Labels      []string      `yaml:"labels"`
	Timeout     time.Duration `yaml:"timeout"`
	Window      time.Duration `yaml:"window"`
	GiveUpAfter time.Duration `yaml:"giveUpAfter"`
	Resend      time.Duration `yaml:"resend"`
}

var (
	rowName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	labelText = regexp.MustCompile(`^([a-zA-Z_][a-zA-Z0-9_]*)=(.+)$`)
	modelText = regexp.MustCompile(`^(\*|[a-z0-9]([-a-z0-9.]*[a-z0-9])?/(\*|[a-z0-9]([-a-z0-9.]*[a-z0-9])?))$`)
)

// Settings are what a notify file says. They are not changed once read.
type Settings struct {
	receivers []settings
	pools     []*tls.Config // by receiver
}

// Receivers returns the names, in the order of the file.
func (s *Settings) Receivers() []string {
	var out []string
	for i := range s.receivers {
		out = append(out, s.receivers[i].Name)
	}
	return out
}

// ReadSettings reads a notify file and the files that it names, strictly.
func ReadSettings(path string) (*Settings, error) {
	data, err := strictyaml.Read(path)
	if err != nil {
		return nil, err
	}
	return parse(path, data)
}

func parse(path string, data []byte) (*Settings, error) {
	var file struct {
		Receivers []settings `yaml:"receivers"`
	}
	at, err := strictyaml.Decode(path, data, &file)
	if err != nil {
		return nil, err
	}
	out := &Settings{}
	seen := map[string]bool{}
	for i, r := range file.Receivers {
		field := fmt.Sprintf("receivers[%d]", i)
		if seen[r.Name] {
			return nil, at.Errorf(field+".name", "is %q, which is there already; want each once", r.Name)
		}
		seen[r.Name] = true
		r.URLFile, r.TokenFile, r.CA = near(path, r.URLFile), near(path, r.TokenFile), near(path, r.CA)
		r = r.withDefaults()
		if wrong, what := r.check(); what != "" {
			return nil, at.Errorf(field+"."+wrong, "%s", what)
		}
		config, err := r.tls()
		if err != nil {
			return nil, at.Errorf(field+".ca", "%v", err)
		}
		out.receivers = append(out.receivers, r)
		out.pools = append(out.pools, config)
	}
	return out, nil
}

// near takes a file's name as one beside another.
func near(path, name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(path), name)
}

func (r settings) withDefaults() settings {
	r.Severity = cmp.Or(r.Severity, Info)
	r.Timeout = cmp.Or(r.Timeout, defaultTimeout)
	r.Window = cmp.Or(r.Window, defaultWindow)
	r.GiveUpAfter = cmp.Or(r.GiveUpAfter, defaultGiveUpAfter)
	r.Resend = cmp.Or(r.Resend, defaultResend)
	return r
}

// check returns the field that is wrong, and what is; empty: nothing.
func (r settings) check() (field, what string) {
	switch {
	case r.Name == "":
		return "name", "is missing"
	case !rowName.MatchString(r.Name):
		return "name", "is no name; want at most 64 letters, digits and any of . _ -"
	case r.Form == "":
		return "form", "is missing; want webhook, slack or alertmanager"
	case (r.URL == "") == (r.URLFile == ""):
		return "url", "want one of url and urlFile: a URL that is a secret belongs into a file of its own"
	case r.Form == Alertmanager && r.URLFile != "":
		return "urlFile", "goes with webhook and slack; want url"
	case len(r.Labels) > 0 && r.Form != Alertmanager:
		return "labels", "go with alertmanager only"
	}
	if _, err := r.address(); err != nil {
		return cmp.Or(map[bool]string{r.URLFile != "": "urlFile"}[true], "url"), err.Error()
	}
	if r.TokenFile != "" {
		if _, err := secret(r.TokenFile); err != nil {
			return "tokenFile", err.Error()
		}
	}
	for i, m := range r.Models {
		if !modelText.MatchString(m) {
			return fmt.Sprintf("models[%d]", i), "is no pattern; want *, NAMESPACE/* or NAMESPACE/NAME"
		}
	}
	for i, l := range r.Labels {
		if m := labelText.FindStringSubmatch(l); m == nil || slices.Contains(ownLabels, m[1]) {
			return fmt.Sprintf("labels[%d]", i), "is no label of yours; want NAME=VALUE, and another name than " + strings.Join(ownLabels, ", ")
		}
	}
	for _, one := range []struct {
		field        string
		is, from, to time.Duration
	}{
		{"timeout", r.Timeout, 100 * time.Millisecond, time.Minute},
		{"window", r.Window, time.Second, time.Hour},
		{"giveUpAfter", r.GiveUpAfter, time.Second, 24 * time.Hour},
		{"resend", r.Resend, time.Second, time.Hour},
	} {
		if one.is < one.from || one.is > one.to {
			return one.field, fmt.Sprintf("is %s; want %s to %s", one.is, one.from, one.to)
		}
	}
	return "", ""
}

// address is where a receiver is, as it stands in its file now.
func (r settings) address() (string, error) {
	text := r.URL
	if r.URLFile != "" {
		var err error
		if text, err = secret(r.URLFile); err != nil {
			return "", err
		}
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", fmt.Errorf("is no address; want https://HOST/PATH or http://HOST/PATH, without a user")
	}
	if u.Scheme == "http" && (r.URLFile != "" || r.TokenFile != "") && !thisMachine(u.Hostname()) {
		return "", fmt.Errorf("is in plain text, and a secret goes with it; want https")
	}
	if r.Form == Alertmanager {
		u = u.JoinPath("api", "v2", "alerts")
	}
	return u.String(), nil
}

func thisMachine(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// secret reads the one line of a file.
func secret(path string) (string, error) {
	data, err := strictyaml.Read(path)
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(data))
	if text == "" || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", fmt.Errorf("%s: want one line without blanks", path)
	}
	return text, nil
}

func (r settings) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if r.CA == "" {
		return config, nil
	}
	pem, err := strictyaml.Read(r.CA)
	if err != nil {
		return nil, err
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in PEM", r.CA)
	}
	return config, nil
}

// wants reports whether a receiver is told of an event.
func (r settings) wants(e Event) bool {
	if len(r.Events) > 0 && !slices.Contains(r.Events, e.Kind) {
		return false
	}
	// What ends a condition goes where its begin went.
	if e.Phase != Resolved && e.Severity.rank() < r.Severity.rank() {
		return false
	}
	if len(r.Models) == 0 || e.Model == "" { // what is about no model concerns everybody
		return true
	}
	return slices.ContainsFunc(r.Models, func(pattern string) bool {
		namespace, all := strings.CutSuffix(pattern, "/*")
		return pattern == "*" || pattern == e.Model || all && strings.HasPrefix(e.Model, namespace+"/")
	})
}
