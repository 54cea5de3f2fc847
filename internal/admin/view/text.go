package view

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// columns is the width of every view: that of the smallest terminal that people
// are called out of bed to.
const columns = 80

// clean makes any text safe to print on a terminal: what it would act on instead
// of showing it (control characters, changes of direction, broken UTF-8) is
// written as an escape, and every kind of space as one space.
func clean(text string) string {
	plain := true
	for i := 0; i < len(text); i++ {
		plain = plain && text[i] >= 0x20 && text[i] < 0x7f
	}
	if plain {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case r == '\n' || r == '\t' || unicode.Is(unicode.Zs, r):
			b.WriteByte(' ')
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		i += n
	}
	return b.String()
}

// wide are the blocks whose characters take two columns, as terminals have it.
var wide = []struct{ first, last rune }{
	{0x1100, 0x115f}, {0x2e80, 0xa4cf}, {0xac00, 0xd7a3}, {0xf900, 0xfaff}, {0xfe30, 0xfe6f},
	{0xff00, 0xff60}, {0xffe0, 0xffe6}, {0x1f300, 0x1faff}, {0x20000, 0x3fffd},
}

func runeWidth(r rune) int {
	if r < 0x300 { // none of what follows
		return 1
	}
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	for _, block := range wide {
		if r >= block.first && r <= block.last {
			return 2
		}
	}
	return 1
}

// width is how many columns a clean text takes.
func width(text string) int {
	n := 0
	for _, r := range text {
		n += runeWidth(r)
	}
	return n
}

const gap = ".."

// cut shortens a clean text to at most n columns by leaving out its middle: the
// ends of a name tell it from its neighbours.
func cut(text string, n int) string {
	if width(text) <= n {
		return text
	}
	if n <= len(gap) {
		return gap[:max(n, 0)]
	}
	runes := []rune(text)
	room := n - len(gap)
	left, right := 0, len(runes)
	for used := 0; left < right; { // one from the left, one from the right
		if used += runeWidth(runes[left]); used > room {
			break
		}
		left++
		if left < right {
			if used += runeWidth(runes[right-1]); used > room {
				break
			}
			right--
		}
	}
	return string(runes[:left]) + gap + string(runes[right:])
}

// pad fills a text with spaces to n columns, or cuts it to them.
func pad(text string, n int) string {
	text = cut(text, n)
	return text + strings.Repeat(" ", n-width(text))
}

// wrap breaks a clean text at spaces into lines of at most n columns, but never
// before a percent sign. A word that is longer is broken where the line ends.
func wrap(text string, n int) []string {
	var lines []string
	line := ""
	for _, word := range wordsOf(text) {
		if line != "" && width(line)+1+width(word) <= n {
			line += " " + word
			continue
		}
		if line != "" {
			lines = append(lines, line)
		}
		for left := width(word); left > n; {
			head := headOf(word, n)
			lines, word = append(lines, head), word[len(head):]
			left -= width(head)
		}
		line = word
	}
	if line != "" || len(lines) == 0 {
		lines = append(lines, line)
	}
	return lines
}

// wordsOf splits a text at spaces, and leaves a percent sign with its number.
func wordsOf(text string) []string {
	var words []string
	for _, word := range strings.Fields(text) {
		if n := len(words); n > 0 && strings.HasPrefix(word, "%") {
			words[n-1] += " " + word
			continue
		}
		words = append(words, word)
	}
	return words
}

// headOf is as much of the start of a word as n columns take, one rune at least.
func headOf(word string, n int) string {
	used := 0
	for i, r := range word {
		if used += runeWidth(r); used > n && i > 0 {
			return word[:i]
		}
	}
	return word
}

// clock writes a time as people read it off: UTC to the second, the date where
// it is another day than now's.
func clock(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	if t.IsZero() {
		return "never"
	}
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04:05")
}

// at writes a time both ways: "03:04:05 UTC (2m10s ago)".
func at(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return clock(t, now) + " UTC (" + ago(t, now) + ")"
}

// ago writes how long before now a time is, or how long after it.
func ago(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return "never"
	case d < 0 && d > -time.Second || d >= 0 && d < time.Second:
		return "now"
	case d < 0:
		return "in " + span(-d)
	}
	return span(d) + " ago"
}

// span writes a duration in its two largest units: 3d4h, 2h5m, 1m10s, 5s, 120ms.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	two := func(a int64, ua string, b int64, ub string) string {
		if b == 0 {
			return fmt.Sprintf("%d%s", a, ua)
		}
		return fmt.Sprintf("%d%s%d%s", a, ua, b, ub)
	}
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Minute:
		return fmt.Sprintf("%ds", int64(d/time.Second))
	case d < time.Hour:
		return two(int64(d/time.Minute), "m", int64(d%time.Minute/time.Second), "s")
	case d < day:
		return two(int64(d/time.Hour), "h", int64(d%time.Hour/time.Minute), "m")
	}
	return two(int64(d/day), "d", int64(d%day/time.Hour), "h")
}

// count writes a number and what it counts, in the plural where it is not one.
func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	if strings.HasSuffix(one, "y") {
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(one, "y"))
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// list joins names until max are named, and counts the others.
func list(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
