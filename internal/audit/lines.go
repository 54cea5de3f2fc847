package audit

import (
	"bufio"
	"errors"
	"io"
)

// eachLine calls f with every line of r, without its end, and its number. What
// is longer than a line can be is given in part. An unfinished last line is not
// given to f, but returned, with the offset at which it begins.
func eachLine(r io.Reader, f func(number int, line []byte)) (unfinished []byte, offset int64, err error) {
	in := bufio.NewReaderSize(r, MaxLine+1)
	for number := 1; ; number++ {
		line, err := in.ReadSlice('\n')
		length := int64(len(line))
		if errors.Is(err, bufio.ErrBufferFull) {
			line = append([]byte(nil), line...)
			for errors.Is(err, bufio.ErrBufferFull) {
				var more []byte
				more, err = in.ReadSlice('\n')
				length += int64(len(more))
			}
			line = append(line, '\n')
		}
		switch {
		case errors.Is(err, io.EOF): // without a line's end before it
			return line, offset, nil
		case err != nil:
			return nil, offset, err
		}
		f(number, line[:len(line)-1])
		offset += length
	}
}
