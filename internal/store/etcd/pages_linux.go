package etcd

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// pageOut is MADV_PAGEOUT of linux/mman.h, since Linux 5.4: it takes pages from a
// process that it can read again, whatever they are of.
const pageOut = 21

// releasePages takes the pages of the database from the process. etcd allocates 16 MiB
// of it in advance and maps them with MAP_POPULATE, which reads all of them; of a young
// store they are zeros that nobody looks at. A kernel that does not do it changes
// nothing.
func releasePages(dir string) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	path, err := filepath.Abs(filepath.Join(dir, "member", "snap", "db"))
	if err != nil {
		return
	}
	for line := range strings.Lines(string(maps)) {
		if !strings.HasSuffix(strings.TrimSpace(line), " "+path) {
			continue
		}
		where, _, _ := strings.Cut(line, " ")
		from, to, _ := strings.Cut(where, "-")
		begin, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err1 == nil && err2 == nil && begin < end {
			_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, uintptr(begin), uintptr(end-begin), pageOut)
		}
	}
}
