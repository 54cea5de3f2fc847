//go:build !linux

package etcd

// releasePages does nothing: only Linux can be asked.
func releasePages(string) {}
