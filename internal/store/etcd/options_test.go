package etcd

import (
	"path/filepath"
	"slices"
	"testing"
)

func TestOptionsThatContradictThemselves(t *testing.T) {
	dir := t.TempDir()
	empty := write(t, dir, "empty", "\nsecond line\n")
	text := write(t, dir, "text", "no PEM")
	none := filepath.Join(dir, "none")
	some := []string{"https://a:2379"}
	for name, test := range map[string]struct {
		options Options
		want    string
	}{
		"nothing":              {Options{}, "give a folder"},
		"both":                 {Options{Dir: dir, Endpoints: some}, "exclude each other"},
		"user of a folder":     {Options{Dir: dir, User: "a", PasswordFile: text}, "are for a cluster's endpoints"},
		"certificate alone":    {Options{Endpoints: some, Cert: text}, "belong together"},
		"user alone":           {Options{Endpoints: some, User: "a"}, "belong together"},
		"no port":              {Options{Endpoints: []string{"https://a"}}, "want https://host:port"},
		"a path":               {Options{Endpoints: []string{"https://a:1/x"}}, "want https://host:port"},
		"another scheme":       {Options{Endpoints: []string{"ftp://a:1"}}, "want https://host:port"},
		"no scheme":            {Options{Endpoints: []string{"a:1"}}, "write https:// before it"},
		"plain with TLS":       {Options{Endpoints: []string{"http://a:1"}, CA: text}, "is plain text"},
		"plain password":       {Options{Endpoints: []string{"http://a:1"}, User: "a", PasswordFile: text}, "password in plain text"},
		"some plain":           {Options{Endpoints: []string{"https://a:1", "http://b:1"}}, "all https or all http"},
		"no authorities":       {Options{Endpoints: some, CA: none}, "no such file"},
		"authorities not PEM":  {Options{Endpoints: some, CA: text}, text},
		"no certificate":       {Options{Endpoints: some, Cert: none, Key: none}, none},
		"no password":          {Options{Endpoints: some, User: "a", PasswordFile: none}, "no such file"},
		"password on line two": {Options{Endpoints: some, User: "a", PasswordFile: empty}, "first line"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(t.Context(), test.options)
			line(t, err, nil, test.want)
		})
	}
}

func TestEndpoints(t *testing.T) {
	for _, test := range []struct {
		options Options
		want    []string
	}{
		{Options{Endpoints: []string{"127.0.0.1:1", " [::1]:2", "localhost:3 "}},
			[]string{"http://127.0.0.1:1", "http://[::1]:2", "http://localhost:3"}},
		{Options{Endpoints: []string{"a:1", "https://b:2/"}, CA: "ca.pem"}, []string{"https://a:1", "https://b:2"}},
		{Options{Endpoints: []string{"http://a:1"}}, []string{"http://a:1"}},
		{Options{Endpoints: []string{"http://127.0.0.1:1"}, User: "a"}, []string{"http://127.0.0.1:1"}},
	} {
		got, err := test.options.endpoints()
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%v: %v, %v", test.options.Endpoints, got, err)
		}
	}
}
