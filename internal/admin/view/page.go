package view

import (
	"fmt"
	"strings"
)

// page collects lines, none of which is wider than columns or holds anything
// but characters that print.
type page struct{ b strings.Builder }

// line adds a line, cut in its middle where it is too long.
func (p *page) line(format string, args ...any) {
	text := strings.TrimRight(clean(fmt.Sprintf(format, args...)), " ")
	p.b.WriteString(cut(text, columns))
	p.b.WriteByte('\n')
}

// blank adds an empty line, unless the page is empty.
func (p *page) blank() {
	if p.b.Len() > 0 {
		p.b.WriteByte('\n')
	}
}

// longest is how much of one text is written, in columns: the rest of a proxy's
// message is in the JSON.
const longest = 2000

// text adds a text behind a lead, wrapped, its further lines under its first.
func (p *page) text(lead, text string) {
	lead = clean(lead)
	if width(lead) > columns/2 {
		lead = cut(lead, columns/2)
	}
	for _, l := range wrap(cut(clean(text), longest), columns-width(lead)) {
		p.line("%s%s", lead, l)
		lead = strings.Repeat(" ", width(lead))
	}
}

// block adds a name, in a column of its own, and its lines beside it.
func (p *page) block(name string, lines []string) {
	for _, l := range lines {
		p.text(pad(name, nameColumn), l)
		name = ""
	}
}

// nameColumn is the width of the names of blocks.
const nameColumn = 11

func (p *page) String() string { return p.b.String() }

// table adds rows under a head, each column as wide as its widest cell and at
// most as wide as its limit; a limit of 0 takes what is left of the line.
func (p *page) table(indent string, limits []int, head []string, rows [][]string) {
	widths := make([]int, len(limits))
	for _, row := range append([][]string{head}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], width(clean(cell)))
		}
	}
	left := columns - width(indent)
	for i, limit := range limits {
		if limit > 0 {
			widths[i] = min(widths[i], limit)
			left -= widths[i] + len(between)
		}
	}
	for i, limit := range limits {
		if limit == 0 {
			widths[i] = min(widths[i], left)
		}
	}
	for _, row := range append([][]string{head}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = pad(clean(cell), widths[i])
		}
		p.line("%s%s", indent, strings.Join(cells, between))
	}
}

const between = "  "
