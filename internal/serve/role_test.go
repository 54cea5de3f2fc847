package serve

import (
	"strings"
	"testing"
)

func TestFilesBelow(t *testing.T) {
	for name, c := range map[string]struct {
		options Options
		want    string // the error's; empty: none
		folder  string
	}{
		"a processor, not told":      {Options{Role: RoleExtProc}, "", ""},
		"a processor":                {Options{Role: RoleExtProc, FilesBelow: "/srv/files"}, "", "/srv/files"},
		"all in one":                 {Options{ConfigDir: "c", FilesBelow: "/srv/files"}, "", "/srv/files"},
		"all in one, in a mesh":      {Options{Mesh: MeshOptions{Name: MeshIstio, Namespace: "x"}}, "", "/etc/safestate/files"},
		"a control plane, in a mesh": {Options{Role: RoleControl, Mesh: MeshOptions{Name: MeshIstio, Namespace: "x"}}, "", ""},
		"a control plane":            {Options{Role: RoleControl, ConfigDir: "c", FilesBelow: "/srv/files"}, "opens no file of a policy", ""},
		"relative":                   {Options{Role: RoleExtProc, FilesBelow: "srv/files"}, "want a folder such as /etc/safestate/files", ""},
		"with a slash at its end":    {Options{Role: RoleExtProc, FilesBelow: "/srv/files/"}, "want a folder such as /etc/safestate/files", ""},
		"with ..":                    {Options{Role: RoleExtProc, FilesBelow: "/srv/../etc"}, "want a folder such as /etc/safestate/files", ""},
		"everything":                 {Options{Role: RoleExtProc, FilesBelow: "/"}, "want a folder such as /etc/safestate/files", ""},
	} {
		o := c.options.withDefaults()
		err := o.check()
		switch {
		case c.want == "" && (err != nil || o.FilesBelow != c.folder):
			t.Errorf("%s: %v, below %q", name, err, o.FilesBelow)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n")):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
