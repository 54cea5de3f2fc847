package audit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// cursor reads a chain that this process has read or written itself, so that the
// nth line of a segment is its nth entry. It goes on from where it was. Not safe
// for concurrent use.
type cursor struct {
	dir     string
	segment string
	offset  int64
	next    uint64 // the entry at offset; 0: nowhere yet
}

// readBytes is how much one read returns, about.
const readBytes = 1 << 20

// read returns lines, without their ends, from one sequence number to another at
// most. Less than that where they are many, or where the file ends.
func (c *cursor) read(from, to uint64) (lines [][]byte, err error) {
	size := 0
	for from <= to && size < readBytes {
		if from != c.next {
			if err := c.seek(from); err != nil {
				return lines, err
			}
		}
		got, err := c.some(to, readBytes-size)
		if err != nil {
			return lines, err
		}
		if len(got) == 0 { // the next segment, if there is one
			name := segmentName(c.next)
			if name == c.segment {
				return lines, nil
			}
			if _, err := os.Stat(filepath.Join(c.dir, name)); err != nil {
				return lines, nil //nolint:nilerr // the file ends here
			}
			c.segment, c.offset = name, 0
			continue
		}
		for _, line := range got {
			size += len(line)
		}
		lines = append(lines, got...)
		from += uint64(len(got))
	}
	return lines, nil
}

// seek goes to the entry from.
func (c *cursor) seek(from uint64) error {
	segments, err := segmentsOf(c.dir)
	if err != nil {
		return err
	}
	*c = cursor{dir: c.dir}
	for _, name := range segments {
		if start, _ := segmentStart(name); start <= from {
			c.segment, c.next = name, start
		}
	}
	if c.next == 0 {
		return fmt.Errorf("audit: entry %d is not in %s", from, c.dir)
	}
	for c.next < from {
		lines, err := c.some(from-1, readBytes)
		if err != nil {
			return err
		}
		if len(lines) == 0 {
			return fmt.Errorf("audit: entry %d is not in %s", from, c.dir)
		}
	}
	return nil
}

// some returns lines of the segment, up to a sequence number and about as many
// bytes.
func (c *cursor) some(to uint64, bytes int) (lines [][]byte, err error) {
	f, err := os.Open(filepath.Join(c.dir, c.segment))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	in := bufio.NewReader(io.NewSectionReader(f, c.offset, 1<<62))
	for bytes > 0 && c.next <= to {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
		lines = append(lines, line[:len(line)-1])
		c.offset, c.next, bytes = c.offset+int64(len(line)), c.next+1, bytes-len(line)
	}
	return lines, nil
}
