// Package ignore reads patterns in gitignore's syntax, of one file at the root of what they are about.
package ignore

import (
	"fmt"
	"regexp"
	"strings"
)

// Patterns say which paths are left out. The last pattern that fits decides.
type Patterns []pattern

type pattern struct {
	form        *regexp.Regexp
	negated     bool // takes back what an earlier one left out
	onlyFolders bool
}

// Parse reads one pattern a line.
func Parse(text string) (Patterns, error) {
	var patterns Patterns
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		one, err := parseLine(line)
		if err != nil {
			return nil, fmt.Errorf("%q is no pattern: %w", line, err)
		}
		if one != nil {
			patterns = append(patterns, *one)
		}
	}
	return patterns, nil
}

// Match says whether a path, relative and separated by `/`, is left out. Who walks a tree asks for each folder on the way, and
// does not look into those that are left out.
func (p Patterns) Match(path string, isFolder bool) bool {
	for index := len(p) - 1; index >= 0; index-- {
		if (isFolder || !p[index].onlyFolders) && p[index].form.MatchString(path) {
			return !p[index].negated
		}
	}
	return false
}

func parseLine(line string) (*pattern, error) {
	if strings.HasPrefix(line, "#") {
		return nil, nil
	}
	line = trimBlanks(line)
	line, negated := strings.CutPrefix(line, "!")
	line, onlyFolders := strings.CutSuffix(line, "/")
	// A slash that is not the last binds the pattern to the root; without one it fits at any depth.
	bound := strings.Contains(line, "/")
	line = strings.TrimPrefix(line, "/")
	if line == "" {
		return nil, nil
	}
	text, err := translate(line)
	if err != nil {
		return nil, err
	}
	if !bound {
		text = "(?:.*/)?" + text
	}
	form, err := regexp.Compile("^(?s:" + text + ")$")
	if err != nil {
		return nil, err
	}
	return &pattern{form, negated, onlyFolders}, nil
}

// trimBlanks removes the blanks at the end that no backslash protects.
func trimBlanks(line string) string {
	for strings.HasSuffix(line, " ") {
		before := strings.TrimSuffix(line, " ")
		if backslashes := len(before) - len(strings.TrimRight(before, `\`)); backslashes%2 == 1 {
			break
		}
		line = before
	}
	return line
}

// translate makes a regular expression of a glob: `?` and `*` stop at a slash, `**` between slashes is any folders.
func translate(glob string) (string, error) {
	var text strings.Builder
	for rest := glob; rest != ""; {
		switch {
		case rest == "**" && isSegment(glob, rest):
			text.WriteString(".+")
			rest = ""
		case strings.HasPrefix(rest, "**/") && isSegment(glob, rest):
			text.WriteString("(?:.*/)?")
			for strings.HasPrefix(rest, "**/") {
				rest = rest[3:]
			}
		case rest[0] == '*':
			text.WriteString("[^/]*")
			rest = strings.TrimLeft(rest, "*")
		case rest[0] == '?':
			text.WriteString("[^/]")
			rest = rest[1:]
		case rest[0] == '[':
			class, after, err := translateClass(rest)
			if err != nil {
				return "", err
			}
			text.WriteString(class)
			rest = after
		case rest[0] == '\\':
			if len(rest) == 1 {
				return "", fmt.Errorf("it ends with a backslash")
			}
			literal := []rune(rest[1:])[0]
			text.WriteString(regexp.QuoteMeta(string(literal)))
			rest = rest[1+len(string(literal)):]
		default:
			literal := []rune(rest)[0]
			text.WriteString(regexp.QuoteMeta(string(literal)))
			rest = rest[len(string(literal)):]
		}
	}
	return text.String(), nil
}

// isSegment says whether the rest of a glob begins a segment.
func isSegment(glob, rest string) bool {
	return len(rest) == len(glob) || strings.HasSuffix(strings.TrimSuffix(glob, rest), "/")
}

// translateClass makes `[…]` of `[…]` or `[!…]`, and returns what comes after it. An open bracket that is never closed fits nothing.
func translateClass(glob string) (class, after string, err error) {
	inside := glob[1:]
	negated := strings.HasPrefix(inside, "!") || strings.HasPrefix(inside, "^")
	if negated {
		inside = inside[1:]
	}
	end := classEnd(inside)
	if end < 0 {
		return "", "", fmt.Errorf("a bracket is not closed")
	}
	var text strings.Builder
	text.WriteString("[")
	if negated {
		text.WriteString("^/")
	}
	body := inside[:end]
	for index := 0; index < len(body); index++ {
		switch {
		case strings.HasPrefix(body[index:], "[:"): // a class of POSIX, as Go writes them too
			length := strings.Index(body[index:], ":]") + 2
			text.WriteString(body[index : index+length])
			index += length - 1
		case body[index] == '\\' && index+1 < len(body):
			index++
			text.WriteString(`\` + body[index:index+1])
		case body[index] == '[', body[index] == ']', body[index] == '^', body[index] == '\\':
			text.WriteString(`\` + body[index:index+1])
		default:
			text.WriteByte(body[index])
		}
	}
	text.WriteString("]")
	return text.String(), inside[end+1:], nil
}

// classEnd is where the bracket closes: not at the first place, not escaped, not within a POSIX class. -1 if nowhere.
func classEnd(inside string) int {
	for index := 0; index < len(inside); index++ {
		switch {
		case inside[index] == ']' && index > 0:
			return index
		case inside[index] == '\\':
			index++
		case strings.HasPrefix(inside[index:], "[:"):
			if length := strings.Index(inside[index:], ":]"); length > 0 {
				index += length + 1
			}
		}
	}
	return -1
}
