package serve

import (
	"debug/elf"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// giveBack unmaps the pages of the program itself that were only needed to start it: the
// tables of its many messages and kinds, and the code that reads them, are a third of
// what an idle process holds. What is needed again is mapped again, out of the
// kernel's cache of the file.
//
// Only what no loader has written to: of a position-independent program the kernel
// would bring back addresses that were never filled in.
func giveBack() {
	path, err := os.Executable()
	if err != nil || !fixed(path) {
		return
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line) // address, permissions, offset, device, inode, path
		if len(f) < 6 || f[5] != path || f[1] != "r--p" && f[1] != "r-xp" {
			continue
		}
		from, to, _ := strings.Cut(f[0], "-")
		begin, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err1 == nil && err2 == nil && begin < end {
			_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, uintptr(begin), uintptr(end-begin), syscall.MADV_DONTNEED)
		}
	}
}

// fixed reports whether a program is loaded where it was linked to.
func fixed(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // it was read only
	return f.Type == elf.ET_EXEC
}
