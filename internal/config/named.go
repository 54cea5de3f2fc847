package config

import (
	"os"

	"github.com/safestate/safestate/internal/tenant"
)

// Files that objects name. Beside a plain Envoy whoever writes the configuration runs
// the processor too, and what is not here may be there: a warning. In a mesh namespaces
// are tenants, and each has its own folder at the processor, which is not this machine.

// file checks one that the proxy and the processor read.
func (c *checker) file(field, namespace, name string) {
	if name != "" && c.ownFile(field, namespace, name) && !c.isHere(name) {
		c.warn(field, "is %s, which is no readable file here; the proxy refuses the model's connections without it", quote(name))
	}
}

// refreshFile checks one that the processor reads: until it is there the body answers.
func (c *checker) refreshFile(field, namespace, name string) {
	if c.ownFile(field, namespace, name) && !c.isHere(name) {
		c.warn(field, "is %s, which is no readable file here; until it is there the body answers", quote(name))
	}
}

// ownFile reports whether an object of the namespace may name a file.
func (c *checker) ownFile(field, namespace, name string) bool {
	if !c.world.mesh || tenant.MeshFiles.Allows(namespace, name) {
		return true
	}
	c.fail(field, "is %s; want a file below %s, written without . and ..", quote(name), tenant.MeshFiles.Folder(namespace))
	return false
}

func (c *checker) isHere(name string) bool {
	if c.world.mesh {
		return true // nobody here reads it: whether it is there says nothing, and is nobody's business
	}
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}
