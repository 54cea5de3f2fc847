package deploytest

import (
	"strings"
	"testing"
)

// TestReleasesAreKeptOnAVolume: the folder that safestate keeps its releases in
// is the image's own, belongs to the user that the image runs as, and is a
// volume in Compose, where nothing else can be written.
func TestReleasesAreKeptOnAVolume(t *testing.T) {
	d, s := dockerfile(t), services(t)["safestate"]
	dir := argument(t, d.cmd, "data-dir")
	if got := argument(t, s.Command, "data-dir"); got != dir {
		t.Errorf("Compose keeps releases in %s, the image in %s", got, dir)
	}
	user := d.userOf("safestate")
	for _, want := range []string{"RUN mkdir " + dir + "\n", "--chown=" + user + " " + dir + " " + dir + "\n", "VOLUME " + dir + "\n"} {
		if !strings.Contains(d.text, want) {
			t.Errorf("no %q in the Dockerfile: %s could not write to %s", want, user, dir)
		}
	}
	volume, mounted := mountedFrom(s, dir)
	if !mounted || strings.Contains(volume, "/") {
		t.Fatalf("%s is mounted from %q, want a volume", dir, volume)
	}
	var file struct{ Volumes map[string]any }
	readYAML(t, composeFile, &file)
	if _, ok := file.Volumes[volume]; !ok {
		t.Errorf("the volume %s is not declared", volume)
	}
}
